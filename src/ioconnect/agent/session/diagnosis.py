"""Why a session ended: its stage, what the jumphost sent, and the error, turned into one Fault.

Pure. Texts of sshd are matched as OpenSSH sends them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from ioconnect.disposition import Disposition
from ioconnect.errors import (
    AlgorithmsMismatch,
    AuthRefused,
    BannerTimeout,
    ConnectionLost,
    Fault,
    HostKeyChanged,
    HostKeyUnpinned,
    KeepaliveTimeout,
    KexTimeout,
    Penalized,
    TooManyConnections,
)
from ioconnect.escape import escaped
from ioconnect.keys.known_hosts import HostKeyStatus
from ioconnect.keys.public_keys import MIN_RSA_BITS
from ioconnect.ssh.algorithms import NoSharedAlgorithm
from ioconnect.ssh.messages import ProtocolViolation

if TYPE_CHECKING:
    from ioconnect.config.addresses import HostPort
    from ioconnect.config.configuration import Tunnel
    from ioconnect.ssh.transport import ClientTransport


class Stage(IntEnum):
    """How far a session has come."""

    DIALING = 0
    KEY_EXCHANGE = 1  # banner and first key exchange
    SIGNING_IN = 2
    SIGNED_IN = 3


_DURING = {
    Stage.DIALING: " while connecting",
    Stage.KEY_EXCHANGE: " during the key exchange",
    Stage.SIGNING_IN: " during the sign-in",
    Stage.SIGNED_IN: "",
}
_LOST_HINT = "Nothing to do: the agent connects again by itself."
_CUT_HINT = (
    "If it was restarted, nothing: the agent tries once more soon, then as rarely as after a refused key, for the "
    "jumphost may count these ends against this address. Or the account {user} may have expired there or be locked: "
    "ask Integrate.io."
)
_NO_SSH_HINT = "Check ssh_port ({port}): is it an SSH server that listens there?"


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """What is known when a session ends; texts from the jumphost are already escaped."""

    jumphost: HostPort
    user: str
    stage: Stage
    banner_received: bool  # SSH-2.0-…, the identification string of RFC 4253 §4.2
    lines_before_banner: tuple[str, ...] = ()
    disconnect_text: str = ""


def collect(transport: ClientTransport, jumphost: HostPort, user: str, stage: Stage) -> SessionEnd:
    """Return what the transport knows about why it ended."""
    return SessionEnd(
        jumphost=jumphost,
        user=user,
        stage=stage,
        banner_received=bool(transport.remote_version),
        lines_before_banner=transport.lines_before_banner,
        disconnect_text=transport.disconnect_text,
    )


def diagnose(end: SessionEnd, error: BaseException | str | None) -> Fault:
    """Return the fault; `error` is what ended the session (a string: the message of the SSH library)."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, NoSharedAlgorithm):
        return _mismatch(end.jumphost, error)
    refused = _refused_before_banner(end)
    if refused is not None:
        return refused
    jumphost, during = end.jumphost, _during(end)
    if end.disconnect_text:
        text = end.disconnect_text
        if end.stage is Stage.SIGNING_IN and "authentication" in text.lower():
            return auth_refused(end.jumphost, end.user, f"it said: {text}")
        message = f"{jumphost} ended the connection{during}: {text}"
    elif error is None or isinstance(error, EOFError):
        message = f"{jumphost} closed the connection{during}"
    elif isinstance(error, OSError):
        message = f"the connection to {jumphost} broke{during}: {error.strerror or error}"
    elif isinstance(error, ProtocolViolation):
        message = f"{jumphost} broke the SSH protocol{during}: {error}"
    else:
        message = f"the connection to {jumphost} failed{during}: {escaped(str(error))}"
    return _ended(end, message)


def _ended(end: SessionEnd, message: str) -> ConnectionLost:
    lost = _lost(message)
    if not end.banner_received:
        lost.hint = _NO_SSH_HINT.format(port=end.jumphost.port)
    elif end.stage is Stage.SIGNING_IN:
        lost.hint = _CUT_HINT.format(user=end.user)
        lost.disposition = Disposition.SIGN_IN_CUT
    return lost


def _during(end: SessionEnd) -> str:
    if end.banner_received:
        return _DURING[end.stage]
    line = next(filter(None, end.lines_before_banner), "")  # a web server's status line; its last line is empty
    return " before it introduced itself" + (f', after saying "{line}"' if line else "")


