"""The database's side: from a target to a connected socket, and whether the database answers."""
