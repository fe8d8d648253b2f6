"""Derives the jumphost's checks from a running agent's status, so that no session check competes for its port.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ioconnect.checks.results import CheckId, Finding, pinned_host_key
from ioconnect.errors import Fault, Reason, ReasonCode
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from ioconnect.status.snapshots import TunnelStatus

Outcome: TypeAlias = Finding | Reason | Fault

# The check that an agent's reason belongs to; all other reasons belong to host_key, the first step after TCP.
_CHECK_OF_REASON = {
    ReasonCode.AUTH_REFUSED: CheckId.AUTH,
    ReasonCode.SECOND_FACTOR: CheckId.AUTH,
    ReasonCode.ALGORITHMS_MISMATCH: CheckId.HOST_KEY,
    ReasonCode.FORWARD_NOT_PERMITTED: CheckId.FORWARD,
    ReasonCode.PORT_BUSY: CheckId.FORWARD,
}
_FROM_AGENT = (CheckId.HOST_KEY, CheckId.AUTH, CheckId.FORWARD)
# Reasons of an agent that was connected. A connection more would add to what sshd counts against this address.
_OF_THE_JUMPHOST = (
    *(ReasonCode.BANNER_TIMEOUT, ReasonCode.KEX_TIMEOUT),
    *(ReasonCode.TOO_MANY_CONNECTIONS, ReasonCode.PENALIZED, ReasonCode.HOST_KEY_CHANGED),
    *_CHECK_OF_REASON,
)
_RETRY_HINT = "Try again in a moment; ioconnect status --watch shows how it goes."


def is_settled(tunnel: TunnelStatus) -> bool:
    """Say whether no connection attempt of the agent is in progress."""
    return tunnel.state is not State.CONNECTING


def is_active(tunnel: TunnelStatus) -> bool:
    """Say whether the agent runs this tunnel, so that its port is in use."""
    return tunnel.state is not State.STOPPED


def outcomes(tunnel: TunnelStatus, pid: int | None) -> dict[CheckId, Outcome]:
    """Return the outcomes of the checks that the agent's status answers; the caller runs the others."""
    agent = f"the running agent (pid {pid})" if pid else "the running agent"
    if tunnel.state is State.CONNECTED:
        return _connected(tunnel, agent)
    if tunnel.reason is None:
        in_progress = Finding(f"{agent} is still connecting", hint=_RETRY_HINT, warning=True)
        return dict.fromkeys(_FROM_AGENT, in_progress)
    reason = Reason(tunnel.reason.code, f"{agent} says: {tunnel.reason.message}", tunnel.reason.hint)
    failing = _CHECK_OF_REASON.get(tunnel.reason.code, CheckId.HOST_KEY)
    passed = [CheckId.DNS, CheckId.TCP] if tunnel.reason.code in _OF_THE_JUMPHOST else []
    passed += _FROM_AGENT[: _FROM_AGENT.index(failing)]
    before: dict[CheckId, Outcome] = dict.fromkeys(passed, Finding(f"{agent} is past this"))
    if tunnel.host_key and CheckId.HOST_KEY in before:
        before[CheckId.HOST_KEY] = pinned_host_key(tunnel.host_key)
    return {**before, failing: reason}


def _connected(tunnel: TunnelStatus, agent: str) -> dict[CheckId, Outcome]:
    host = tunnel.jumphost.rpartition(":")[0]
    return {
        CheckId.DNS: Finding(f"{agent} is connected to {tunnel.jumphost}"),
        CheckId.TCP: Finding(f"{agent} is connected since {tunnel.since}"),
        CheckId.HOST_KEY: pinned_host_key(tunnel.host_key)
        if tunnel.host_key
        else Finding(f"{agent} has verified it"),
        CheckId.AUTH: Finding(f"{agent} is signed in"),
        CheckId.FORWARD: Finding(f"Tunnel is open: {agent} holds port {tunnel.listen_port} on {host}"),
    }
