"""The snapshot of every tunnel's state and reason (JSON, schema 1), which the agent writes and all others read.

Pure, but for `read` and `write` at the end. Unknown keys and missing optional keys are accepted; a missing required
key or a value of the wrong type is a fault.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ioconnect.config.json_fields import MAX_PID, MAX_PORT, Fields, Malformed
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import hint_of, read_regular, write_atomically
from ioconnect.errors import ExitCode, Fault, Reason, ReasonCode
from ioconnect.status.records import (
    Availability,
    Connections,
    Security,
    Snapshot,
    State,
    TargetState,
    TunnelStatus,
    Warning_,
    exit_code,
)

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

__all__ = [
    "Availability",
    "Connections",
    "Security",
    "Snapshot",
    "State",
    "StatusDamaged",
    "TargetState",
    "TunnelStatus",
    "Warning_",
    "answer_to_json",
    "exit_code",
    "from_json",
    "names_in",
    "read",
    "timestamp",
    "to_json",
    "write",
]

SCHEMA = 1
MAX_FILE = 16 << 20  # bytes; a tunnel takes about 700
RESTART = "Restart the agent: ioconnect down, then ioconnect up --daemon."


class StatusDamaged(Fault):
    """The status file is invalid, or was written by another version."""

    exit_code = ExitCode.TEMP_FAIL


def timestamp(moment: float) -> str:
    """Return seconds since the epoch as RFC 3339 UTC in whole seconds."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot as a JSON document of schema 1, for `json.dumps`."""
    agent = {
        "running": snapshot.running,
        "pid": snapshot.pid,
        "version": snapshot.version,
        "started_at": snapshot.started_at,
        "config": snapshot.config,
        "config_current": snapshot.config_current,
    }
    tunnels = [_tunnel_to_json(tunnel) for tunnel in snapshot.tunnels]
    return {"schema": SCHEMA, "written_at": snapshot.written_at, "agent": agent, "tunnels": tunnels}


def answer_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """As `to_json`, for a command's answer: `answering` is false if it is not what the agent says itself."""
    document = to_json(snapshot)
    document["agent"]["answering"] = snapshot.running and snapshot.silence is None
    return document


def _tunnel_to_json(tunnel: TunnelStatus) -> dict[str, Any]:
    connections, target = tunnel.connections, tunnel.target_state
    return {
        "name": tunnel.name,
        "state": tunnel.state.value,
        "since": tunnel.since,
        "reason": _reason_to_json(tunnel.reason),
        "jumphost": tunnel.jumphost,
        "listen_port": tunnel.listen_port,
        "target": tunnel.target,
        "attempts": tunnel.attempts,
        "reconnects": tunnel.reconnects,
        "next_attempt_at": tunnel.next_attempt_at,
        "rtt_ms": tunnel.rtt_ms,
        "connections": {
            "open": connections.open,
            "total": connections.total,
            "refused": connections.refused,
            "failed": connections.failed,
        },
        "bytes": {"from_target": tunnel.bytes_from_target, "to_target": tunnel.bytes_to_target},
        "host_key": tunnel.host_key,
        "down_since": tunnel.down_since,
        "target_state": target and {**asdict(target), "reason": _reason_to_json(target.reason)},
        "security": tunnel.security and asdict(tunnel.security),
        "identity": tunnel.identity,
        "warnings": [asdict(warning) for warning in tunnel.warnings],
        "standby_ok": tunnel.standby_ok,
        "enabled": tunnel.enabled,
        "waits_for_turn": tunnel.waits_for_turn,
        "reused_source_port": tunnel.reused_source_port,
    }


def _reason_to_json(reason: Reason | None) -> dict[str, str] | None:
    if reason is None:
        return None
    return {"code": reason.code.value, "message": reason.message, "hint": reason.hint}


def from_json(document: object) -> Snapshot:
    """Return the snapshot in a parsed JSON document. Raises StatusDamaged, which names the invalid key."""
    try:
        return _from_fields(Fields(document))
    except Malformed as error:
        raise StatusDamaged(f"the status is damaged: {error}", hint=RESTART) from error


def _from_fields(fields: Fields) -> Snapshot:
    schema = fields.natural("schema")
    if schema is None:
        raise Malformed("schema is missing")
    if schema != SCHEMA:
        raise StatusDamaged(
            f"the status has schema {schema}, this ioconnect reads schema {SCHEMA}",
            hint="Another version of ioconnect wrote it: use that one, or restart the agent with this one.",
        )
    agent = fields.inner("agent")
    return Snapshot(
        running=agent.required("running", bool),
        pid=agent.natural("pid", MAX_PID),
        version=agent.required("version", str),
        started_at=agent.optional("started_at", str),
        tunnels=tuple(_tunnel_from_fields(tunnel) for tunnel in fields.each("tunnels")),
        written_at=fields.optional("written_at", str),
        config=agent.optional("config", str),
        config_current=agent.optional("config_current", bool),
    )


