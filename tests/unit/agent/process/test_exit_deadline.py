"""The deadline of a stop: it ends the process with the code of the first stop."""

from __future__ import annotations

import queue

import pytest

from ioconnect.agent.process import exit_deadline
from ioconnect.agent.process.exit_deadline import ExitDeadline
from ioconnect.errors import ExitCode


def test_the_process_ends_with_the_code_of_the_first_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exit_deadline, "EXIT_TIMEOUT", 0.05)
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    deadline = ExitDeadline(leave=left.put)
    deadline.arm(ExitCode.INTERRUPTED)
    deadline.arm(ExitCode.OK)

    assert left.get(timeout=5) == ExitCode.INTERRUPTED
    with pytest.raises(queue.Empty):
        left.get(timeout=0.2)
