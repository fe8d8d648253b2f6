"""Why a session ended, told from the evidence: its phase, what the jumphost said, and the error.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from ioconnect.errors import (
    AuthRefused,
    BannerTimeout,
    ConnectionLost,
    Fault,
    ForwardNotPermitted,
    HostKeyChanged,
    HostKeyUnpinned,
    KeepaliveTimeout,
    Penalized,
    PortBusy,
    TooManyConnections,
)
from ioconnect.escape import escaped
from ioconnect.keys.known_hosts import HostKeyStatus
from ioconnect.ssh.channel import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.config.configuration import HostPort, Tunnel


class Phase(IntEnum):
    """How far a session has come."""

    DIALLING = 0
    GREETING = 1  # banner and first key exchange
    SIGNING_IN = 2
    SIGNED_IN = 3


_DOING = {
    Phase.DIALLING: " while connecting",
    Phase.GREETING: " during the key exchange",
    Phase.SIGNING_IN: " during the sign-in",
    Phase.SIGNED_IN: "",
}
_LOST_HINT = "Nothing to do: the agent connects again by itself."
_NO_SSH_HINT = "Check ssh_port ({port}): is it an SSH server that listens there?"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at a session's end; texts from the jumphost are escaped already."""

    jumphost: HostPort
    user: str
    phase: Phase
    greeted: bool  # its SSH version line arrived
    said_before_banner: tuple[str, ...] = ()
    disconnect_text: str = ""


def diagnose(evidence: Evidence, error: BaseException | str | None) -> Fault:
    """Name the fault; `error` is what ended the session (text: what the SSH library said of it)."""
    if isinstance(error, Fault):
        return error
    turned_away = _turned_away(evidence)
    if turned_away is not None:
        return turned_away
    jumphost, doing = evidence.jumphost, _doing(evidence)
    if evidence.disconnect_text:
        text = evidence.disconnect_text
        if evidence.phase is Phase.SIGNING_IN and "authentication" in text.lower():
            return auth_refused(evidence.jumphost, evidence.user, f"it said: {text}")
        return _lost(f"{jumphost} ended the connection{doing}: {text}")
    if error is None or isinstance(error, EOFError):
        message = f"{jumphost} closed the connection{doing}"
    elif isinstance(error, OSError):
        message = f"the connection to {jumphost} broke{doing}: {error.strerror or error}"
    elif isinstance(error, ProtocolViolation):
        message = f"{jumphost} broke the SSH protocol{doing}: {error}"
    else:
        message = f"the connection to {jumphost} failed{doing}: {escaped(str(error))}"
    lost = _lost(message)
    if not evidence.greeted:
        lost.hint = _NO_SSH_HINT.format(port=jumphost.port)
    return lost


def _doing(evidence: Evidence) -> str:
    if evidence.greeted:
        return _DOING[evidence.phase]
    said = next(filter(None, evidence.said_before_banner), "")  # a web server's status line, its last one is empty
    return " before it introduced itself" + (f', after saying "{said}"' if said else "")


def too_late(evidence: Evidence, seconds: float) -> Fault:
    """Name the fault of a session that was not signed in within `seconds`."""
    jumphost = evidence.jumphost
    if evidence.greeted:
        step = _DOING[evidence.phase].removeprefix(" during ")
        return _lost(f"{jumphost} did not finish {step} within {seconds:.0f} s")
    return BannerTimeout(
        f"{jumphost} takes connections but no SSH server introduced itself within {seconds:.0f} s",
        hint=(
            f"Check ssh_port ({jumphost.port}); if it is right, a firewall or proxy on the way may swallow the "
            "connection, or the jumphost is overloaded."
        ),
    )


def auth_refused(jumphost: HostPort, user: str, detail: str = "") -> AuthRefused:
    """Name the fault of a key that is not accepted."""
    return AuthRefused(
        f"{jumphost} does not accept this machine's key for {user}{f' ({detail})' if detail else ''}",
        hint=(
            "Compare the public key (`ioconnect keygen` shows it) with the one in the tunnel's settings at "
            "Integrate.io; then `ioconnect reconnect`."
        ),
    )


def host_key_fault(
    tunnel: Tunnel, verdict: HostKeyStatus, shown: str, pinned: tuple[str, ...], *, before_sign_in: bool = True
) -> Fault:
    """Name the fault of a host key (fingerprint `shown`) that is not among the pins; `verdict` is not OK."""
    if verdict is HostKeyStatus.UNPINNED:
        return HostKeyUnpinned(
            f"no host key is pinned for {tunnel.jumphost} (it shows {shown})",
            hint=f"Run `ioconnect pin {tunnel.name}` and compare the fingerprint.",
        )
    revoked = " (revoked)" if verdict is HostKeyStatus.REVOKED else ""
    return HostKeyChanged(
        f"the host key of {tunnel.jumphost} is {shown}{revoked}, pinned is {', '.join(pinned) or 'none'}; "
        + ("no sign-in was attempted" if before_sign_in else "it changed in mid-session, which was ended"),
        hint=(
            "Somebody may be in between. Ask Integrate.io whether the key changed; if so, accept it: "
            f"`ioconnect pin {tunnel.name} --fingerprint {shown}`."
        ),
    )


def forward_fault(tunnel: Tunnel, said: Sequence[str]) -> PortBusy | ForwardNotPermitted:
    """Name the fault of a refused tcpip-forward; `said` are the DEBUG messages since it was asked for.

    OpenSSH explains only what is not permitted: "port forwarding refused", "Server has disabled port forwarding.".
    What it says of the key's options ("key options: permitlisten port-forwarding") may come in between and is none.
    """
    port, jumphost = tunnel.listen_port, tunnel.jumphost
    for text in said:
        if "port forwarding" in text.lower():
            return ForwardNotPermitted(
                f"{jumphost} does not permit this key to listen on port {port} (it said: {text})",
                hint="Compare the endpoint's port with the one shown in the tunnel's settings at Integrate.io.",
            )
    return PortBusy(
        f"port {port} on {jumphost.host} is held by another session",
        hint=(
            "Another agent or autossh with this endpoint may be running: stop it. If it is a dead session of this "
            "one, the jumphost frees it by itself (ClientAliveInterval)."
        ),
    )


def silent(jumphost: HostPort, seconds: float) -> KeepaliveTimeout:
    """Name the fault of a jumphost that did not answer the keepalive."""
    return KeepaliveTimeout(
        f"{jumphost} has not answered for {seconds:.0f} s",
        hint="The network on the way, or the jumphost, is down; the agent connects again by itself.",
    )


def _turned_away(evidence: Evidence) -> Fault | None:
    if evidence.greeted:
        return None
    jumphost = evidence.jumphost
    for said in evidence.said_before_banner:
        if "Exceeded MaxStartups" in said:
            return TooManyConnections(
                f"{jumphost} has too many sign-ins under way (it said: {said})",
                hint="Nothing to do: the agent tries again in a few seconds.",
            )
        if "Not allowed at this time" in said:
            return Penalized(
                f"{jumphost} turns this address away for now (it said: {said})",
                hint=(
                    "It punishes failed sign-ins from this address for some minutes. Look for another agent or "
                    "ssh here with a wrong key; the agent tries again by itself."
                ),
            )
    return None


def _lost(message: str) -> ConnectionLost:
    return ConnectionLost(message, hint=_LOST_HINT)
