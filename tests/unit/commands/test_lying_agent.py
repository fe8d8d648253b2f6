"""Whatever an agent of another account answers, no command of root's ends with a bug: it says what is damaged."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ioconnect.cli import cli
from ioconnect.commands.run import down
from ioconnect.console import exits
from ioconnect.console.invocation import Invocation
from ioconnect.installers import service_manager
from ioconnect.status import control
from ioconnect.status.peer_credentials import Peer

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [
    *("status", "status orders", "status --json", "status --check", "status --problems"),
    *("down", "down --json", "down orders", "down orders --json", "reload", "reload --json", "reconnect orders"),
    *("up --daemon --wait 0", "up orders --daemon --wait 0 --json", "up", "logs -n 1"),
]
TIME = "2026-11-22T10:00:00Z"
REASON = {"code": "connection_lost", "message": "m", "hint": "h"}
HONEST: dict[str, Any] = {
    "schema": 1,
    "written_at": TIME,
    "agent": {
        "running": True,
        "pid": 4711,
        "version": "1",
        "started_at": TIME,
        "config": "/etc/ioconnect/config.toml",
        "config_current": True,
    },
    "tunnels": [
        {
            "name": "orders",
            "state": "backoff",
            "since": TIME,
            "reason": REASON,
            "down_since": TIME,
            "jumphost": "127.0.0.1:50999",
            "listen_port": 58115,
            "target": "127.0.0.1:3306",
            "attempts": 1,
            "reconnects": 2,
            "next_attempt_at": TIME,
            "rtt_ms": 1.0,
            "host_key": "SHA256:x",
            "connections": {"open": 1, "total": 2, "refused": 0, "failed": 0},
            "bytes": {"from_target": 1, "to_target": 2},
            "target_state": {"state": "down", "since": TIME, "failed": 3, "reason": None},
            "security": {"kex": "k", "cipher": "c", "mac": None, "post_quantum": True},
            "warnings": [{"code": "c", "message": "m", "hint": "h"}],
        }
    ],
}
KEYS = ("added", "changed", "removed", "unchanged", "outdated", "not_started")
DONE: dict[str, Any] = {key: ["orders"] for key in KEYS}
ANSWERS = [HONEST, DONE, {"tunnels": ["orders"], "connected": []}, {"error": {"message": "no", "exit_code": 75}}]
SCALARS = [
    *(
        "",
        "x",
        "\x1b[2J",
        "\x00",
        "\ud800",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+23:59",
        "2026-11-22",
        "held",
    ),
    *(0, -1, 1 << 31, 1 << 64, 10**400, -(10**400), 1.5, -1e308, 1e308, float("nan"), float("inf"), True, None),
]
LIES = st.sampled_from([*SCALARS, [], {}, [{}], ["orders"], [None], {"orders": 1}])


def places(document: object) -> list[tuple[Any, Any]]:
    """Return every value in a document, as what holds it and its key there."""
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    own = [(document, key) for key in keys]
    return own + [place for holder, key in own for place in places(holder[key])]


@st.composite
def answers(draw: st.DrawFn) -> object:
    """Return an honest answer with a lie or two, or a lie alone."""
    document = [copy.deepcopy(draw(st.sampled_from(ANSWERS)))]
    for _ in range(draw(st.integers(0, 2))):
        holder, key = draw(st.sampled_from(places(document)))
        holder[key] = copy.deepcopy(draw(LIES))
    return document[0]


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, object]]:
    """An agent without a lock that answers what stands here, by the method of the request."""
    said: dict[str, tuple[int, object]] = {}

    def ask(_path: Path, message: bytes, _end: float) -> tuple[int, object, Peer]:
        status, document = said[message.split()[0].decode()]
        return status, json.loads(json.dumps(document)), Peer(os.geteuid(), os.getpid())

    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))
    monkeypatch.setattr(control, "_ask", ask)
    monkeypatch.setattr(control, "RETRY_INTERVAL", 0.001)
    monkeypatch.setattr(control, "TIMEOUT", 0.01)
    monkeypatch.setattr(down, "STOP_TIMEOUT", 0.0)
    monkeypatch.setattr(service_manager, "manager_of", lambda _pid: None)
    return said


def run(command: str) -> tuple[int, str, str]:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exits.run(cli, command.split(), Invocation())
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return code, texts[0], texts[1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=answers(), change=answers(), status=st.sampled_from([200, 200, 200, 400, 503, 504]))
@example(question=HONEST, change={}, status=200)
@example(question=HONEST, change={"tunnels": 5, "added": 7}, status=200)
@example(question=[{}], change=[{}], status=200)
@example(question={}, change={}, status=200)
@example(question={**HONEST, "agent": "x"}, change={"tunnels": [{"a": 1}]}, status=200)
@example(question={**HONEST, "agent": {**HONEST["agent"], "pid": 10**300}}, change=DONE, status=200)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_answer_is_a_bug(
    lying: dict[str, tuple[int, object]], command: str, question: object, change: object, status: int
) -> None:
    lying |= {"GET": (200, question), "POST": (status, change)}

    _, shown, said = run(command)

    assert "This is a bug" not in said, said
    assert "\x1b" not in shown + said
    if "--json" in command and shown:
        json.loads(shown, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("pid", -1), ("pid", 10**300), ("pid", 1 << 31), ("pid", True)],
)
def test_no_number_that_cannot_be_a_pid_is_shown(
    lying: dict[str, tuple[int, object]], key: str, value: object
) -> None:
    lying["GET"] = (200, {**HONEST, "agent": {**HONEST["agent"], key: value}})

    code, shown, said = run("status")

    assert (code, shown) == (75, "")
    assert "the status is damaged: agent.pid is" in said


@pytest.mark.parametrize("where", ["attempts", "rtt_ms", "listen_port", "connections", "bytes"])
def test_a_number_without_bounds_is_damage(lying: dict[str, tuple[int, object]], where: str) -> None:
    """Its text and its time would be faults of Python (OverflowError, ValueError)."""
    tunnel = copy.deepcopy(HONEST["tunnels"][0])
    holder = tunnel[where] if isinstance(tunnel[where], dict) else tunnel
    holder[next(iter(holder)) if holder is not tunnel else where] = 10**400
    lying["GET"] = (200, {**HONEST, "tunnels": [tunnel]})

    for command in ("status", "status orders", "status --json"):
        code, _, said = run(command)

        assert code == 75
        assert "the status is damaged: tunnels[0]." in said


def test_a_service_is_stopped_whatever_its_agent_answers(
    lying: dict[str, tuple[int, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[object] = []
    manager = service_manager.ServiceManager("the service", "stop it", "at once", ("stop",))
    monkeypatch.setattr(service_manager, "manager_of", lambda pid: manager if pid == os.getpid() else None)
    monkeypatch.setattr(down, "_stop_service", lambda *_: stopped.append(1))
    for answer in ({}, {"agent": {}}, [{}], {"agent": 5}, {**HONEST, "agent": {**HONEST["agent"], "config": 5}}):
        lying["GET"] = (200, answer)
        run(f"--config {sys.executable} down")
    lying["GET"] = (400, {"error": {"message": "no", "exit_code": 75, "faults": []}})
    run("down")

    assert len(stopped) == 6
