"""A stand-in for the jumphost and its registration API, for tests and rehearsals.

`Stub` is both in this process. Importing this loads paramiko.
"""

from __future__ import annotations

from ioconnect.stub.server import Stub

__all__ = ["Stub"]
