"""A stand-in for the jumphost and its registration API, for tests and rehearsals.

`Stub` is both in this process, `serve` the `ioconnect stub` command. Importing this loads paramiko.
"""

from __future__ import annotations

from ioconnect.stub.server import Stub, serve

__all__ = ["Stub", "serve"]
