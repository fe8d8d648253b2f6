"""Compares the configuration, the identity and the pins of a tunnel with what the running agent has.

Pure. What differs is a finding of its own, and the checks that depend on it are run: the agent's state says nothing
about a configuration, a key or a pin that it does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.checks.results import CheckId, Finding, pinned_host_key
from ioconnect.errors import AgentUnresponsive, ReasonCode
from ioconnect.status import hints

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.checks.agent_state import Outcome
    from ioconnect.config.configuration import Tunnel
    from ioconnect.status.control import AgentSilent
    from ioconnect.status.snapshots import Snapshot, TunnelStatus

RELOAD = "ioconnect reload makes the agent take it over."
_CODES_OF_CONFIG = ("config_changed", ReasonCode.CONFIG_INVALID.value)
_OF_THE_JUMPHOST = (CheckId.DNS, CheckId.TCP, CheckId.HOST_KEY, CheckId.AUTH, CheckId.FORWARD)


def config_finding(tunnel: Tunnel, status: TunnelStatus, snapshot: Snapshot, path: Path) -> Finding | None:
    """Return what the configuration at `path` says otherwise than the agent's; None if nothing."""
    ours = str(tunnel.jumphost), tunnel.listen_port, str(tunnel.target)
    if ours != (status.jumphost, status.listen_port, status.target):
        port = f"port {status.listen_port} of {status.jumphost}"
        detail = f"the running agent has {tunnel.name} otherwise: {port} leads to {status.target}"
    elif any(warning.code in _CODES_OF_CONFIG for warning in status.warnings):
        detail = f"the running agent has {tunnel.name} otherwise, in what its address does not show"
    elif not tunnel.enabled:
        detail = f"{tunnel.name} is disabled here, and the running agent runs it"
    else:
        return None
    if snapshot.config is not None and snapshot.config != str(path):
        return Finding(detail, hint=f"The agent was started with {snapshot.config}.", warning=True)
    return Finding(detail, hint=RELOAD, warning=True)


def other_config_finding(tunnel: Tunnel, snapshot: Snapshot, path: Path) -> Finding:
    """Return that the agent does not have the tunnel, as it runs with another configuration than `path`."""
    detail = f"the running agent (pid {snapshot.pid}) does not have {tunnel.name}: it runs with {snapshot.config}"
    return Finding(f"{detail}, not with {path}", hint=hints.OTHER_CONFIG, warning=True)


def identity_finding(name: str, key: str, status: TunnelStatus) -> Finding | None:
    """Return that the key, by its fingerprint, is not the one that the agent signed in with; None if it is."""
    if status.identity is None or status.identity == key:
        return None
    detail = f"the key here is {key}, the running agent signed in with {status.identity}"
    hint = f"ioconnect down {name} and ioconnect up {name} sign in with the new one; restart a systemd service."
    return Finding(detail, hint=hint, warning=True)


def host_key_finding(pinned: tuple[str, ...], status: TunnelStatus) -> Finding | None:
    """Return that the pins changed but still hold the agent's host key; None if they are as they were."""
    changed = next((warning for warning in status.warnings if warning.code == "pins_changed"), None)
    if changed is None or status.host_key not in pinned:
        return None
    return Finding(f"{pinned_host_key(status.host_key).detail}; {changed.message}", hint=changed.hint, warning=True)


def still_valid(
    answers: dict[CheckId, Outcome], status: TunnelStatus, tunnel: Tunnel, *, config: bool, key: bool, pin: bool
) -> dict[CheckId, Outcome]:
    """Return those of the agent's answers that do not depend on what has changed: configuration, key or pin.

    While jumphost and port are the agent's, the answer on the forward stays valid under another configuration: a
    session of the check's own could only find the port in use.
    """
    lost = set(_OF_THE_JUMPHOST) if config else set()
    if config and (str(tunnel.jumphost), tunnel.listen_port) == (status.jumphost, status.listen_port):
        lost.discard(CheckId.FORWARD)
    if key:
        lost.add(CheckId.AUTH)
    if pin:
        lost.add(CheckId.HOST_KEY)
    return {check: outcome for check, outcome in answers.items() if check not in lost}


def silent(fault: AgentSilent) -> dict[CheckId, Outcome]:
    """Return the outcome of the check `forward` beside an agent that does not answer: it fails.

    That the agent has the port on the jumphost is not known; the other checks are run as without an agent.
    """
    message = f"{fault.message}; whether the tunnel carries anything is not known"
    return {CheckId.FORWARD: AgentUnresponsive(message, hint=fault.hint)}
