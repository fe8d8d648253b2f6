"""A stand-in for the jumphost and its registration API, for tests and rehearsals.

`jumphost.Jumphost` is the SSH server, `api.Api` the HTTP one, `server.Stub` both together, `server.serve` the
`ioconnect stub` command. Nothing is imported here, so that paramiko is loaded only where a server is wanted.
"""
