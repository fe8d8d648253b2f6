"""`up --json` in the foreground: who prints the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.commands.run import up
from ioconnect.console.invocation import Invocation
from ioconnect.status.snapshots import Snapshot

if TYPE_CHECKING:
    import pytest


def test_an_agent_goes_on_though_no_thread_can_print_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is printed at its end then."""

    def refuse(_name: str) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(up, "BackgroundThread", refuse)
    invocation = Invocation(as_json=True)
    with up._answering(invocation) as settled:
        assert settled is not None
        settled(Snapshot(running=True, pid=4711, version="1", started_at=None, tunnels=()))

    assert (invocation.as_json, invocation.document["agent"]["pid"]) == (True, 4711)
