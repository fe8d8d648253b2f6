"""`status --watch`: a line a change in a pipe, a live table on a terminal; `logs -f` when the log is rotated."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rigs import pretend_agent
from tests.rigs.customer import Customer
from tests.rigs.terminals import CTRL_C, Terminal

from ioconnect import __version__
from ioconnect.errors import Reason, ReasonCode
from ioconnect.status.snapshots import Snapshot, State, TunnelStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rigs.pretend_agent import PretendAgent

SINCE = "2026-11-22T10:00:00Z"
ORDERS = TunnelStatus("orders", State.CONNECTED, SINCE, None, "jump:50683", 58115, "db:3306")
LOST = replace(
    ORDERS,
    state=State.BACKOFF,
    reason=Reason(ReasonCode.CONNECTION_LOST, "the jumphost closed\x1b[2J the connection", "Wait."),
    next_attempt_at="2999-01-01T00:00:00Z",
)


class Watched(Customer):
    """Whose agent is this process, as far as the lock and the control socket tell."""

    agent: PretendAgent

    def publish(self, *tunnels: TunnelStatus) -> None:
        self.agent.publish(Snapshot(True, os.getpid(), __version__, SINCE, tunnels, written_at=SINCE))


@pytest.fixture
def customer(tmp_path: Path) -> Watched:
    machine = Watched(tmp_path / "home")
    (machine.home / "config.toml").write_text(
        'schema = 1\n[tunnels.orders]\nendpoint = "jump:58115"\ntarget = "db:3306"\n'
    )
    (machine.home / "state").mkdir()
    return machine


@pytest.fixture
def agent(customer: Watched) -> Iterator[contextlib.ExitStack]:
    """An agent that runs until the stack is closed."""
    with contextlib.ExitStack() as ends:
        running = pretend_agent.running(customer.home, version=__version__, started_at=SINCE)
        customer.agent = ends.enter_context(running)
        customer.publish(ORDERS)
        yield ends


@contextlib.contextmanager
def in_a_pipe(customer: Watched, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*customer.command, *arguments]
    with subprocess.Popen(
        command, env=customer.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_in_a_pipe_every_change_is_a_line(customer: Watched, agent: contextlib.ExitStack) -> None:
    """Without a control character, whatever a jumphost said; the verdict is that of the last look."""
    with in_a_pipe(customer, "status", "--watch") as watching:
        lines = [next_line(watching), next_line(watching)]
        customer.publish(replace(ORDERS, bytes_from_target=10**9))
        customer.publish(LOST)
        lines.append(next_line(watching))
        agent.close()
        lines.append(next_line(watching))
        watching.send_signal(signal.SIGINT)
        code = watching.wait(10)

    said = [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line) for line in lines]
    assert said == [
        f"agent running (pid {os.getpid()})",
        "orders connected",
        "orders backoff: the jumphost closed\\x1b[2J the connection (connection_lost)",
        "agent not running",
    ]
    assert code == 69


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("key", ["q", CTRL_C])
@pytest.mark.parametrize(("tunnel", "code"), [(ORDERS, 0), (LOST, 75)])
def test_leaves_with_the_verdict(customer: Watched, key: str, tunnel: TunnelStatus, code: int) -> None:
    customer.publish(tunnel)
    with Terminal([*customer.command, "status", "--watch"], env=customer.environment) as person:
        person.expect("q leaves")
        person.press(key)
        left, _ = person.leave()

    assert left == code, person.text


@pytest.mark.usefixtures("agent")
def test_on_a_terminal_it_is_drawn_anew(customer: Watched) -> None:
    """In colour, with how much goes through; the terminal is as it was afterwards."""
    with Terminal([*customer.command, "status", "--watch"], env=customer.environment) as person:
        person.expect("connected")
        customer.publish(replace(ORDERS, bytes_from_target=64 << 20))
        person.expect("MiB/s")
        customer.publish(LOST)
        person.expect("backoff")
        person.expect("next try in")
        person.press("q")
        code, _ = person.leave()

    assert code == 75
    assert "█" in person.text
    assert "\x1b[?25h" in person.seen[person.seen.rindex("\x1b[?25l") :], "the cursor is gone"
    assert "\x1b[2J" not in person.seen


@pytest.mark.usefixtures("agent")
def test_what_does_not_fit_scrolls(customer: Watched) -> None:
    """It was cut. The head stays, the worst is first, and the last picture is the whole."""
    names = [f"tunnel-{number:02}" for number in range(60)]
    customer.publish(*(replace(ORDERS, name=name) for name in names), replace(LOST, name="worst"))
    with Terminal([*customer.command, "status", "--watch"], env=customer.environment) as person:
        person.expect("60 of 61 connected, 1 backoff")
        person.expect("worst")
        person.expect("lines 1-21 of ")
        first = person.text
        person.press("\x1b[6~")
        person.expect("tunnel-38")
        person.expect("lines 22-42 of ")
        person.press("j")
        person.expect("lines 23-43 of ")
        person.press("k\x1b[5~")
        person.expect("lines 1-21 of ")
        person.press("G")
        person.expect("next try in")
        person.press("q")
        code, _ = person.leave()

    assert code == 75
    assert "tunnel-38" not in first
    last = person.text[person.text.rindex("60 of 61 connected") :]
    assert [name for name in names if name not in last] == []


@pytest.mark.usefixtures("agent")
def test_an_agent_that_falls_silent_is_said(customer: Watched) -> None:
    """The last picture is not left standing as if it were now."""
    with Terminal([*customer.command, "status", "--watch"], env=customer.environment) as person:
        person.expect("agent running")
        customer.agent.is_frozen = True
        person.expect("no answer from the agent")
        person.press("q")

        assert person.leave()[0] == 69


@pytest.mark.usefixtures("agent")
def test_keys_are_not_shown_and_then_they_are_again(customer: Watched) -> None:
    """A shell that is left on a terminal without echo looks broken."""
    shell = ["/bin/sh", "-c", '"$@"; stty -a', "sh", *customer.command, "status", "--watch"]
    with Terminal(shell, env=customer.environment) as person:
        person.expect("q leaves")
        person.press("x")
        person.press("q")
        person.leave()

    settings = person.text.rpartition("speed")[2].split()
    assert "icanon" in settings
    assert "echo" in settings


@pytest.mark.parametrize("other", ["--json", "--check"])
def test_excludes_the_other_forms(customer: Watched, other: str) -> None:
    done = customer.try_run("status", "--watch", other)

    assert done.returncode == 64
    assert "exclude each other" in done.stderr


def test_a_log_is_followed_into_the_next_file(customer: Watched) -> None:
    """No line is lost or told twice when the log is rotated, also not the last ones of the old file."""
    log = customer.home / "log" / "ioconnect.log"
    log.parent.mkdir()
    log.write_text("one\n")
    with in_a_pipe(customer, "logs", "-f") as following:
        seen = [next_line(following)]
        with log.open("a") as old:
            old.write("two\n")
            old.flush()
            log.rename(log.with_name("ioconnect.log.1"))
            old.write("three\n")
        log.write_text("four\n")
        seen += [next_line(following) for _ in range(3)]
        with log.open("a") as new:
            new.write("fi")
            new.flush()
            new.write("ve\n")
        seen.append(next_line(following))
        following.send_signal(signal.SIGINT)
        code = following.wait(10)

    assert seen == ["one", "two", "three", "four", "five"]
    assert code == 130
