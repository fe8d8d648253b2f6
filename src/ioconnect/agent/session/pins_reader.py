"""Reads the pins again while a session is up, on a thread beside its loop: one reading at a time."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ioconnect.custody.files import Stamp, stamp
from ioconnect.errors import Fault
from ioconnect.keys.credentials import load_pins

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.keys.known_hosts import Pins

log = logging.getLogger(__name__)


class PinsReader:
    """Calls `done`, on its thread, with the pins of the tunnel's jumphost or with the fault of reading them.

    A reading that is asked for during another one follows it. A file that hangs holds one thread, not more.
    """

    def __init__(self, tunnel: Tunnel, paths: Paths, done: Callable[[Pins | Fault], None]) -> None:
        self._tunnel = tunnel
        self._paths = paths
        self._done = done
        self._lock = threading.Lock()  # guards the three below
        self._is_reading = self._is_wanted = self._even_if_unchanged = False
        self._stamp: Stamp = ()  # of the file that was read last; the reading thread's

    def read(self, *, only_if_changed: bool = False) -> None:
        """Read the pins; with `only_if_changed` not the file that was read last. Any thread; returns at once."""
        with self._lock:
            self._is_wanted = True
            self._even_if_unchanged |= not only_if_changed
            if self._is_reading:
                return
            self._is_reading = True
        try:
            threading.Thread(target=self._run, name=f"pins {self._tunnel.name}", daemon=True).start()
        except RuntimeError as error:  # no thread to be had: the next key exchange, or reload, tries again
            self._is_reading = False
            log.warning("%s: cannot read the pins again: %s", self._tunnel.name, error)

    def _run(self) -> None:
        try:
            while self._is_due():
                self._read()
        except BaseException:
            self._is_reading = False
            raise

    def _is_due(self) -> bool:
        with self._lock:
            self._is_reading = self._is_wanted
            self._is_wanted = False
            if self._even_if_unchanged:
                self._even_if_unchanged, self._stamp = False, ()
            return self._is_reading

    def _read(self) -> None:
        found = stamp(self._paths.known_hosts)  # before it is read
        if found == self._stamp:
            return
        self._stamp = ()
        jumphost = self._tunnel.jumphost
        try:
            pins = load_pins(self._paths).about(jumphost.host, jumphost.port)
        except Fault as fault:
            self._done(fault)
            return
        self._stamp = found
        self._done(pins)
