"""Reads the pins again while a session is up, on a thread beside its loop: one reading at a time."""

from __future__ import annotations

import errno
import logging
import threading
from typing import TYPE_CHECKING

from ioconnect.custody.files import Stamp, stamp
from ioconnect.errors import ConfigInvalid, Fault
from ioconnect.keys.credentials import load_pins

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.keys.known_hosts import Pins

log = logging.getLogger(__name__)
# Errors of the machine, not of the file: no descriptor or memory, a disk or file server that fails.
TRANSIENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
RETRY_INTERVAL = 3.0  # seconds between two readings, while the machine fails
PATIENCE = 60.0  # seconds for a reading that was asked for; then the pins count as unreadable
FOREVER = float("inf")


class PinsReader:
    """Calls `done` with the pins of the tunnel's jumphost, or with the fault of reading them; on any thread.

    A reading that is asked for during another one follows it. A file that hangs holds one thread, not more. What the
    system fails to read just now (`TRANSIENT`, no thread) is tried again, and is a fault after `PATIENCE`, as is no
    answer at all: the pins may revoke the key in use.
    """

    def __init__(self, tunnel: Tunnel, paths: Paths, done: Callable[[Pins | Fault], None]) -> None:
        self._tunnel = tunnel
        self._paths = paths
        self._done = done
        self._lock = threading.Lock()  # guards the six below
        self._is_reading = self._is_wanted = self._even_if_unchanged = False
        self._asked_at: float | None = None  # since when there is no answer
        self._retry_at = 0.0
        self._failed: Fault | None = None  # the last reading, which is tried again
        self._stamp: Stamp = ()  # of the file that was read last; the reading thread's

    def read(self, now: float, *, only_if_changed: bool = False) -> float:
        """Read the pins; with `only_if_changed` not the file that was read last. The loop's thread.

        Returns at once: the time at which to call `check`.
        """
        with self._lock:
            if self._asked_at is None:
                self._asked_at, self._failed = now, None
            self._retry_at = now
            self._is_wanted = True
            self._even_if_unchanged |= not only_if_changed
        return self.check(now)

    def check(self, now: float) -> float:
        """Try again what failed, and give up after `PATIENCE`; return when to come back. The loop's thread."""
        with self._lock:
            if self._asked_at is None:
                return FOREVER
            end = self._asked_at + PATIENCE
            is_late = now >= end
            starts = not is_late and not self._is_reading and now >= self._retry_at
            if is_late:
                self._asked_at = None
            elif starts:
                self._is_reading = self._is_wanted = True
                self._retry_at = now + RETRY_INTERVAL
        if is_late:
            self._done(self._failed or self._no_answer())
            return FOREVER
        if starts:
            self._start()
        return min(end, now + RETRY_INTERVAL)

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name=f"pins {self._tunnel.name}", daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self._is_reading = False
            self._keep(ConfigInvalid(f"cannot read the pinned host keys in {self._paths.known_hosts}: {error}"))

    def _no_answer(self) -> Fault:
        file = self._paths.known_hosts
        return ConfigInvalid(
            f"cannot read the pinned host keys in {file}: no answer for {PATIENCE:g} s",
            hint="Its disk or file server hangs: `ls` in its folder will too. The tunnel comes back with it.",
        )

    def _keep(self, failed: Fault) -> None:
        """Note a reading that is tried again."""
        if self._failed is None:
            log.warning("%s: %s; it is tried again for %g s", self._tunnel.name, failed.message, PATIENCE)
        self._failed = failed

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
            self._answered()
            return
        self._stamp = ()
        jumphost = self._tunnel.jumphost
        try:
            pins = load_pins(self._paths).about(jumphost.host, jumphost.port)
        except Fault as fault:
            cause = fault.__cause__
            if isinstance(cause, OSError) and cause.errno in TRANSIENT:
                self._keep(fault)
                return
            self._answered()
            self._done(fault)
            return
        self._stamp = found
        self._answered()
        self._done(pins)

    def _answered(self) -> None:
        with self._lock:
            if not self._is_wanted:
                self._asked_at = None
