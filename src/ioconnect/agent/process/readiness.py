"""What an agent tells once, at its start: by one line of JSON in the readiness pipe, or to its own command."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from ioconnect.fault_document import error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.errors import Fault
    from ioconnect.status.snapshots import Snapshot

CONNECTED = "connected"
RUNNING = "running"  # another agent is


class Readiness:
    """The write end of the pipe; writes one line, then closes it. Without a descriptor it does nothing.

    `settled` is the command's, of an agent in the foreground; it is called once. `is_launched`: a command reads the
    pipe (`launch.start`).
    """

    def __init__(self, descriptor: int | None, settled: Callable[[Snapshot], None] | None = None) -> None:
        self._descriptor = descriptor
        self.is_launched = descriptor is not None
        self._settled = settled
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def settled(self, snapshot: Snapshot) -> None:
        """Tell the command that every tunnel is connected or has a reason why not."""
        tell, self._settled = self._settled, None
        if tell is not None:
            tell(snapshot)

    def connected(self) -> None:
        """Report that every tunnel is connected."""
        self._write({"state": CONNECTED})

    def running(self, pid: int | None) -> None:
        """Report that another agent is running."""
        self._write({"state": RUNNING, "pid": pid})

    def fault(self, fault: Fault) -> None:
        """Report the fault for which the daemon exits."""
        self._write({"error": error_of(fault, fault.exit_code)})

    def close(self) -> None:
        """Close the pipe; calling it again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _write(self, line: dict[str, object]) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # EPIPE: the command does not wait any more
                os.write(self._descriptor, json.dumps(line).encode() + b"\n")
            self.close()