def _tunnel_from_fields(fields: Fields) -> TunnelStatus:
    connections, carried = fields.inner("connections"), fields.inner("bytes")
    return TunnelStatus(
        name=fields.required("name", str),
        state=fields.choice("state", State),
        since=fields.required("since", str),
        reason=_reason_from_fields(fields),
        jumphost=fields.required("jumphost", str),
        listen_port=_port(fields),
        target=fields.required("target", str),
        attempts=fields.count("attempts"),
        reconnects=fields.count("reconnects"),
        next_attempt_at=fields.optional("next_attempt_at", str),
        rtt_ms=fields.measure("rtt_ms"),
        connections=Connections(*(connections.count(name) for name in ("open", "total", "refused", "failed"))),
        bytes_from_target=carried.count("from_target"),
        bytes_to_target=carried.count("to_target"),
        host_key=fields.optional("host_key", str),
        down_since=fields.optional("down_since", str),
        target_state=_target_from_fields(fields),
        security=_security_from_fields(fields),
        identity=fields.optional("identity", str),
        warnings=tuple(_warning_from_fields(warning) for warning in fields.each("warnings", optional=True)),
        standby_ok=fields.optional("standby_ok", bool) or False,
        enabled=fields.optional("enabled", bool) is not False,
        waits_for_turn=fields.optional("waits_for_turn", bool) or False,
        reused_source_port=fields.optional("reused_source_port", bool),
    )


def _port(fields: Fields) -> int:
    port = fields.natural("listen_port", MAX_PORT)
    if port is None:
        raise Malformed(f"{fields.path_of('listen_port')} is missing")
    return port


def names_in(answer: object, *keys: str, optional: Container[str] = ()) -> dict[str, list[str]]:
    """Return the lists of tunnels' names in an agent's answer to a change, by key. Raises StatusDamaged."""
    try:
        fields = Fields(answer)
        return {key: fields.texts(key, optional=key in optional) for key in keys}
    except Malformed as error:
        raise StatusDamaged(f"the agent's answer is damaged: {error}", hint=RESTART) from error


def _target_from_fields(fields: Fields) -> TargetState | None:
    if fields.optional("target_state", dict) is None:
        return None
    target = fields.inner("target_state")
    state = target.choice("state", Availability)
    return TargetState(state, target.required("since", str), target.count("failed"), _reason_from_fields(target))


def _security_from_fields(fields: Fields) -> Security | None:
    if fields.optional("security", dict) is None:
        return None
    security = fields.inner("security")
    kex, cipher = (security.required(name, str) for name in ("kex", "cipher"))
    return Security(kex, cipher, security.optional("mac", str), security.required("post_quantum", bool))


def _warning_from_fields(fields: Fields) -> Warning_:
    return Warning_(*(fields.required(name, str) for name in ("code", "message", "hint")))


def _reason_from_fields(fields: Fields) -> Reason | None:
    if fields.optional("reason", dict) is None:
        return None
    reason = fields.inner("reason")
    return Reason(
        reason.choice("code", ReasonCode), reason.required("message", str), reason.optional("hint", str) or ""
    )


def write(path: Path, snapshot: Snapshot, *, mode: int = 0o600) -> None:
    """Replace the status file atomically. Raises CannotCreate, and keeps the old content then."""
    # Not durable: it is written every second under load, and fsync(2) would slow down a database server's disk.
    write_atomically(path, json.dumps(to_json(snapshot)).encode() + b"\n", mode=mode, durable=False)


def read(path: Path) -> Snapshot | None:
    """Return the snapshot in the status file, None if there is none. Raises StatusDamaged.

    Its `running` is as the agent wrote it; `observe.observe` finds out whether the agent runs.
    """
    try:
        content, _ = read_regular(path, limit=MAX_FILE)
    except FileNotFoundError:
        return None
    except (OSError, Untrusted) as error:
        hint = hint_of(error, "Check the file's permissions.")
        raise StatusDamaged(f"cannot read {path}: {error.strerror}", hint=hint) from error
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StatusDamaged(f"the status is damaged: {path} is not JSON ({error})", hint=RESTART) from error
    return from_json(document)
