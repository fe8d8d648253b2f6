"""Notifications to systemd (sd_notify(3)): READY, WATCHDOG, STOPPING, RELOADING, STATUS.

Without NOTIFY_SOCKET every call does nothing; errors of the socket are ignored. Notifications are sent on a thread of
their own, in order; one that waits is replaced by a newer one of its kind.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.agent.supervisor.background_jobs import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Sends notifications to the socket that `environ` names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._sender = BackgroundThread("notification sender") if address else None
        self.watchdog_interval = _watchdog_interval(environ) if address else None  # seconds; None: no watchdog

    def send(self, *lines: str) -> None:
        """Have assignments such as READY=1 sent in one datagram; returns at once."""
        if self._sender is not None:
            self._sender.put(lines[0].partition("=")[0], partial(self._send, "\n".join(lines).encode()))

    def close(self) -> None:
        """Send what waits, for a second at most."""
        if self._sender is not None:
            self._sender.close()

    def _send(self, datagram: bytes) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(datagram, self._address)  # waits while the service manager reads nothing

    def reloading(self) -> None:
        """Send RELOADING=1 with the time, which Type=notify-reload requires; READY=1 must follow."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return half of the watchdog timeout (sd_watchdog_enabled(3)); None if there is none for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environ["WATCHDOG_USEC"]) / 2_000_000
    except (KeyError, ValueError):
        return None
