"""`status` beside an agent that answers, is silent, or has ended; `logs` against files as an agent leaves them."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import pretend_agent
from tests.rigs.customer import Customer
from tests.rigs.terminals import CTRL_C, Terminal

from ioconnect import __version__
from ioconnect.agent.supervisor.publish import stopped
from ioconnect.errors import Reason, ReasonCode
from ioconnect.status import snapshots
from ioconnect.status.lock import AgentLock
from ioconnect.status.snapshots import Availability, Connections, Snapshot, State, TargetState, TunnelStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rigs.pretend_agent import PretendAgent

CONFIG = """schema = 1
[tunnels.orders]
endpoint = "jump:58115"
target = "db:3306"
[tunnels.stock]
endpoint = "jump:58116"
target = "db:5432"
"""
STARTS = "Start it: ioconnect up --daemon."
SINCE = "2026-11-22T10:00:00Z"
ORDERS = TunnelStatus(
    "orders",
    State.CONNECTED,
    SINCE,
    None,
    "jump:50683",
    58115,
    "db:3306",
    rtt_ms=3.0,
    connections=Connections(open=2, total=9),
)
STOCK = TunnelStatus(
    "stock",
    State.BACKOFF,
    SINCE,
    Reason(ReasonCode.UNREACHABLE, "nothing answers", "Check."),
    "jump:50683",
    58116,
    "db:5432",
    next_attempt_at=SINCE,
)


@pytest.fixture
def customer(tmp_path: Path) -> Customer:
    machine = Customer(tmp_path / "home")
    (machine.home / "config.toml").write_text(CONFIG)
    (machine.home / "state").mkdir()
    return machine


@pytest.fixture
def held(customer: Customer) -> Iterator[None]:
    """The lock, held by this process as by an agent."""
    lock = AgentLock.acquire(customer.home / "state" / "agent.lock", version=__version__, started_at=SINCE)
    yield
    lock.release()


@pytest.fixture
def agent(customer: Customer) -> Iterator[PretendAgent]:
    with pretend_agent.running(customer.home, version=__version__, started_at=SINCE) as agent:
        yield agent


def snapshot_of(*tunnels: TunnelStatus, pid: int | None = None) -> Snapshot:
    return Snapshot(True, pid or os.getpid(), __version__, SINCE, tunnels, written_at=SINCE)


def leave(customer: Customer, *tunnels: TunnelStatus, pid: int | None = None) -> None:
    """Write what an agent writes."""
    snapshots.write(customer.home / "state" / "status.json", snapshot_of(*tunnels, pid=pid))


def shown(customer: Customer, expect: int, *arguments: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(customer.run("status", *arguments, "--json", expect=expect))
    return parsed


def test_a_running_agent_is_shown_as_it_says(customer: Customer, agent: PretendAgent) -> None:
    agent.publish(snapshot_of(ORDERS))

    seen = shown(customer, 0)

    assert seen["agent"].pop("answering") is True
    assert seen == snapshots.to_json(snapshot_of(ORDERS))
    assert customer.run("status", "--check") == ""
    assert "connected" in customer.run("status")


@pytest.mark.parametrize("file", ["no file", "an old file", "a damaged file", "a FIFO"])
def test_what_a_running_agent_says_does_not_depend_on_its_file(
    customer: Customer, agent: PretendAgent, file: str
) -> None:
    """On a disk that is full or read-only the file stays what it was, and showed green for ever."""
    path = customer.home / "state" / "status.json"
    agent.publish(snapshot_of(ORDERS, STOCK))
    path.unlink()
    if file == "a FIFO":
        os.mkfifo(path)
    elif file == "an old file":
        leave(customer, ORDERS)
    elif file == "a damaged file":
        path.write_text('{"schema": 1, "agent": 5}')

    assert [tunnel["state"] for tunnel in shown(customer, 75)["tunnels"]] == ["connected", "backoff"]
    assert customer.run("status", "--check", expect=75) == ""


def test_a_frozen_agent_is_said_with_what_it_wrote_last(customer: Customer, agent: PretendAgent) -> None:
    """What it wrote last was green."""
    agent.publish(snapshot_of(ORDERS))
    agent.is_frozen = True

    seen = shown(customer, 69)
    text = customer.run("status", expect=69)

    assert (seen["agent"]["running"], seen["agent"]["answering"]) == (True, False)
    assert seen["written_at"] == SINCE
    assert [tunnel["name"] for tunnel in seen["tunnels"]] == ["orders"]
    assert text.startswith(f"no answer from the agent (pid {os.getpid()}) within 2 s: its supervisor ")
    assert " ago it wrote:\n" in text
    assert customer.run("status", "--check", expect=69) == ""


@pytest.mark.parametrize("content", [None, "{", "a predecessor's"])
def test_a_silent_agent_that_wrote_nothing_is_not_its_predecessor(
    customer: Customer, agent: PretendAgent, content: str | None
) -> None:
    if content == "a predecessor's":
        leave(customer, ORDERS, pid=1)
    elif content is not None:
        (customer.home / "state" / "status.json").write_text(content)
    agent.is_frozen = True

    seen = shown(customer, 69)

    assert (seen["agent"]["pid"], seen["tunnels"]) == (os.getpid(), [])


def test_one_that_is_not_connected_is_75_in_every_form(customer: Customer, agent: PretendAgent) -> None:
    agent.publish(snapshot_of(ORDERS, STOCK))

    for form in ((), ("--json",), ("--check",), ("--problems",), ("stock",)):
        assert customer.try_run("status", *form).returncode == 75
    assert "stock: nothing answers (unreachable)" in customer.run("status", expect=75)


def test_a_database_that_refuses_is_75_and_said(customer: Customer, agent: PretendAgent) -> None:
    reason = Reason(ReasonCode.TARGET_UNREACHABLE, "db:3306 refuses", "Start it.")
    down = replace(ORDERS, target_state=TargetState(Availability.DOWN, SINCE, 4, reason))
    agent.publish(snapshot_of(down))

    text = customer.run("status", expect=75)

    assert "0 of 1 connected, 1 target down" in text
    assert "orders: db:3306 refuses (target_unreachable)" in text
    assert customer.run("status", "--check", expect=75) == ""


def test_a_standby_is_well_where_it_is_configured(customer: Customer, agent: PretendAgent) -> None:
    """The monitoring of the second agent was never green."""
    standby = replace(STOCK, state=State.STANDBY)
    agent.publish(snapshot_of(ORDERS, standby))
    customer.run("status", "--check", expect=75)

    agent.publish(snapshot_of(ORDERS, replace(standby, standby_ok=True)))
    assert "1 of 2 connected, 1 standby" in customer.run("status")


def test_only_the_problems(customer: Customer, agent: PretendAgent) -> None:
    agent.publish(snapshot_of(ORDERS, STOCK))

    text = customer.run("status", "--problems", expect=75)
    document = shown(customer, 75, "--problems")

    assert "1 of 2 connected, 1 backoff" in text
    assert not any(line.startswith("orders") for line in text.splitlines())
    assert [tunnel["name"] for tunnel in document["tunnels"]] == ["stock"]


def test_named_tunnels_are_shown_in_detail(customer: Customer, agent: PretendAgent) -> None:
    """With the exit code of these alone."""
    agent.publish(snapshot_of(ORDERS, STOCK))

    assert "connections 2 open, 9 in all" in customer.run("status", "orders")
    assert [tunnel["name"] for tunnel in shown(customer, 75, "stock")["tunnels"]] == ["stock"]
    assert customer.run("status", "--check", "orders") == ""


def test_a_tunnel_that_the_agent_lacks_is_said(customer: Customer, agent: PretendAgent) -> None:
    """Saved after the agent started."""
    agent.publish(snapshot_of(ORDERS))

    text = customer.run("status", "stock", expect=75)
    unknown = customer.try_run("status", "stok")

    assert "the running agent does not have this tunnel" in text
    assert unknown.returncode == 64
    assert "Did you mean stock?" in unknown.stderr


def test_another_configuration_than_the_agents_is_said(
    customer: Customer, agent: PretendAgent, tmp_path: Path
) -> None:
    """Another --config silently showed the first agent."""
    own, other = customer.home / "config.toml", tmp_path / "other.toml"
    other.write_text(CONFIG)
    agent.publish(replace(snapshot_of(ORDERS), config=str(own)))

    said = f"the agent runs with {own}, not with {other}"
    for named in (("--config", str(other), "status"), ("--config", str(other), "status", "orders")):
        assert said in customer.run(*named).replace("\n  ", " ")
    lacking = customer.run("--config", str(other), "status", "stock", expect=75).replace("\n  ", " ")
    tried = json.loads(customer.try_run("--config", str(other), "test", "stock", "--json").stdout)["checks"][0]

    assert "does not have this tunnel: it runs with" in lacking
    assert "ioconnect up stock" not in lacking
    assert "Leave --config away, or name the agent's" in lacking
    assert (tried["id"], tried["status"]) == ("config", "warn")
    assert f"does not have stock: it runs with {own}, not with {other}" in tried["detail"]
    assert "not with" not in customer.run("--config", str(own), "status") + customer.run("status")


def test_a_tunnel_that_was_stopped_by_its_name_says_so(customer: Customer, agent: PretendAgent) -> None:
    reason = stopped("stock")
    agent.publish(snapshot_of(ORDERS, replace(STOCK, state=State.STOPPED, next_attempt_at=None, reason=reason)))

    text = customer.run("status", expect=75)

    assert "stock: stopped by `ioconnect down stock` (stopped)\n  `ioconnect up stock` starts it." in text


def test_without_colours_80_columns_are_enough(customer: Customer, agent: PretendAgent) -> None:
    """NO_COLOR on a terminal broke the table."""
    agent.publish(snapshot_of(replace(ORDERS, jumphost="virginia-tunnel.flydata.app:50683"), STOCK))
    for environment in ({"NO_COLOR": "1"}, {}):
        with Terminal([*customer.command, "status"], env={**customer.environment, **environment}) as terminal:
            assert terminal.leave()[0] == 75
            lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.text).splitlines()

        assert max(len(line.rstrip()) for line in lines) <= 80
        assert "\x1b" not in terminal.seen or not environment


def test_without_an_agent_the_configuration_is_shown(customer: Customer) -> None:
    seen = shown(customer, 69)

    nothing = dict.fromkeys(("pid", "started_at", "config", "config_current"))
    assert seen["agent"] == {"running": False, "version": __version__, "answering": False, **nothing}
    assert [(tunnel["name"], tunnel["state"], tunnel["listen_port"]) for tunnel in seen["tunnels"]] == [
        ("orders", "stopped", 58115),
        ("stock", "stopped", 58116),
    ]
    assert all(tunnel["since"].endswith("Z") for tunnel in seen["tunnels"])
    assert re.search(r"^orders +stopped +- ", customer.run("status", expect=69), re.MULTILINE), "since when?"
    assert re.match(r".*\n\norders: stopped\n  jumphost ", customer.run("status", "orders", expect=69))
    assert customer.run("status", "--check", expect=69) == ""


def test_after_a_crash_it_says_so_with_the_last_known_reason(customer: Customer) -> None:
    """Nobody holds the lock, and the file tells of tunnels at work."""
    leave(customer, ORDERS, STOCK)

    orders, stock = shown(customer, 69)["tunnels"]

    assert (orders["state"], stock["state"]) == ("stopped", "stopped")
    assert orders["reason"]["code"] == "connection_lost"
    assert "ended without a word" in orders["reason"]["message"]
    assert stock["reason"]["code"] == "unreachable"
    assert "ended without a word" in stock["reason"]["message"]
    assert "nothing answers" in stock["reason"]["message"]
    assert orders["connections"] == {"open": 0, "total": 9, "refused": 0, "failed": 0}
    assert (orders["rtt_ms"], stock["next_attempt_at"]) == (None, None)


@pytest.mark.parametrize("reason", [None, stopped("orders")])
def test_a_clean_end_is_no_crash(customer: Customer, reason: Reason | None) -> None:
    """Also of a tunnel that was stopped by its name: the next agent starts it."""
    stopped = TunnelStatus("orders", State.STOPPED, SINCE, reason, "jump:50683", 58115, "db:3306")
    leave(customer, stopped)

    orders = shown(customer, 69)["tunnels"][0]

    assert (orders["state"], orders["since"]) == ("stopped", SINCE)
    assert orders["reason"] == {"code": "not_started", "message": "no agent is running", "hint": STARTS}


def test_why_a_tunnel_does_not_run_is_in_the_json_and_not_in_the_table(customer: Customer) -> None:
    """A script finds a reason wherever a tunnel is not connected; for people the headline and the word say it."""
    config = customer.home / "config.toml"
    config.write_text(config.read_text().replace("[tunnels.stock]", "[tunnels.stock]\nenabled = false"))

    orders, stock = shown(customer, 69)["tunnels"]
    text = customer.run("status", expect=69)

    assert (orders["enabled"], orders["reason"]["code"], orders["reason"]["hint"]) == (True, "not_started", STARTS)
    assert (stock["enabled"], stock["reason"]["code"], stock["state"]) == (False, "not_started", "stopped")
    assert "enabled = false" in stock["reason"]["message"]
    assert "[tunnels.stock]" in stock["reason"]["hint"]
    assert re.search(r"^stock +disabled ", text, re.MULTILINE)
    assert "not_started" not in text + customer.run("status", "stock", expect=69)


def test_a_disabled_tunnel_beside_a_running_agent_is_told_as_that(customer: Customer, agent: PretendAgent) -> None:
    """It said that `up` starts it, which `up` refuses."""
    config = customer.home / "config.toml"
    config.write_text(config.read_text().replace("[tunnels.stock]", "[tunnels.stock]\nenabled = false"))
    agent.publish(snapshot_of(ORDERS))

    (stock,) = shown(customer, 75, "stock")["tunnels"]

    assert (stock["enabled"], stock["reason"]["code"]) == (False, "not_started")
    assert "ioconnect up" not in customer.run("status", "stock", expect=75)


def test_a_damaged_file_without_an_agent_is_only_no_memory(customer: Customer) -> None:
    (customer.home / "state" / "status.json").write_text("{")

    assert len(shown(customer, 69)["tunnels"]) == 2


def test_a_broken_configuration_is_warned_of_and_the_last_status_shown(customer: Customer) -> None:
    leave(customer, ORDERS)
    (customer.home / "config.toml").write_text("schema = 2\n")

    done = customer.try_run("status", "--json")

    assert done.returncode == 69
    assert "warning: " in done.stderr
    assert [tunnel["name"] for tunnel in json.loads(done.stdout)["tunnels"]] == ["orders"]


def test_reload_and_reconnect_need_an_agent_and_down_does_not(customer: Customer) -> None:
    for command in ("reload", "reconnect"):
        assert "not running" in customer.try_run(command).stderr
        customer.run(command, expect=69)
    assert "No agent" in customer.try_run("down").stderr
    customer.run("down")


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("form", [("up",), ("up", "--daemon"), ("up", "orders", "--daemon"), ("reload",)])
def test_what_needs_the_agent_says_that_it_does_not_answer(customer: Customer, form: tuple[str, ...]) -> None:
    """Its lock is held, so no second one is started."""
    done = customer.try_run(*form)

    assert (done.returncode, done.stdout) == (69, "")
    assert f"the agent (pid {os.getpid()}) does not answer" in done.stderr


def log_of(customer: Customer, name: str, *lines: str) -> Path:
    file = customer.home / "log" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_logs_shows_the_last_lines_also_of_the_rotated_file(customer: Customer) -> None:
    log_of(customer, "ioconnect.log.1", "one", "two", "three")
    log_of(customer, "ioconnect.log", "four", "fi\x1b[2Jve")

    assert customer.run("logs", "-n", "3") == "three\nfour\nfi\\x1b[2Jve\n"
    assert customer.run("logs", "-n", "0") == ""
    assert len(customer.run("logs").splitlines()) == 5


def test_logs_of_one_tunnel_from_a_time_on(customer: Customer) -> None:
    """Single connections only with -v: an outage is seen."""
    log_of(customer, "ioconnect.log.1", "2020-11-22T09:00:00.000Z WARNING orders: lost")
    log_of(
        customer,
        "ioconnect.log",
        "2020-11-22T09:10:00.000Z INFO pricing: connected",
        *["2020-11-22T09:20:00.000Z DEBUG orders: connection from 10.0.0.9 port 1 ended after 1.0 s"] * 200,
        "2020-11-22T09:30:00.000Z INFO orders: connected again",
    )

    assert [line[11:16] for line in customer.run("logs", "orders").splitlines()] == ["09:00", "09:30"]
    assert len(customer.run("logs", "orders", "-v").splitlines()) == 100
    assert len(customer.run("logs", "--since", "2020-11-22T09:10Z", "-v").splitlines()) == 202
    assert customer.run("logs", "--level", "warning") == "2020-11-22T09:00:00.000Z WARNING orders: lost\n"
    assert customer.run("logs", "--since", "1w", "orders") == ""
    assert "neither like 1h" in customer.try_run("logs", "--since", "yesterday").stderr


def test_logs_of_a_tunnel_that_there_is_not_is_a_usage_error(customer: Customer) -> None:
    """Unless the log has lines of it, from before it was removed."""
    (customer.home / "log").mkdir()
    (customer.home / "log" / "ioconnect.log").write_text("2020-11-22T09:00:00.000Z WARNING past: lost\n")

    for options in ((), ("-f",), ("--since", "1h")):
        unknown = customer.try_run("logs", "stok", *options)
        assert (unknown.returncode, unknown.stdout) == (64, "")
        assert "Did you mean stock?" in unknown.stderr
    assert customer.run("logs", "stock") == ""
    assert "past: lost" in customer.run("logs", "past")
    (customer.home / "config.toml").write_text("nonsense")
    assert customer.run("logs", "stok") == ""


def test_logs_without_a_log_says_so(customer: Customer) -> None:
    done = customer.try_run("logs")

    assert (done.returncode, done.stdout) == (0, "")
    assert "no log yet" in done.stderr


def test_logs_follows_what_is_added_and_the_rotation(customer: Customer) -> None:
    """Ends by Ctrl-C, with 130."""
    file = log_of(customer, "ioconnect.log", "one")
    with Terminal([*customer.command, "logs", "-f"], env=customer.environment) as person:
        person.expect("one\n")
        with file.open("a") as log:
            log.write("two\nthr")
            log.flush()
            person.expect("two\n")
            log.write("ee\n")
            log.flush()
            person.expect("three\n")
            log.write("four\n")
        file.rename(file.with_name("ioconnect.log.1"))
        log_of(customer, "ioconnect.log", "five")
        person.expect("four\n")
        person.expect("five\n")
        person.press(CTRL_C)

        assert person.leave()[0] == 130
        assert "Traceback" not in person.text
        assert person.text.count("four") == 1
