"""`demo`, as somebody runs it who has just installed this: everything works, and nothing is left of it."""

from __future__ import annotations

import secrets
import signal
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.terminals import CTRL_C, Terminal

from ioconnect import demo
from ioconnect.errors import ExitCode, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Visitor(Customer):
    """Whose temporary folder is his own, and whose processes can be told from all others."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.mark = secrets.token_hex(8)
        super().__init__(folder / "home", TMPDIR=str(self.temporary), **{processes.MARK: self.mark})

    def left(self) -> tuple[list[str], list[str]]:
        """Return the command lines and the files that are there still."""
        return sorted(processes.marked(self.mark).values()), [path.name for path in self.temporary.iterdir()]


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    somebody = Visitor(tmp_path)
    yield somebody
    processes.signal_all(processes.marked(somebody.mark), signal.SIGKILL)


def test_all_of_it_works_and_nothing_is_left(visitor: Visitor) -> None:
    """Plain lines where there is no terminal, and nothing for a script."""
    done = visitor.try_run("demo")

    assert (done.returncode, done.stdout) == (0, "")
    told = iter(done.stderr.splitlines())
    for step in ("keygen", "Endpoint", "pin", "up --daemon", "the tunnel is up", "16 MiB", "was back after", "down"):
        assert any(step in line for line in told), f"{step} is missing, or too early:\n{done.stderr}"
    assert "\x1b" not in done.stderr
    assert visitor.left() == ([], [])
    assert list(visitor.home.iterdir()) == []


def test_what_is_set_up_here_plays_no_part(visitor: Visitor) -> None:
    """A configuration with faults, a proxy that is not there, systemd's folders, a closed standard input."""
    (visitor.home / "config.toml").write_text("nonsense")
    nowhere = "http://127.0.0.1:9"
    misleading = {"https_proxy": nowhere, "ALL_PROXY": nowhere, "IOCONNECT_CONFIG": str(visitor.home / "config.toml")}
    misleading |= {"STATE_DIRECTORY": "/nowhere", "CREDENTIALS_DIRECTORY": "/nowhere", "NOTIFY_SOCKET": "/nowhere"}
    command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *visitor.command, "demo"]

    done = processes.run(command, env={**visitor.environment, **misleading})

    assert (done.returncode, visitor.left()) == (0, ([], [])), done.stderr


@pytest.mark.parametrize(
    "moment", ["listens on", "$ ioconnect keygen", "$ ioconnect up", "the tunnel is up", "$ ioconnect status"]
)
def test_ctrl_c_leaves_nothing(visitor: Visitor, moment: str) -> None:
    """Pressed twice, by somebody who has no patience."""
    with Terminal([*visitor.command, "demo"], env=visitor.environment) as person:
        person.expect(moment)
        person.press(CTRL_C + CTRL_C)
        code, _ = person.leave()

    assert (code, visitor.left()) == (130, ([], [])), person.text
    assert "Traceback" not in person.text


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(visitor: Visitor, what: signal.Signals) -> None:
    with subprocess.Popen(
        [*visitor.command, "demo"],
        env=visitor.environment,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        shown = []
        for line in process.stderr:
            shown.append(line)
            if "the tunnel is up" in line:
                process.send_signal(what)
        code = process.wait(20)

    assert (code, visitor.left()) == (130, ([], [])), "".join(shown)


def test_on_a_terminal_what_takes_time_is_seen_to(visitor: Visitor) -> None:
    with Terminal([*visitor.command, "demo"], env=visitor.environment) as person:
        code, _ = person.leave(deadline=40)

    assert code == 0
    assert "\x1b[2K" in person.seen  # a line that is drawn again: the spinner


def test_without_colours_a_terminal_gets_plain_lines(visitor: Visitor) -> None:
    with Terminal([*visitor.command, "demo"], env={**visitor.environment, "NO_COLOR": "1"}) as person:
        code, _ = person.leave(deadline=40)

    assert code == 0
    assert "\x1b" not in person.seen


def test_a_step_that_fails_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody takes the key away before the agent starts: its code is the demo's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(threading.enumerate())

    def spoil(line: str) -> None:
        if "$ ioconnect up" in line:
            next(tmp_path.glob("*/id_ed25519")).unlink()

    with pytest.raises(Fault, match="no private key") as failed:
        demo.run(spoil)

    assert failed.value.exit_code is ExitCode.NO_INPUT
    assert (list(tmp_path.iterdir()), set(threading.enumerate()) - before) == ([], set())


def test_an_agent_that_runs_is_ended_when_a_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(processes.MARK, mark := secrets.token_hex(8))

    def spoil(line: str) -> None:
        if "the tunnel is up" in line:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        demo.run(spoil)

    assert (processes.marked(mark), list(tmp_path.iterdir())) == ({}, [])
