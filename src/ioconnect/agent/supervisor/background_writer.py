"""A thread that does what may block for the supervisor: reads and writes files, notifies the service manager."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

log = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]
Write: TypeAlias = Callable[[str, Job], None]  # what a BackgroundWriter's `put` takes

HUNG_AFTER = 5.0  # seconds for one job, after which it is logged as hung
FLUSH_TIMEOUT = 1.0  # seconds that `close` waits


def write_at_once(_key: str, job: Job) -> None:
    """Do the job on this thread: for callers that may block."""
    job()


class BackgroundWriter:
    """Does the newest job of each key, in the order in which they were put; older ones are replaced unseen.

    The thread is a daemon and sleeps without a timeout while there is nothing to do. A job that hangs is logged once,
    when the next one is put, and delays nobody but the jobs behind it. Jobs handle their own errors.
    """

    def __init__(self, what: str, *, role: str = "writer") -> None:
        """`what` and the thread's `role` ("reader" or "writer") are its name, and text for the log."""
        self._what = what
        self._doing, self._done = ("reading", "read") if role == "reader" else ("writing", "written")
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._busy_since: float | None = None
        self._hung = False
        self._thread = threading.Thread(target=self._run, name=f"{what} {role}", daemon=True)
        self._thread.start()

    def put(self, key: str, job: Job) -> None:
        """Have the job done, instead of an earlier one of this key that has not begun; returns at once."""
        with self._changed:
            self._jobs.pop(key, None)
            self._jobs[key] = job
            self._changed.notify()
            since = self._busy_since
            hangs = since is not None and time.monotonic() - since > HUNG_AFTER and not self._hung
            self._hung |= hangs
        if hangs:
            text = "%s the %s hangs for more than %.0f s; the agent goes on"
            log.warning(text, self._doing, self._what, HUNG_AFTER)

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
            job()
            if self._hung:
                self._hung = False
                log.warning("the %s can be %s again", self._what, self._done)
