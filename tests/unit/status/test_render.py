"""The rendered status: aligned, safe to print, with reason and hint."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.errors import Reason, ReasonCode
from ioconnect.status import details, hints, render
from ioconnect.status.records import Silence
from ioconnect.status.snapshots import (
    Availability,
    Connections,
    Security,
    Snapshot,
    State,
    TargetState,
    TunnelStatus,
    Warning_,
)

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
    down_since="2026-11-22T12:28:45Z",
    reason=Reason(ReasonCode.UNREACHABLE, "nothing answers at 192.0.2.1:50683", "Check the firewall."),
    rtt_ms=None,
    next_attempt_at="2026-11-22T12:30:04Z",
    connections=Connections(total=3, refused=1, failed=2),
)
SNAPSHOT = Snapshot(True, 4711, "0.1.0", "2026-11-22T09:30:00Z", (ORDERS, LOST))


def lines_of(snapshot: Snapshot, width: int, start: str = hints.START) -> list[render.Line]:
    head = render.head(snapshot, NOW, width, start=start)
    return [*head, *render.body(snapshot.tunnels, NOW, width)]


def shown(snapshot: Snapshot, width: int = 300, start: str = hints.START) -> str:
    return render.plain(lines_of(snapshot, width, start))


def test_the_plain_table() -> None:
    """The worst first; what is wrong, what to do and when it is tried again below."""
    head, counts, empty, titles, *lines = shown(SNAPSHOT).splitlines()
    columns = [titles.index(title) for title in render.COLUMNS]
    cells = [[line[a:b].strip() for a, b in zip(columns, [*columns[1:], None], strict=True)] for line in lines[:2]]

    assert head == "agent running (pid 4711, version 0.1.0), for 3h 0m"
    assert counts == "1 of 2 connected, 1 backoff"
    assert empty == ""
    endpoint, target = "virginia-tunnel.flydata.app:58115", "localhost:3306"
    assert cells == [
        [
            "stock",
            "backoff",
            "1m",
            endpoint,
            target,
            "0 open, 3 in all, 1 refused, 2 failed",
            "120.6 KiB",
            "0 B",
            "-",
        ],
        ["orders", "connected", "2h 30m", endpoint, target, "2 open, 391 in all", "120.6 KiB", "0 B", "12.4 ms"],
    ]
    assert lines[2:] == [
        "",
        "stock: nothing answers at 192.0.2.1:50683 (unreachable)",
        "  Check the firewall. More: docs/troubleshooting.md#unreachable",
        "  next try in 4s",
    ]


def test_without_an_agent_it_says_how_to_start_one() -> None:
    stopped = Snapshot(False, None, "0.1.0", None, ())

    assert shown(stopped) == "agent not running; start it: ioconnect up --daemon"
    assert shown(stopped, start="x starts it") == "agent not running; x starts it"


def test_a_silent_agent_is_shown_as_that_with_the_age_of_its_last_word() -> None:
    """What a frozen agent wrote is no news."""
    silent = replace(SNAPSHOT, silence=Silence.of_process(4711), written_at="2026-11-22T12:29:20Z")

    first, second, third, *lines = shown(silent).splitlines()

    assert (first, third) == ("no answer from the agent (pid 4711) within 2 s", "40s ago it wrote:")
    told = "It is stopped (kill -CONT 4711 lets it go on) or hangs; ioconnect down ends it."
    assert second == f"{told} More: docs/troubleshooting.md#agent_silent"
    assert any(line.startswith("orders") for line in lines)
    assert shown(replace(silent, tunnels=())).startswith(
        "no answer from the agent (pid 4711) within 2 s, and nothing that it wrote\n"
    )


def test_a_silent_agent_of_unknown_pid_is_said_too() -> None:
    text = shown(Snapshot(True, None, "0.1.0", None, (), silence=Silence.of_process(None)))

    assert text.startswith("no answer from the agent within 2 s")
    assert "None" not in text


def test_an_agent_without_a_socket_is_not_told_as_a_frozen_one() -> None:
    silence = Silence.of_socket("its control socket is refused: others may write in the folder /x", "chmod go-w /x")
    text = shown(replace(SNAPSHOT, silence=silence, written_at="2026-11-22T12:29:20Z"))

    refused = "its control socket is refused: others may write in the folder /x"
    assert text.startswith(f"no answer from the agent (pid 4711) within 2 s: {refused}\nchmod go-w /x")
    assert "\n40s ago it wrote:\n" in text
    assert "kill -CONT" not in text


def test_a_configuration_that_differs_from_what_runs_is_said() -> None:
    changed = replace(SNAPSHOT, config="/etc/ioconnect/config.toml", config_current=False)

    assert "/etc/ioconnect/config.toml differs from what runs: ioconnect reload" in shown(changed)
    assert "differs" not in shown(replace(changed, config_current=True))


def test_a_database_that_refuses_is_said_beside_a_connected_tunnel() -> None:
    """Yellow, not green, with the reason, also at 80 columns."""
    reason = Reason(ReasonCode.TARGET_UNREACHABLE, "localhost:3306 refuses", "Start it.")
    down = TargetState(Availability.DOWN, "2026-11-22T12:27:00Z", 4, reason)
    snapshot = replace(SNAPSHOT, tunnels=(replace(ORDERS, target_state=down),))

    lines = shown(snapshot, 80).splitlines()

    assert lines[1] == "0 of 1 connected, 1 target down"
    assert lines[4].startswith("orders  target down  3m")
    assert lines[6:] == [
        "orders: localhost:3306 refuses (target_unreachable)",
        "  Start it. More: docs/troubleshooting.md#target_unreachable",
    ]
    assert render.style_of(snapshot.tunnels[0]) == "yellow"


def test_a_standby_is_well_only_where_it_is_configured() -> None:
    standby = replace(LOST, state=State.STANDBY)

    assert render.style_of(standby) == "yellow"
    assert render.style_of(replace(standby, standby_ok=True)) == "cyan"


def test_a_hundred_tunnels_are_readable_at_80_columns() -> None:
    """One note for all that share a reason, no word is cut, the worst are first."""
    hint = "Compare the public key (`ioconnect keygen` shows it) with the one in the tunnel's settings."
    refused = Reason(ReasonCode.AUTH_REFUSED, f"jump.example:50683 does not accept the key {'x' * 90}", hint)
    tunnels = [replace(ORDERS, name=f"tunnel-{number:02}", listen_port=50000 + number) for number in range(80)]
    tunnels += [replace(each, name=f"bad-{each.name}", state=State.HELD, reason=refused) for each in tunnels[:20]]
    snapshot = replace(SNAPSHOT, tunnels=tuple(tunnels))

    lines = shown(snapshot, 80).splitlines()

    assert lines[1] == "80 of 100 connected, 20 held"
    assert [line.split()[0] for line in lines[4:24]] == [f"bad-tunnel-{number:02}" for number in range(20)]
    assert all(len(line) <= 80 for line in lines if "x" * 90 not in line)
    assert sum("auth_refused)" in line for line in lines) == 1
    assert "".join(lines).count("Compare the public key") == 1
    assert any(line.startswith("bad-tunnel-00, bad-tunnel-01, bad-tunnel-02 and 17 more: ") for line in lines)
    assert len(lines) < 120
    for word in (*hint.split(), "docs/troubleshooting.md#auth_refused"):
        assert any(word in line.split() for line in lines)


@given(st.text(), st.text(min_size=1), st.text(), st.text())
def test_no_control_character_gets_through(name: str, message: str, jumphost: str, version: str) -> None:
    reason = Reason(ReasonCode.AUTH_REFUSED, message, message)
    warning = Warning_(message, message, message)
    tunnel = replace(
        LOST, name=name, reason=reason, jumphost=jumphost, target=jumphost, since=message, warnings=(warning,)
    )
    snapshot = replace(SNAPSHOT, version=version, tunnels=(tunnel,), config=jumphost, config_current=False)

    for text in (shown(snapshot, 80), render.plain(details.details([tunnel], NOW, 80))):
        assert all(character.isprintable() for character in text.replace("\n", ""))


@given(st.text(), st.text(min_size=1))
def test_no_text_makes_a_line_of_its_own(name: str, message: str) -> None:
    tunnel = replace(LOST, name=name, reason=Reason(ReasonCode.AUTH_REFUSED, message, message), target=message)

    assert len(shown(replace(SNAPSHOT, tunnels=(tunnel,)), 10_000).split("\n")) == 9


def test_the_details_have_a_fact_in_every_line() -> None:
    security = Security("mlkem768x25519-sha256", "aes128-gcm@openssh.com", None, post_quantum=True)
    warning = Warning_("shared_identity", "another tunnel has this key", "Make one each.")
    up = TargetState(Availability.UP, "2026-11-22T12:00:00Z")
    full = replace(ORDERS, security=security, identity="SHA256:me", warnings=(warning,), target_state=up)

    lines = render.plain(details.details([full, LOST], NOW, 80)).splitlines()

    assert lines[1] == "orders: connected for 2h 30m"
    assert "  security    mlkem768x25519-sha256, aes128-gcm@openssh.com (post-quantum)" in lines
    assert "  identity    SHA256:me" in lines
    assert "  target      localhost:3306 (up for 30m)" in lines
    assert "  connections 2 open, 391 in all" in lines
    assert (
        lines[lines.index("orders: warning: another tunnel has this key (shared_identity)") + 1] == "  Make one each."
    )
    assert "stock: backoff for 1m" in lines
    assert "  down since  2026-11-22T12:28:45Z (1m)" in lines
    assert "stock: nothing answers at 192.0.2.1:50683 (unreachable)" in lines


def test_rich_shows_what_the_plain_table_shows() -> None:
    """Also markup in a name is only text."""
    from rich.console import Console  # noqa: PLC0415  as the command does

    snapshot = replace(SNAPSHOT, tunnels=(ORDERS, replace(LOST, name="[red]x[/red]")))
    console = Console(width=80, force_terminal=True, no_color=True, _environ={"TERM": "xterm"})
    with console.capture() as captured:
        for line in render.styled(lines_of(snapshot, 80)):
            console.print(line, soft_wrap=True)

    seen = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).splitlines()]
    assert seen == shown(snapshot, 80).splitlines()


@pytest.mark.parametrize(
    ("available", "left_out"),
    [
        (300, set()),
        (146, {"RTT"}),
        (80, {"RTT", "TO TARGET", "FROM TARGET", "CONNECTIONS"}),
        (60, {*render.DROP_ORDER} - {"ENDPOINT"}),
        (1, {*render.DROP_ORDER}),
    ],
)
def test_a_narrow_terminal_leaves_out_what_is_needed_least(available: int, left_out: set[str]) -> None:
    widths = [6, 9, 6, 33, 14, 37, 11, 9, 7]

    fitting = [render.COLUMNS[column] for column in render.fitting_columns(widths, available)]

    assert fitting == [column for column in render.COLUMNS if column not in left_out]
