"""A protocol probe: a generator that yields what to send and how much to read, without I/O of its own.

Pure. A `Probe` yields bytes to send, ints (read exactly this many bytes, at most `MAX_READ`), or an `Action`; it
returns the `Server` that it identifies. EOFError (the server closed), TimeoutError (no reply in time) and TlsRefused
(after Action.TLS) are thrown into it; one that it does not catch means that this is another kind of server. It raises
ProtocolMismatch for bytes that are invalid in its protocol, and ClientRejected if the server refuses this machine.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, TypeVar

T = TypeVar("T")

MAX_READ = 64 << 10  # bytes of one read; the longest reply, a Redis's INFO, has some 8 KiB


class Action(Enum):
    """An action on the probe's connection."""

    TLS = "tls"  # start TLS
    RECONNECT = "reconnect"  # open a new connection, without TLS


class ProtocolMismatch(Exception):
    """The received bytes are not of this protocol."""


class TlsRefused(Exception):
    """The TLS handshake failed."""


class ClientRejected(Exception):
    """The server `name` refuses connections from this machine; its `message` is not escaped."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True)
class Server:
    """The identified server; `version` is "" and `tls` is None if it is unknown."""

    name: str
    version: str = ""
    tls: bool | None = None


ProbeSteps: TypeAlias = Generator[bytes | int | Action, bytes, T]
Probe: TypeAlias = ProbeSteps[Server]


def expect(condition: object, received: bytes) -> None:
    """Raise ProtocolMismatch with the received bytes unless the condition holds."""
    if not condition:
        raise ProtocolMismatch(received)
