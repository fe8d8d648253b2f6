"""Ends the process when a stop takes too long, whatever hangs: a thread in a system call, or the exit itself."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.errors import ExitCode

log = logging.getLogger(__name__)

EXIT_TIMEOUT = 4.5  # seconds; a stop without a hang takes 3 at most (`machine.STOP_TIMEOUT`), and the writers 1
LOG_TIMEOUT = 0.2  # seconds for the log's writer thread to write the last line


class ExitDeadline:
    """From `arm` on the process lives for EXIT_TIMEOUT at most. Never disarmed: it covers the interpreter's exit."""

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        self._leave = leave
        self._lock = threading.Lock()
        self._armed = False

    def arm(self, code: ExitCode) -> None:
        """Start the countdown to an exit with this code; only the first call counts. Any thread."""
        with self._lock:
            if self._armed:
                return
            self._armed = True
        try:
            threading.Thread(target=self._run, args=(code,), name="exit deadline", daemon=True).start()
        except RuntimeError:  # can't start new thread
            signal.alarm(int(EXIT_TIMEOUT) + 1)  # ends the process, by SIGALRM

    def _run(self, code: ExitCode) -> None:
        time.sleep(EXIT_TIMEOUT)
        log.critical("not ended after %.1f s: something hangs; leaving", EXIT_TIMEOUT)
        time.sleep(LOG_TIMEOUT)
        self._leave(code)
