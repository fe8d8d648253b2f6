"""How a database's first words are written down: a generator that says what to send and how much it wants to read.

Pure. A `Dialogue` yields bytes to be sent, ints (so many bytes to be given, exactly, at most `LONGEST`), or a `Move`;
it returns a `Server` once it knows one. Thrown into it: EOFError (the server closed), TimeoutError (it is silent),
NoTls (after Move.TLS). Not to catch these is to say that this is no such server. It raises NotThisServer for bytes
that make no sense in its protocol, and TurnedAway if the server is the one, but takes nothing from this machine.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, TypeVar

T = TypeVar("T")

LONGEST = 64 << 10  # bytes of one read; the longest answer, INFO of a Redis, has some 8 KiB


class Move(Enum):
    """What a dialogue wants of its connection."""

    TLS = "tls"  # speak TLS from now on
    AGAIN = "again"  # a new connection, without TLS


class NotThisServer(Exception):
    """What came is no such database's; `said` is what came."""

    def __init__(self, said: bytes = b"") -> None:
        super().__init__(said)
        self.said = said


class NoTls(Exception):
    """The server does not take part in a TLS handshake."""


class TurnedAway(Exception):
    """The server is of the expected kind and says that this machine gets nothing; `said` is why, not escaped."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(name, said)
        self.name = name
        self.said = said


@dataclass(frozen=True, slots=True)
class Server:
    """What answered; `version` is "" if it does not tell, `tls` None if that cannot be known from outside."""

    name: str
    version: str = ""
    tls: bool | None = None


Steps: TypeAlias = Generator[bytes | int | Move, bytes, T]
Dialogue: TypeAlias = Steps[Server]


def want(condition: object, said: bytes) -> None:
    """Raise NotThisServer unless what was said fits."""
    if not condition:
        raise NotThisServer(said)
