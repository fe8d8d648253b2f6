"""What the daemon tells the command that started it: one line of JSON over an inherited pipe."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from ioconnect.errors import with_guide_link

if TYPE_CHECKING:
    from ioconnect.errors import Fault

CONNECTED = "connected"
RUNNING = "running"  # another agent does


class Readiness:
    """The writing end; speaks once, then lets go of the pipe. Without a descriptor it keeps quiet."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def connected(self) -> None:
        """Say that every tunnel is connected."""
        self._say({"state": CONNECTED})

    def running(self, pid: int | None) -> None:
        """Say that another agent runs already."""
        self._say({"state": RUNNING, "pid": pid})

    def fault(self, fault: Fault) -> None:
        """Say why nothing runs."""
        self._say(
            {"code": int(fault.exit_code), "message": fault.message, "hint": with_guide_link(fault.hint, fault.code)}
        )

    def close(self) -> None:
        """Let go of the pipe; calling it again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _say(self, line: dict[str, object]) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # nobody waits any more
                os.write(self._descriptor, json.dumps(line).encode() + b"\n")
            self.close()
