"""The snapshot as JSON: what is written is what is read, and an invalid document is refused with its key path."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.config.json_fields import MAX_PID
from ioconnect.errors import ExitCode, Reason, ReasonCode
from ioconnect.status import snapshots
from ioconnect.status.records import Silence
from ioconnect.status.snapshots import (
    Availability,
    Connections,
    Security,
    Snapshot,
    State,
    StatusDamaged,
    TargetState,
    TunnelStatus,
    Warning_,
)

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = TunnelStatus(
    name="orders",
    state=State.CONNECTED,
    since="2026-11-22T10:00:05Z",
    reason=None,
    jumphost="virginia-tunnel.flydata.app:50683",
    listen_port=58115,
    target="localhost:3306",
    attempts=1,
    rtt_ms=12.4,
    connections=Connections(open=2, total=391, refused=0, failed=0),
    bytes_from_target=123456,
    bytes_to_target=7890,
    host_key="SHA256:abc",
)
BUSY = replace(
    ORDERS,
    name="busy",
    state=State.STANDBY,
    reason=Reason(ReasonCode.PORT_BUSY, "port 58116 is held", "Wait."),
    next_attempt_at="2026-11-22T10:00:09Z",
    rtt_ms=None,
    host_key=None,
)
SNAPSHOT = Snapshot(True, 4711, "0.1.0", "2026-11-22T10:00:00Z", (ORDERS, BUSY))

# The contract's example, letter for letter but for the dots in its times and fingerprint.
EXAMPLE: dict[str, Any] = json.loads("""
{"schema":1,"agent":{"running":true,"pid":4711,"version":"0.1.0","started_at":"2026-11-22T10:00:00Z"},
 "tunnels":[{"name":"orders","state":"connected","since":"2026-11-22T10:00:05Z","reason":null,
   "jumphost":"virginia-tunnel.flydata.app:50683","listen_port":58115,"target":"localhost:3306",
   "attempts":1,"reconnects":0,"next_attempt_at":null,"rtt_ms":12.4,
   "connections":{"open":2,"total":391,"refused":0,"failed":0},
   "bytes":{"from_target":123456,"to_target":7890},"host_key":"SHA256:abc"}]}
""")

DOWN = TargetState(
    Availability.DOWN, SNAPSHOT.version, 4, Reason(ReasonCode.TARGET_UNREACHABLE, "db:3306 refuses", "Start it.")
)
UP = replace(DOWN, state=Availability.UP, reason=None)
# What the contract adds to schema 1: each may be missing.
ADDED: dict[str, Any] = json.loads("""
{"written_at":"2026-11-22T10:00:07Z",
 "agent":{"config":"/etc/ioconnect/config.toml","config_current":false},
 "tunnels":[{"down_since":"2026-11-22T10:00:01Z",
   "target_state":{"state":"down","since":"2026-11-22T10:00:03Z","failed":4,
     "reason":{"code":"target_unreachable","message":"db:3306 refuses","hint":"Start it."}},
   "security":{"kex":"mlkem768x25519-sha256","cipher":"aes128-gcm@openssh.com","mac":null,"post_quantum":true},
   "identity":"SHA256:def","warnings":[{"code":"shared_identity","message":"m","hint":"h"}],
   "standby_ok":true,"enabled":false,"waits_for_turn":true,"reused_source_port":false}]}
