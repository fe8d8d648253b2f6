"""Watches the files of held tunnels: identity, pins and configuration; a change of one is reason to try again.

The files are examined with stat(2) every `INTERVAL` seconds, on a thread that exists only while there is something to
watch: an agent without a held tunnel causes no wake-ups, and a file system that hangs does not hang the supervisor.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from ioconnect.agent.supervisor.mailbox import FilesChanged
from ioconnect.custody.files import stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ioconnect.custody.files import Stamps

INTERVAL = 2.0  # seconds


class FileMonitor:
    """Reports by FilesChanged which tunnels' files are not as they were; each once, until it is watched anew."""

    def __init__(self, put: Callable[[FilesChanged], None], *, interval: float = INTERVAL) -> None:
        self._put = put
        self._interval = interval
        self._condition = threading.Condition()  # guards the three below
        self._wanted: Mapping[str, Stamps] = {}
        self._unchanged: dict[str, Stamps] = {}
        self._running = False

    def watch(self, wanted: Mapping[str, Stamps]) -> None:
        """Watch these files, by the name of their tunnel, and no others; the stamps are of when they were read.

        After a report, only files that were read again since are watched: by stamps that are another object, though
        they may be equal.
        """
        with self._condition:
            self._unchanged = {
                name: stamps
                for name, stamps in wanted.items()
                if name in self._unchanged or stamps is not self._wanted.get(name)
            }
            self._wanted = wanted
            if not wanted:
                self._condition.notify()
            elif not self._running:
                with contextlib.suppress(RuntimeError):  # no thread to be had: the next call tries again
                    threading.Thread(target=self._run, name="file monitor", daemon=True).start()
                    self._running = True

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: not self._wanted, self._interval)
                if not self._wanted:
                    self._running = False
                    return
                watched = dict(self._unchanged)
            changed = tuple(name for name, stamps in watched.items() if not _is_current(stamps))
            if not changed:
                continue
            with self._condition:
                for name in changed:
                    if self._unchanged.get(name) is watched[name]:
                        del self._unchanged[name]
            self._put(FilesChanged(changed))


def _is_current(stamps: Stamps) -> bool:
    return all(stamp(path) == before for path, before in stamps.items())
