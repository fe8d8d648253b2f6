"""Which key has which port under which name: what the registration API hands out, kept in one file."""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config.json_fields import Fields, Malformed
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular, write_atomically
from ioconnect.errors import ConfigInvalid, Fault, UsageFault
from ioconnect.keys.authorized_keys import NotEd25519, PublicKey, parse_public_key

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
FILE_LIMIT = 16 << 20  # bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# Below the ephemeral range of Linux (32768, ip(7)) and macOS: no outgoing connection sits on a port that is ours.
PORTS = range(30_000, 32_768)


class NameTaken(Fault):
    """The name is registered with another key."""


class BadName(UsageFault):
    """The name is none that a tunnel can have here."""


class NoPortLeft(Fault):
    """Every port of the range is given away or in use."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A tunnel that the API knows."""

    name: str
    key: PublicKey
    port: int


class Registry:
    """The registered tunnels, kept in `file` if there is one. Any thread may call.

    Raises ConfigInvalid if the file cannot be read.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._tunnels = _read(file) if file is not None and file.exists() else {}

    def all(self) -> list[Registered]:
        """Return every registered tunnel."""
        with self._lock:
            return list(self._tunnels.values())

    def get(self, name: str) -> Registered | None:
        """Return the tunnel of that name."""
        with self._lock:
            return self._tunnels.get(name)

    def register(self, name: str, public_key: str) -> Registered:
        """Return the tunnel of that name and key, with a port allocated if it is new.

        Raises BadName, NotEd25519, NameTaken, NoPortLeft, and CannotCreate with nothing registered.
        """
        if not NAME.fullmatch(name):
            raise BadName("not a tunnel's name", hint="Use up to 63 letters, digits, dots, dashes and underscores.")
        key = parse_public_key(public_key)
        with self._lock:
            known = self._tunnels.get(name)
            if known is not None and known.key != key:
                raise NameTaken(f"{name} is registered with another key", hint="Choose another name.")
            if known is not None:
                return known
            new = Registered(name, key, _free_port({each.port for each in self._tunnels.values()}))
            tunnels = self._tunnels | {name: new}
            if self._file is not None:
                _write(self._file, tunnels)
            self._tunnels = tunnels
            return new


def _free_port(taken: set[int]) -> int:
    candidates = [port for port in PORTS if port not in taken]
    secrets.SystemRandom().shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NoPortLeft(f"no port is left between {PORTS.start} and {PORTS.stop - 1}", hint="Start with another home.")


def _write(file: Path, tunnels: dict[str, Registered]) -> None:
    rows = [{"name": each.name, "public_key": each.key.line, "port": each.port} for each in tunnels.values()]
    write_atomically(file, json.dumps({"schema": SCHEMA, "tunnels": rows}, indent=1).encode() + b"\n")


def _read(file: Path) -> dict[str, Registered]:
    try:
        document = Fields(json.loads(read_regular(file, limit=FILE_LIMIT)[0]))
        if document.required("schema", int) != SCHEMA:
            raise Malformed(f"schema is not {SCHEMA}")
        rows = [
            Registered(
                row.required("name", str), parse_public_key(row.required("public_key", str)), row.count("port")
            )
            for row in document.each("tunnels")
        ]
    except (OSError, Untrusted, ValueError, RecursionError, NotEd25519) as error:
        raise ConfigInvalid(f"cannot use {file}: {error}", hint="Remove it to start without tunnels.") from error
    return {row.name: row for row in rows}
