"""What systemd wants to hear (sd_notify(3)): ready, alive, stopping, and the truth in one line.

Without NOTIFY_SOCKET every call does nothing; a service manager that does not listen is no fault of ours.
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
    """Speaks to the service manager that `environ` names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog(environ) if self._address else None  # how often it wants a sign of life

    def send(self, *lines: str) -> None:
        """Send assignments such as READY=1, in one datagram."""
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)

    def reloading(self) -> None:
        """Say that the configuration is being read again; READY=1 must follow (Type=notify-reload wants the time)."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return half of what sd_watchdog_enabled(3) says, None if it says nothing or means another process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environ["WATCHDOG_USEC"]) / 2_000_000
    except (KeyError, ValueError):
        return None
