"""A thread that does what may block for the supervisor: reads and writes files, notifies the service manager."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

log = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]
Put: TypeAlias = Callable[[str, Job], None]  # `BackgroundThread.put`, or `do_at_once`

HUNG_AFTER = 5.0  # seconds for one job, after which it is logged as hung
FLUSH_TIMEOUT = 1.0  # seconds that `close` waits


def do_at_once(_key: str, job: Job) -> None:
    """Do the job on this thread: for callers that may block."""
    job()


class BackgroundThread:
    """Does the newest job of each key, in the order in which they were put; older ones are replaced unseen.

    The thread is a daemon and sleeps without a timeout while there is nothing to do. A job that hangs is logged once,
    and again when it is done; it delays nobody but the jobs behind it. Jobs handle their own errors.
    """

    def __init__(self, name: str) -> None:
        """`name` is the thread's, and that of the log."""
        self._name = name
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._busy_since: float | None = None
        self._hung = False
        self._is_watched = False  # a timer runs; one for many short jobs
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, key: str, job: Job) -> None:
        """Have the job done, instead of an earlier one of this key that has not begun; returns at once."""
        with self._changed:
            self._jobs.pop(key, None)
            self._jobs[key] = job
            self._changed.notify()

    def close(self) -> None:
        """Do what was put, and end the thread; give up after FLUSH_TIMEOUT if it hangs."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(FLUSH_TIMEOUT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy_since = None
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
                self._busy_since = time.monotonic()
                if not self._is_watched:
                    self._watch(HUNG_AFTER)
            job()
            with self._changed:
                was_hung, self._hung = self._hung, False
            if was_hung:
                log.warning("the %s goes on", self._name)

    def _watch(self, seconds: float) -> None:
        """Look after so many seconds whether the job hangs. Holds `_changed`."""
        timer = threading.Timer(seconds, self._look)
        timer.name, timer.daemon = f"{self._name} watch", True
        with contextlib.suppress(RuntimeError):  # can't start new thread
            timer.start()
            self._is_watched = True

    def _look(self) -> None:
        """Log a job that hangs; look again later if it is a younger one. On the timer's thread."""
        with self._changed:
            self._is_watched = False
            if self._busy_since is None:
                return
            remaining = self._busy_since + HUNG_AFTER - time.monotonic()
            if remaining > 0:
                self._watch(remaining)
                return
            self._hung = True
            log.warning("the %s hangs for more than %.0f s; the agent goes on", self._name, HUNG_AFTER)
