"""The journal's log, read from a journalctl(1) that a test plays."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from tests.rigs import pretend_agent

from ioconnect.config.paths import under
from ioconnect.errors import SystemRefused
from ioconnect.installers import journal
from ioconnect.installers.journal import Journal, journal_of
from ioconnect.installers.service import UNIT_NAME, Kind
from ioconnect.status import control
from ioconnect.status.lock import AgentLock
from ioconnect.status.log_filter import LogFilter
from ioconnect.status.records import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Prints its entries like journalctl, and notes how it was called; with --follow one more comes.
PROGRAM = """\
#!/bin/sh
echo "$@" >> "$0.calls"
cat "$0.errors" >&2
case "$*" in
*--follow*) cat "$0.more" ;;
*) cat "$0.entries" ;;
esac
exit $(cat "$0.code")
"""


def entry(second: int, message: object, priority: int = 6, identifier: str = "ioconnect") -> str:
    moment = str((1_790_000_000 + second) * 1_000_000)
    fields = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": identifier}
    return json.dumps({"__CURSOR": f"c{second}", "__REALTIME_TIMESTAMP": moment, **fields}) + "\n"


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return what makes the stand-in for journalctl; entries are given from the newest on."""

    def make(*entries: str, more: str = "", errors: str = "", code: int = 0) -> Path:
        program = tmp_path / "bin" / "journalctl"
        program.parent.mkdir()
        program.write_text(PROGRAM)
        program.chmod(0o755)
        for name, text in (("entries", "".join(entries)), ("more", more), ("errors", errors), ("code", str(code))):
            program.with_name(f"journalctl.{name}").write_text(text)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return program.with_name("journalctl.calls")

    return make


SYSTEM = Journal(UNIT_NAME, Kind.SYSTEMD)


def test_entries_are_shown_as_the_lines_of_a_log_file(play: Callable[..., Path]) -> None:
    calls = play(
        entry(3, list(b"orders: bytes \xff"), 7),
        entry(2, "Started ioconnect.service.", identifier="systemd"),
        "-- No entries --\n",
        entry(1, "orders: lost\x1b[2J", 4),
        "{\n",
    )

    assert SYSTEM.last_lines(10, LogFilter()) == [
        "2026-09-21T14:13:21.000Z WARNING orders: lost\\x1b[2J",
        "2026-09-21T14:13:22.000Z INFO systemd: Started ioconnect.service.",
        "2026-09-21T14:13:23.000Z DEBUG orders: bytes \\xff",
    ]
    assert "--unit=ioconnect.service --output=json" in calls.read_text()
    assert "--user" not in calls.read_text()


def test_the_last_lines_are_those_of_the_tunnel(play: Callable[..., Path]) -> None:
    """Not those of the tunnel among the last lines."""
    calls = play(*(entry(9 - n, f"{'orders' if n % 4 == 3 else 'pricing'}: {9 - n}") for n in range(9)))

    found = Journal(UNIT_NAME, Kind.SYSTEMD_USER).last_lines(1, LogFilter("orders", 1_790_000_000.0, "warning"))
    assert found == []
    found = SYSTEM.last_lines(1, LogFilter("orders"))
    assert [line.split()[-1] for line in found] == ["6"]
    first, second = calls.read_text().splitlines()
    assert first.startswith("--user --unit=ioconnect.service")
    assert first.endswith("--priority=warning --reverse --since=@1790000000.000000")
    assert second.endswith("--reverse")


def test_follow_goes_on_after_the_newest_entry(play: Callable[..., Path]) -> None:
    calls = play(entry(1, "orders: one"), more=entry(2, "pricing: two") + entry(3, "orders: three"))

    assert [line.split()[-1] for line in SYSTEM.follow(10, LogFilter("orders"))] == ["one", "three"]
    assert calls.read_text().splitlines()[-1].endswith("--follow --no-tail --after-cursor=c1")


@pytest.mark.parametrize(
    "errors",
    [
        "No journal files were opened due to insufficient permissions.\n",
        "Hint: You are currently not seeing messages from other users and the system.\n",
    ],
)
def test_a_user_who_may_not_read_the_journal_is_told(play: Callable[..., Path], errors: str) -> None:
    play("-- No entries --\n", errors=errors, code=1 if "No journal" in errors else 0)

    with pytest.raises(SystemRefused, match="may not read the journal") as raised:
        SYSTEM.last_lines(10, LogFilter())
    assert "sudo ioconnect logs" in raised.value.hint


def test_a_journalctl_that_fails_says_why(play: Callable[..., Path]) -> None:
    play(errors="Failed to determine timestamp\n", code=1)

    with pytest.raises(SystemRefused, match="Failed to determine timestamp"):
        SYSTEM.last_lines(10, LogFilter())


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        (None, None),
        (Kind.SYSTEMD, SYSTEM),
        (Kind.SYSTEMD_USER, Journal(UNIT_NAME, Kind.SYSTEMD_USER)),
        (Kind.LAUNCHD_AGENT, None),
    ],
)
def test_while_no_agent_runs_the_journal_of_the_installed_service_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Kind | None, meant: Journal | None
) -> None:
    monkeypatch.setattr(journal, "service_for", lambda *_: found and (found, tmp_path))

    assert journal_of(under(tmp_path), {}) == meant


def test_the_log_of_an_agent_that_no_service_runs_is_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a service is installed."""
    monkeypatch.setattr(journal, "service_for", lambda *_: (Kind.SYSTEMD, tmp_path))
    paths = under(tmp_path)
    paths.state.mkdir()
    held = AgentLock.acquire(paths.lock, version="0", started_at="then")

    assert journal_of(paths, {}) is None
    held.release()


@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_log_of_an_agent_whose_lock_file_was_removed_is_its_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_frozen: bool
) -> None:
    """Also of one that does not answer, whose log is needed most."""
    another = Journal("another.service", Kind.SYSTEMD)
    monkeypatch.setattr(journal, "service_for", lambda *_: (Kind.SYSTEMD, tmp_path))
    monkeypatch.setattr(journal, "_unit_with_main_pid", {os.getpid(): another}.get)
    monkeypatch.setattr(control, "TIMEOUT", 0.2)
    with pretend_agent.running(tmp_path, version="0", started_at="then") as agent:
        agent.publish(Snapshot(running=True, pid=os.getpid(), version="0", started_at="then", tunnels=()))
        agent.is_frozen = is_frozen
        agent.paths.lock.unlink()

        assert journal_of(agent.paths, {}) == another