""")

times = st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
counts = st.integers(0, 2**63)
reasons = st.none() | st.builds(Reason, st.sampled_from(ReasonCode), st.text(), st.text())
tunnels = st.builds(
    TunnelStatus,
    name=st.text(),
    state=st.sampled_from(State),
    since=times,
    reason=reasons,
    jumphost=st.text(),
    listen_port=st.integers(1, 65535),
    target=st.text(),
    attempts=counts,
    reconnects=counts,
    next_attempt_at=st.none() | times,
    rtt_ms=st.none() | st.floats(0, 1e6),
    connections=st.builds(Connections, counts, counts, counts, counts),
    bytes_from_target=counts,
    bytes_to_target=counts,
    host_key=st.none() | st.text(),
    down_since=st.none() | times,
    target_state=st.none() | st.builds(TargetState, st.sampled_from(Availability), times, counts, reasons),
    security=st.none() | st.builds(Security, st.text(), st.text(), st.none() | st.text(), st.booleans()),
    identity=st.none() | st.text(),
    warnings=st.lists(st.builds(Warning_, st.text(), st.text(), st.text()), max_size=2).map(tuple),
    standby_ok=st.booleans(),
    waits_for_turn=st.booleans(),
    enabled=st.booleans(),
    reused_source_port=st.none() | st.booleans(),
)
some_snapshots = st.builds(
    Snapshot,
    st.booleans(),
    st.none() | st.integers(0, MAX_PID),
    st.text(),
    st.none() | times,
    st.lists(tunnels, max_size=3).map(tuple),
    written_at=st.none() | times,
    config=st.none() | st.text(),
    config_current=st.none() | st.booleans(),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def part(document: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the keys of the example only."""
    inner = {"agent": document["agent"], "tunnels": document["tunnels"][0]}
    kept = {
        "agent": {key: inner["agent"][key] for key in example["agent"]},
        "tunnels": [{key: inner["tunnels"][key] for key in example["tunnels"][0]}],
    }
    return {**{key: document[key] for key in example}, **kept}


def test_json_is_the_contracts_example() -> None:
    assert part(snapshots.to_json(replace(SNAPSHOT, tunnels=(ORDERS,))), EXAMPLE) == EXAMPLE


def test_what_was_added_is_the_contracts_too() -> None:
    """Under the names that the contract gives, read and written again."""
    both = {**EXAMPLE, **ADDED}
    both["agent"] = {**EXAMPLE["agent"], **ADDED["agent"]}
    both["tunnels"] = [{**EXAMPLE["tunnels"][0], **ADDED["tunnels"][0]}]

    assert snapshots.to_json(snapshots.from_json(both)) == both


def test_an_older_agent_says_nothing_of_what_was_added() -> None:
    read = snapshots.from_json(EXAMPLE)

    assert read == replace(SNAPSHOT, tunnels=(ORDERS,))
    assert (read.tunnels[0].enabled, read.tunnels[0].standby_ok) == (True, False)


def test_silence_is_the_readers_and_not_written() -> None:
    assert snapshots.to_json(replace(SNAPSHOT, silence=Silence.of_process(1))) == snapshots.to_json(SNAPSHOT)


def test_keys_are_in_the_contracts_order() -> None:
    """People read it too."""
    written = snapshots.to_json(SNAPSHOT)

    assert list(written["tunnels"][0]) == [*EXAMPLE["tunnels"][0], *ADDED["tunnels"][0]]
    assert list(written) == ["schema", "written_at", "agent", "tunnels"]


def test_a_reason_has_code_message_and_hint() -> None:
    written = snapshots.to_json(SNAPSHOT)["tunnels"][1]["reason"]

    assert written == {"code": "port_busy", "message": "port 58116 is held", "hint": "Wait."}


@given(some_snapshots)
def test_what_is_written_is_read_again(snapshot: Snapshot) -> None:
    assert snapshots.from_json(json.loads(json.dumps(snapshots.to_json(snapshot)))) == snapshot


