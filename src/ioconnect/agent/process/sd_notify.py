"""Notifications to systemd (sd_notify(3)): READY, WATCHDOG, STOPPING, RELOADING, STATUS.

Without NOTIFY_SOCKET every call does nothing; errors of the socket are ignored.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Notifier:
    """Sends notifications to the socket that `environ` names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_interval = _watchdog_interval(environ) if self._address else None  # seconds; None: no watchdog

    def send(self, *lines: str) -> None:
        """Send assignments such as READY=1 in one datagram."""
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)

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
