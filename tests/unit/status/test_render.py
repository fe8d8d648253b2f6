"""The rendered status: aligned, safe to print, with reason and hint."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.errors import Reason, ReasonCode
from ioconnect.status import render
from ioconnect.status.snapshots import Connections, Snapshot, State, TunnelStatus

NOW = datetime(2026, 11, 22, 12, 30, 0, tzinfo=timezone.utc)
ORDERS = TunnelStatus(
    name="orders",
    state=State.CONNECTED,
    since="2026-11-22T10:00:00Z",
    reason=None,
    jumphost="virginia-tunnel.flydata.app:50683",
    listen_port=58115,
    target="localhost:3306",
    rtt_ms=12.44,
    connections=Connections(open=2, total=391),
    bytes_from_target=123456,
)
LOST = replace(
    ORDERS,
    name="stock",
    state=State.BACKOFF,
    since="2026-11-22T12:29:57Z",
    reason=Reason(ReasonCode.UNREACHABLE, "nothing answers at 192.0.2.1:50683", "Check the firewall."),
    rtt_ms=None,
    next_attempt_at="2026-11-22T12:30:04Z",
    connections=Connections(total=3, refused=1, failed=2),
)
SNAPSHOT = Snapshot(True, 4711, "0.1.0", "2026-11-22T09:30:00Z", (ORDERS, LOST))


def test_the_plain_table() -> None:
    head, empty, titles, *lines = render.plain(SNAPSHOT, NOW).splitlines()
    columns = [titles.index(title) for title in render.COLUMNS]
    cells = [[line[a:b].strip() for a, b in zip(columns, [*columns[1:], None], strict=True)] for line in lines[:2]]

    assert head == "agent running (pid 4711, version 0.1.0), for 3h 0m"
    assert empty == ""
    endpoint, target = "virginia-tunnel.flydata.app:58115", "localhost:3306"
    assert cells == [
        ["orders", "connected", "2h 30m", endpoint, target, "2 open, 391 in all", "120.6 KiB", "0 B", "12.4 ms"],
        [
            "stock",
            "backoff",
            "3s",
            endpoint,
            target,
            "0 open, 3 in all, 1 refused, 2 failed",
            "120.6 KiB",
            "0 B",
            "-",
        ],
    ]
    assert lines[2:] == [
        "stock: nothing answers at 192.0.2.1:50683 (unreachable)",
        "stock: Check the firewall. More: docs/troubleshooting.md#unreachable",
        "stock: next try in 4s",
    ]


def test_without_an_agent_it_says_how_to_start_one() -> None:
    shown = render.plain(Snapshot(False, None, "0.1.0", None, ()), NOW)

    assert shown == "agent not running; start it: ioconnect up --daemon"


@given(st.text(), st.text(min_size=1), st.text(), st.text())
def test_no_control_character_gets_through(name: str, message: str, jumphost: str, version: str) -> None:
    reason = Reason(ReasonCode.AUTH_REFUSED, message, message)
    tunnel = replace(LOST, name=name, reason=reason, jumphost=jumphost, target=jumphost, since=message)
    snapshot = replace(SNAPSHOT, version=version, tunnels=(tunnel,))

    shown = render.plain(snapshot, NOW)

    assert all(character.isprintable() for character in shown.replace("\n", ""))
    assert len(shown.split("\n")) == 7  # no text makes a line of its own


def test_rich_shows_what_the_plain_table_shows() -> None:
    """Also markup in a name is only text."""
    from rich.console import Console  # noqa: PLC0415  as the command does

    snapshot = replace(SNAPSHOT, tunnels=(ORDERS, replace(LOST, name="[red]x[/red]")))
    console = Console(width=300, force_terminal=True, no_color=True, _environ={"TERM": "xterm"})
    with console.capture() as captured:
        console.print(render.rich_table(snapshot, NOW, console.width))

    for row in render.rows(snapshot, NOW):
        for cell in row:
            assert cell in captured.get()
    for note in render.notes(snapshot, NOW):
        assert note.text in captured.get()


@pytest.mark.parametrize(
    ("available", "left_out"),
    [
        (300, set()),
        (146, {"RTT"}),
        (80, {"RTT", "TO TARGET", "FROM TARGET", "CONNECTIONS"}),
        (1, {*render.DROP_ORDER}),
    ],
)
def test_a_narrow_terminal_leaves_out_what_is_needed_least(available: int, left_out: set[str]) -> None:
    widths = [6, 9, 6, 33, 14, 37, 11, 9, 7]

    shown = [render.COLUMNS[column] for column in render.fitting_columns(widths, available)]

    assert shown == [column for column in render.COLUMNS if column not in left_out]


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-11-22T12:30:00Z", "0s"),
        ("2026-11-22T12:31:00Z", "0s"),  # a clock that was set back
        ("2026-11-22T12:29:01Z", "59s"),
        ("2026-11-22T12:18:00Z", "12m"),
        ("2026-11-22T11:24:59Z", "1h 5m"),
        ("2026-11-19T08:00:00Z", "3d 4h"),
        ("2026-11-22T12:30:00+01:00", "1h 0m"),
        ("yesterday", "-"),
        ("", "-"),
    ],
)
def test_elapsed(since: str, shown: str) -> None:
    assert render.elapsed(since, NOW) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (123456, "120.6 KiB"),
        (5 << 30, "5.0 GiB"),
        (9 << 60, "9437184.0 TiB"),
    ],
)
def test_size(count: int, shown: str) -> None:
    assert render.size(count) == shown