def sign_in_timeout(end: SessionEnd, seconds: float) -> Fault:
    """Return the fault of a session that was not signed in within `seconds`."""
    jumphost = end.jumphost
    if end.banner_received and end.stage is Stage.KEY_EXCHANGE:
        return KexTimeout(
            f"{jumphost} did not finish the key exchange within {seconds:.0f} s",
            hint=(
                "Most likely large packets are lost on the way: a VPN takes only smaller ones (MTU), and a firewall "
                f"drops the ICMP that says so. `ping -M do -s 1472 {jumphost.host}` tells. Lower the MTU of this "
                "machine's interface (`ip link set dev eth0 mtu 1400`), or have the network team clamp TCP's MSS."
            ),
        )
    if end.banner_received:
        step = _DURING[end.stage].removeprefix(" during ")
        return _lost(f"{jumphost} did not finish {step} within {seconds:.0f} s")
    return BannerTimeout(
        f"{jumphost} takes connections but no SSH server introduced itself within {seconds:.0f} s",
        hint=(
            f"Check ssh_port ({jumphost.port}); if it is right, a firewall or proxy on the way may swallow the "
            "connection, or the jumphost is overloaded."
        ),
    )


def auth_refused(jumphost: HostPort, user: str, detail: str = "", *, is_copy: bool = False) -> AuthRefused:
    """Return the fault of a key that the jumphost does not accept; `is_copy`: systemd's, from the service's start."""
    hint = (
        "Compare the public key (`ioconnect keygen` shows it) with the one in the tunnel's settings at "
        "Integrate.io; then `ioconnect reconnect`."
    )
    if is_copy:
        hint += " If the key was replaced: sudo systemctl restart ioconnect, which has a copy from its start."
    return AuthRefused(
        f"{jumphost} does not accept this machine's key for {user}{f' ({detail})' if detail else ''}", hint=hint
    )


def host_key_fault(
    tunnel: Tunnel,
    verdict: HostKeyStatus,
    shown: str,
    pinned: tuple[str, ...],
    outcome: str = "no sign-in was attempted",
) -> Fault:
    """Return the fault of a host key, fingerprint `shown`, that matches no pin; `verdict` is not OK."""
    if verdict is HostKeyStatus.UNPINNED:
        return HostKeyUnpinned(
            f"no host key is pinned for {tunnel.jumphost} (it shows {shown})",
            hint=(
                f"Run `ioconnect pin {tunnel.name}` and compare the fingerprint; then `ioconnect reconnect "
                f"{tunnel.name}`."
            ),
        )
    if verdict is HostKeyStatus.TOO_SHORT:
        return AlgorithmsMismatch(
            f"the host key of {tunnel.jumphost}, {shown}, is an RSA key of less than {MIN_RSA_BITS} bits",
            hint="Ask Integrate.io for a jumphost with an ed25519 host key.",
        )
    revoked = " (revoked)" if verdict is HostKeyStatus.REVOKED else ""
    return HostKeyChanged(
        f"the host key of {tunnel.jumphost} is {shown}{revoked}, pinned is {', '.join(pinned) or 'none'}; " + outcome,
        hint=(
            "Somebody may be in between: compare first. Ask Integrate.io, by other means than this connection, for "
            f"the fingerprint; `ioconnect pin {tunnel.name} --fingerprint` with the one that they tell you accepts "
            f"that key, then `ioconnect reconnect {tunnel.name}`."
        ),
    )


def keepalive_timeout(jumphost: HostPort, seconds: float) -> KeepaliveTimeout:
    """Return the fault of a jumphost that did not answer the keepalive."""
    return KeepaliveTimeout(
        f"{jumphost} has not answered for {seconds:.0f} s",
        hint="The network on the way, or the jumphost, is down; the agent connects again by itself.",
    )


def _refused_before_banner(end: SessionEnd) -> Fault | None:
    if end.banner_received:
        return None
    jumphost = end.jumphost
    for line in end.lines_before_banner:
        if "Exceeded MaxStartups" in line:
            return TooManyConnections(
                f"{jumphost} has too many sign-ins under way (it said: {line})",
                hint="Nothing to do: the agent tries again in a few seconds.",
            )
        if "Not allowed at this time" in line:
            return Penalized(
                f"{jumphost} turns this address away for now (it said: {line})",
                hint=(
                    "It punishes failed sign-ins from this address for some minutes: this agent's own, if the log "
                    "says that its key was refused, or those of another agent or ssh here or behind the same NAT. "
                    "The agent tries again by itself."
                ),
            )
    return None


def _mismatch(jumphost: HostPort, error: NoSharedAlgorithm) -> AlgorithmsMismatch:
    """Return the fault of a jumphost without a common algorithm.

    The hint names none: the list comes before any host key, so whoever is in between may have written it.
    """
    hint = (
        "Its SSH server is old, or restricted, or somebody in between says so: ask Integrate.io, by other means than "
        "this connection, which algorithms it is to have before you allow a weaker one by `[crypto]` in config.toml."
    )
    return AlgorithmsMismatch(f"{jumphost} has {error}", hint=hint)


def _lost(message: str) -> ConnectionLost:
    return ConnectionLost(message, hint=_LOST_HINT)
