"""`ioconnect test`: one pass over the whole path from the database to the jumphost, a verdict for each step."""
