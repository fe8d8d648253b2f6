"""The checks of `ioconnect test`: every step of the path between the database and the jumphost."""
