"""A stand-in for the jumphost and its registration API, for tests and rehearsals."""
