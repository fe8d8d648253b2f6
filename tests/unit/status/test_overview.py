"""Many tunnels at once: the worst first, a summary in one line, one note for all that share a reason."""

from __future__ import annotations

from dataclasses import replace

from ioconnect.agent.supervisor.publish import stopped
from ioconnect.errors import Reason, ReasonCode
from ioconnect.status import overview
from ioconnect.status.records import Availability, State, TargetState, TunnelStatus, Warning_

WELL = TunnelStatus("well", State.CONNECTED, "then", None, "jump:50683", 58115, "db:3306")
BUSY = Reason(ReasonCode.PORT_BUSY, "port 58115 on jump is held by another session", "Stop it.")
REFUSED = Reason(ReasonCode.AUTH_REFUSED, "jump does not accept the key", "Register it.")
STANDBY = replace(WELL, name="standby", state=State.STANDBY, reason=BUSY)
HELD = replace(WELL, name="held", state=State.HELD, reason=REFUSED, next_attempt_at="2026-11-22T12:00:09Z")
LOST = replace(WELL, name="lost", state=State.BACKOFF, reason=REFUSED, down_since="earlier")
DOWN = replace(WELL, name="down", target_state=TargetState(Availability.DOWN, "noon", 4))
DISABLED = replace(WELL, name="disabled", state=State.STOPPED, enabled=False)
ALL = (WELL, DISABLED, replace(STANDBY, standby_ok=True), STANDBY, DOWN, LOST, HELD)


def test_the_worst_is_first_and_others_keep_their_order() -> None:
    ordered = [tunnel.name for tunnel in overview.worst_first((replace(WELL, name="one"), *ALL, WELL))]

    assert ordered == ["held", "lost", "down", "standby", "standby", "one", "well", "well", "disabled"]


def test_the_summary_counts_what_is_not_connected() -> None:
    assert overview.counts([*[WELL] * 18, STANDBY, HELD]) == "18 of 20 connected, 1 standby, 1 held"
    assert overview.counts([WELL, DOWN]) == "1 of 2 connected, 1 target down"
    assert overview.counts([WELL, DISABLED]) == "1 of 1 connected, 1 disabled"
    assert overview.counts([]) == "0 of 0 connected"


def test_the_line_of_the_service_has_the_worst_reason_too() -> None:
    assert overview.summary([WELL, LOST, HELD]) == (
        "1 of 3 connected, 1 backoff, 1 held; held: jump does not accept the key (auth_refused)"
    )
    assert overview.summary([WELL, DOWN]).endswith("; down: db:3306 does not accept connections")
    assert overview.summary([WELL, replace(STANDBY, standby_ok=True)]) == "1 of 2 connected, 1 standby"


def test_the_hint_is_that_of_the_tunnel_that_the_summary_names() -> None:
    assert overview.hint([STANDBY, HELD, WELL]) == "Register it. More: docs/troubleshooting.md#auth_refused"
    assert overview.hint([WELL, DOWN]) == "ioconnect status shows how it goes on."
    assert overview.hint([]) == "ioconnect status shows how it goes on."


def test_a_tunnel_that_waits_for_its_turn_says_so_beside_its_reason() -> None:
    first = replace(WELL, name="first", state=State.CONNECTING, waits_for_turn=True)
    lost = replace(LOST, state=State.CONNECTING, waits_for_turn=True)

    assert [note.text for note in overview.notes([first])] == [overview.WAITS_FOR_TURN]
    assert overview.summary([lost]).endswith(f"the key (auth_refused); {overview.WAITS_FOR_TURN}")
    assert [note.names for note in overview.notes([first, replace(first, name="second")])] == [("first", "second")]


def test_a_tunnel_that_was_stopped_by_its_name_says_what_starts_it() -> None:
    """Of several, one note says it of any of them."""
    names = ("orders", "orders-2", "db.orders")
    several = [replace(WELL, name=n, state=State.STOPPED, reason=stopped(n)) for n in names]

    (one,) = overview.notes(several[:1])
    (all_of_them,) = overview.notes(several)

    more = "More: docs/troubleshooting.md#stopped"
    assert one.text == "stopped by `ioconnect down orders` (stopped)"
    assert one.hint == f"`ioconnect up orders` starts it. {more}"
    assert (all_of_them.names, all_of_them.text) == (names, "stopped by `ioconnect down NAME` (stopped)")
    assert all_of_them.hint == f"`ioconnect up NAME` starts it. {more}"


def test_an_outage_is_as_old_as_its_beginning() -> None:
    """`since` is that of the current retry."""
    assert overview.since(LOST) == "earlier"
    assert overview.since(WELL) == "then"
    assert overview.since(DOWN) == "noon"


def test_a_reason_that_tunnels_share_is_one_note() -> None:
    """Also if it names each tunnel's own port; the next try is the earliest."""
    other_port = replace(BUSY, message=BUSY.message.replace("58115", "58116"))
    other = replace(STANDBY, name="other", listen_port=58116, reason=other_port)
    later = replace(HELD, name="later", next_attempt_at="2026-11-22T12:00:30Z")

    refused, busy = overview.notes([STANDBY, later, other, HELD, WELL])

    assert (refused.names, refused.next_attempt_at) == (("later", "held"), HELD.next_attempt_at)
    assert (busy.names, busy.text) == (("standby", "other"), f"{BUSY.message} (port_busy)")


def test_a_standby_that_is_configured_is_not_told_to_stop_the_other_agent() -> None:
    assert overview.notes([replace(STANDBY, standby_ok=True), DISABLED, WELL]) == []


def test_different_reasons_are_different_notes() -> None:
    elsewhere = replace(REFUSED, message="elsewhere does not accept the key")

    assert len(overview.notes([HELD, replace(HELD, name="other", reason=elsewhere)])) == 2


def test_many_names_are_not_all_in_a_note() -> None:
    few, many = (overview.Note(tuple("abcdefg"[:count]), "", "") for count in (4, 7))

    assert few.subject == "a, b, c, d"
    assert many.subject == "a, b, c and 4 more"


def test_warnings_are_last_and_shared_too() -> None:
    warning = Warning_("root", "the agent runs as root", "Use --run-as.")

    *_, note = overview.notes([replace(WELL, warnings=(warning,)), replace(HELD, warnings=(warning,))])

    assert (note.names, note.is_warning) == (("held", "well"), True)
    assert note.text == "warning: the agent runs as root (root)"
