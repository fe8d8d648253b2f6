"""`up`: who prints the answer of `--json`, and what it says of an agent that runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.rigs.processes import wait_until

from ioconnect.agent.process import launch
from ioconnect.agent.supervisor import background_jobs
from ioconnect.commands.run import up
from ioconnect.console.invocation import Invocation
from ioconnect.errors import ExitCode, Fault
from ioconnect.status import control
from ioconnect.status.control import AgentSilent
from ioconnect.status.records import Silence
from ioconnect.status.snapshots import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = Snapshot(running=True, pid=4711, version="1", started_at=None, tunnels=())


@pytest.fixture
def invocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invocation:
    """An invocation with `--json` of an installation of its own."""
    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))
    return Invocation(as_json=True)


def test_an_agent_goes_on_though_no_thread_can_print_the_answer(
    invocation: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is printed at its end then."""

    def refuse(_name: str) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(up, "BackgroundThread", refuse)
    with up._answering(invocation) as settled:
        assert settled is not None
        settled(RUNNING)

    assert (invocation.as_json, invocation.document["agent"]["pid"]) == (True, 4711)


def test_a_reader_that_takes_no_answer_is_logged_in_words(
    invocation: Invocation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken = threading.Event()
    monkeypatch.setattr(background_jobs, "HUNG_AFTER", 0.01)
    monkeypatch.setattr(up, "_print_answer", lambda _text: taken.wait(10))
    with up._answering(invocation) as settled:
        assert settled is not None
        settled(RUNNING)
        wait_until(lambda: caplog.messages)
        taken.set()

    assert caplog.messages[0].startswith("the answer printer hangs for more than ")


def test_what_a_running_agent_has_done_is_told_though_it_then_says_no_more(
    invocation: Invocation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pid is asked before the change, and what runs once, after the wait."""
    pids = iter([4711])

    def running_pid(_paths: object) -> int:
        for pid in pids:
            return pid
        raise AgentSilent(4711, Silence("", ""))

    looks: list[object] = []

    def seen(paths: object) -> Snapshot:
        looks.append(paths)
        return RUNNING

    done: dict[str, list[str]] = {"unchanged": [], "outdated": [], "not_started": [], "added": []}
    monkeypatch.setattr(control, "running_pid", running_pid)
    monkeypatch.setattr(control, "change", lambda *_: done)
    monkeypatch.setattr(up, "ask", lambda _paths: RUNNING)
    monkeypatch.setattr(up, "seen", seen)

    assert up.start_agent(invocation, (), 0) == 0

    assert capsys.readouterr().err == "the agent is already running (pid 4711): nothing to do.\n"
    assert (invocation.document["agent"]["pid"], len(looks)) == (4711, 1)


def test_an_agent_that_has_yet_to_take_its_lock_runs_all_the_same(
    invocation: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = launch.StartResult(ExitCode.TEMP_FAIL, "the agent runs (pid 4711)", pid=4711)
    monkeypatch.setattr(up, "_config", lambda _: None)
    monkeypatch.setattr(up, "chosen", lambda *_: ())
    monkeypatch.setattr(launch, "start", lambda *_, **__: started)

    with pytest.raises(Fault, match="the agent runs"):
        up.start_agent(invocation, (), 0)

    told = invocation.document["agent"]
    assert (told["running"], told["answering"], told["pid"], told["was_running"]) == (True, False, 4711, False)
