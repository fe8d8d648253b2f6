"""From nothing to a connected socket and all that a sign-in needs, on a thread of its own; can be called off.

The key and the pins are read afresh for every session, so that a person's change takes effect with the next one.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paramiko.ed25519key import Ed25519Key

from ioconnect.agent.dial.dial import DialCancelled, dial
from ioconnect.errors import ConnectionLost, Fault
from ioconnect.escape import escaped
from ioconnect.keys import known_hosts
from ioconnect.keys.credentials import load_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connected socket to the jumphost, our key, and the pins to hold its host key against."""

    sock: socket.socket
    key: Ed25519Key
    pins: known_hosts.Pins


class Approach:
    """One dial. `ended` is called once, on the dial's thread: with an Arrival, a Fault, or None if called off.

    `source` is our end of a connection that was cut and `peer` the jumphost's address it led to: see `dial`.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        settings: AgentSettings,
        paths: Paths,
        *,
        source: tuple[str, int] | None,
        peer: str | None,
        ended: Callable[[Arrival | Fault | None], None],
    ) -> None:
        self._tunnel = tunnel
        self._settings = settings
        self._paths = paths
        self._source = source
        self._peer = peer
        self._ended = ended
        self._lock = threading.Lock()  # guards the two below
        self._called_off = False
        self._bell: socket.socket | None = None  # closed, it wakes the dial

    def start(self, deadline: float) -> None:
        """Begin; `deadline` is a time.monotonic(). Any thread, once."""
        threading.Thread(target=self._run, args=(deadline,), name=f"dial {self._tunnel.name}", daemon=True).start()

    def call_off(self) -> None:
        """Stop as soon as possible, if it is not over yet. Any thread."""
        with self._lock:
            self._called_off = True
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    def _run(self, deadline: float) -> None:
        listening, bell = socket.socketpair()
        with self._lock:
            self._bell = bell
            if self._called_off:
                bell.close()
        result: Arrival | Fault | None
        try:
            result = self._dial(deadline, listening)
        except DialCancelled:
            result = None
        except Fault as fault:
            result = fault
        except Exception as error:
            log.exception("tunnel %s: cannot dial", self._tunnel.name)
            result = ConnectionLost(f"cannot dial {self._tunnel.jumphost}: {escaped(str(error))}")
        with self._lock:
            bell.close()
            listening.close()
            self._bell = None
            if self._called_off and isinstance(result, Arrival):
                result.sock.close()
                result = None
        self._ended(result)

    def _dial(self, deadline: float, called_off: socket.socket) -> Arrival:
        pem = load_identity(self._tunnel, self._settings, self._paths)
        key = Ed25519Key.from_private_key(io.StringIO(pem.decode("ascii")))
        pins = known_hosts.load(self._paths.known_hosts)
        sock = dial(
            self._tunnel.jumphost,
            environ=os.environ,
            deadline=deadline,
            proxy=self._tunnel.proxy,
            source=self._source,
            peer=self._peer,
            cancelled=called_off,
        )
        self._tune(sock)
        return Arrival(sock, key, pins)

    def _tune(self, sock: socket.socket) -> None:
        if sock.family == socket.AF_UNIX:
            return  # a proxy's TLS end: its socket is not ours
        with contextlib.suppress(OSError):  # it broke already: reading will tell
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                patience = self._settings.keepalive_interval * (self._settings.keepalive_count_max + 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(patience * 1000))
