"""What a running agent's state says about the jumphost's checks, so that no trial fights it for the port.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ioconnect.checks.results import CheckId, Finding, pinned
from ioconnect.errors import Reason, ReasonCode
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    from ioconnect.status.snapshots import TunnelStatus

Outcome: TypeAlias = Finding | Reason

# The check that an agent's reason belongs to; the others are about the first words with the jumphost, or it does not
# tell how far it came.
_PLACE = {
    ReasonCode.AUTH_REFUSED: CheckId.AUTH,
    ReasonCode.FORWARD_NOT_PERMITTED: CheckId.FORWARD,
    ReasonCode.PORT_BUSY: CheckId.FORWARD,
}
_FROM_AGENT = (CheckId.HOST_KEY, CheckId.AUTH, CheckId.FORWARD)
_IN_A_MOMENT = "Try again in a moment; ioconnect status --watch shows how it goes."


def is_settled(tunnel: TunnelStatus) -> bool:
    """Say whether the agent has an answer: it is not in the middle of an attempt."""
    return tunnel.state is not State.CONNECTING


def has_it(tunnel: TunnelStatus) -> bool:
    """Say whether the agent keeps this tunnel, so that its port is not to be asked for."""
    return tunnel.state is not State.STOPPED


def outcomes(tunnel: TunnelStatus, pid: int | None) -> dict[CheckId, Outcome]:
    """Return the outcomes that the agent's state stands for; a check without one is for the caller to do."""
    agent = f"the running agent (pid {pid})" if pid else "the running agent"
    if tunnel.state is State.CONNECTED:
        return _connected(tunnel, agent)
    if tunnel.reason is None:
        waiting = Finding(f"{agent} is still connecting", hint=_IN_A_MOMENT, warning=True)
        return dict.fromkeys(_FROM_AGENT, waiting)
    told = Reason(tunnel.reason.code, f"{agent} says: {tunnel.reason.message}", tunnel.reason.hint)
    place = _PLACE.get(tunnel.reason.code, CheckId.HOST_KEY)
    before = dict.fromkeys(_FROM_AGENT[: _FROM_AGENT.index(place)], Finding(f"{agent} is past this"))
    if tunnel.host_key and CheckId.HOST_KEY in before:
        before[CheckId.HOST_KEY] = pinned(tunnel.host_key)
    return {**before, place: told}


def _connected(tunnel: TunnelStatus, agent: str) -> dict[CheckId, Outcome]:
    host = tunnel.jumphost.rpartition(":")[0]
    return {
        CheckId.DNS: Finding(f"{agent} is connected to {tunnel.jumphost}"),
        CheckId.TCP: Finding(f"{agent} is connected since {tunnel.since}"),
        CheckId.HOST_KEY: pinned(tunnel.host_key) if tunnel.host_key else Finding(f"{agent} has verified it"),
        CheckId.AUTH: Finding(f"{agent} is signed in"),
        CheckId.FORWARD: Finding(f"Tunnel is open: {agent} holds port {tunnel.listen_port} on {host}"),
    }