def test_unknown_keys_and_missing_counters_do_not_matter() -> None:
    """A newer agent may say more, an older one less."""
    tunnel = {
        key: EXAMPLE["tunnels"][0][key] for key in ("name", "state", "since", "jumphost", "listen_port", "target")
    }

    read = snapshots.from_json({**EXAMPLE, "colour": "red", "tunnels": [{**tunnel, "more": [1]}]})

    assert read.tunnels[0].connections == Connections()
    assert read.tunnels[0].reason is None


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schema": None}, "schema"),
        ({"schema": True}, "schema"),
        ({"schema": 2}, "schema 2"),
        ({"agent": []}, "agent"),
        ({"agent": {"running": "yes", "version": "1"}}, "agent.running"),
        ({"agent": {"running": True, "version": "1", "pid": "4711"}}, "agent.pid"),
        ({"tunnels": {}}, "tunnels"),
        ({"tunnels": ["orders"]}, "tunnels[0]"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "state": "flying"}]}, "tunnels[0].state"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "listen_port": None}]}, "tunnels[0].listen_port"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "attempts": -1}]}, "tunnels[0].attempts"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "rtt_ms": True}]}, "tunnels[0].rtt_ms"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "reason": {"code": "moon"}}]}, "tunnels[0].reason.code"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "bytes": 5}]}, "tunnels[0].bytes"),
        ({"written_at": 5}, "written_at"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "enabled": 1}]}, "tunnels[0].enabled"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "target_state": {"state": "ill"}}]}, "tunnels[0].target_state.state"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "security": {"kex": 5}}]}, "tunnels[0].security.kex"),
        ({"tunnels": [{**EXAMPLE["tunnels"][0], "warnings": [{"code": "c"}]}]}, "tunnels[0].warnings[0].message"),
    ],
)
def test_damage_is_named_by_its_key_path(change: dict[str, Any], path: str) -> None:
    with pytest.raises(StatusDamaged) as caught:
        snapshots.from_json({**EXAMPLE, **change})

    assert path in caught.value.message
    assert caught.value.hint


@given(anything, st.sampled_from(["schema", "agent", "tunnels", "whole"]))
def test_nothing_but_a_clear_fault_comes_of_other_json(value: Any, where: str) -> None:
    try:
        snapshots.from_json(value if where == "whole" else {**EXAMPLE, where: value})
    except StatusDamaged as fault:
        assert fault.exit_code is ExitCode.TEMP_FAIL  # noqa: PT017  valid values are fine too


@pytest.mark.parametrize(
    ("snapshot", "code"),
    [
        (replace(SNAPSHOT, tunnels=(ORDERS,)), ExitCode.OK),
        (SNAPSHOT, ExitCode.TEMP_FAIL),
        (replace(SNAPSHOT, tunnels=()), ExitCode.TEMP_FAIL),
        (replace(SNAPSHOT, running=False, tunnels=(ORDERS,)), ExitCode.UNAVAILABLE),
        (replace(SNAPSHOT, silence=Silence.of_process(1), tunnels=(ORDERS,)), ExitCode.UNAVAILABLE),
        (replace(SNAPSHOT, tunnels=(ORDERS, replace(BUSY, standby_ok=True))), ExitCode.OK),
        (replace(SNAPSHOT, tunnels=(ORDERS, replace(BUSY, enabled=False))), ExitCode.OK),
        (replace(SNAPSHOT, tunnels=(replace(ORDERS, enabled=False),)), ExitCode.TEMP_FAIL),
        (replace(SNAPSHOT, tunnels=(replace(ORDERS, target_state=DOWN),)), ExitCode.TEMP_FAIL),
        (replace(SNAPSHOT, tunnels=(replace(ORDERS, target_state=UP),)), ExitCode.OK),
        (replace(SNAPSHOT, tunnels=(replace(BUSY, state=State.HELD, standby_ok=True),)), ExitCode.TEMP_FAIL),
    ],
)
def test_the_exit_code(snapshot: Snapshot, code: ExitCode) -> None:
    assert snapshots.exit_code(snapshot) is code


def test_a_timestamp_is_rfc3339_in_utc() -> None:
    assert snapshots.timestamp(1795341600.9) == "2026-11-22T10:00:00Z"


def test_the_file_is_private_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "status.json"

    snapshots.write(file, SNAPSHOT)

    assert snapshots.read(file) == SNAPSHOT
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_snapshot(tmp_path: Path) -> None:
    assert snapshots.read(tmp_path / "status.json") is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'"text"', b"null"])
def test_a_damaged_file_is_a_clear_fault(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "status.json"
    file.write_bytes(content)

    with pytest.raises(StatusDamaged):
        snapshots.read(file)
