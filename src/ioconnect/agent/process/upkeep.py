"""Keeps the lock file and the control sockets at their paths: each that was removed or replaced is made anew.

A state folder may be removed under a running agent, and a log-out removes XDG_RUNTIME_DIR. Reads and writes folders,
so it may hang with their disk.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ioconnect.agent.process.control_socket import BoundSocket, bind
from ioconnect.errors import CannotCreate
from ioconnect.status.control_folder import SocketRefused
from ioconnect.status.lock import AlreadyRunning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ioconnect.status.lock import AgentLock

log = logging.getLogger(__name__)


class Upkeep:
    """One thread at a time. What cannot be made is a line in the log, once until that changes; the agent goes on."""

    def __init__(self, paths: Sequence[Path], lock: AgentLock | None = None) -> None:
        self._paths = paths
        self._lock = lock
        self._bound: dict[Path, BoundSocket] = {}
        self._said: dict[Path, str] = {}

    def restore(self) -> list[BoundSocket]:
        """Make what is not there, and return the sockets that are bound now."""
        if self._lock is not None:
            self._restore_lock(self._lock)
        for path in self._paths:
            bound = self._bound.get(path)
            if bound is None or not bound.is_there():
                self._bind(path)
        return list(self._bound.values())

    def _restore_lock(self, lock: AgentLock) -> None:
        try:
            restored = lock.restore()
        except AlreadyRunning as other:
            which = f"another agent (pid {other.pid or 'unknown'})"
            self._say(lock.path, logging.ERROR, f"{which} has locked {lock.path} anew: both go on, end one of them")
        except CannotCreate as fault:
            self._say(lock.path, logging.WARNING, f"the lock file was removed: {fault.message}")
        else:
            self._said.pop(lock.path, None)
            if restored:
                log.warning("the lock file %s was removed or replaced: made anew", lock.path)

    def _bind(self, path: Path) -> None:
        try:
            bound = bind(path)
        except SocketRefused as fault:
            self._say(path, logging.WARNING, f"no control socket: {fault.message}")
        except FileNotFoundError:
            self._say(path, logging.INFO, f"no control socket in {path.parent}, whose parent does not exist")
        except OSError as failure:
            self._say(path, logging.WARNING, f"no control socket {path}: {failure.strerror or failure}")
        else:
            if path in self._bound or path in self._said:
                log.warning("the control socket %s was not there: bound anew", path)
            self._said.pop(path, None)
            self._bound[path] = bound

    def _say(self, path: Path, level: int, text: str) -> None:
        if self._said.get(path) != text:
            self._said[path] = text
            log.log(level, "%s", text)
