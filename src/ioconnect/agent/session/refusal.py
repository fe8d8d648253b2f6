"""What a jumphost refuses, the sign-in or the forward, and why as far as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramiko.ssh_exception import PartialAuthentication

from ioconnect.agent.session.diagnosis import auth_refused
from ioconnect.errors import ForwardNotPermitted, PortBusy, SecondFactor
from ioconnect.escape import escaped
from ioconnect.keys import credentials
from ioconnect.ssh.transport import MAX_NAMES, MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.config.configuration import Tunnel
    from ioconnect.errors import Fault
    from ioconnect.ssh.transport import ClientTransport


def refusal(transport: ClientTransport, tunnel: Tunnel) -> Fault:
    """Return the fault of USERAUTH_FAILURE (RFC 4252 §5.1), with what its USERAUTH_BANNER said (§5.4).

    The loop's thread.
    """
    answer = transport.saved_exception
    if isinstance(answer, PartialAuthentication):
        wanted = [escaped(name, limit=64) for name in answer.allowed_types[:MAX_NAMES]]
        return _second_factor(tunnel, wanted)
    banner = escaped(transport.get_banner() or b"", limit=MAX_TEXT).strip()
    said = f"it said: {banner}" if banner else ""
    return auth_refused(tunnel.jumphost, tunnel.ssh_user, said, is_copy=credentials.are_copies())


def _second_factor(tunnel: Tunnel, wanted: Sequence[str]) -> SecondFactor:
    return SecondFactor(
        f"{tunnel.jumphost} accepts this machine's key for {tunnel.ssh_user}, and wants "
        f"{' or '.join(wanted) or 'more'} as well",
        hint="No program can answer that. Ask Integrate.io to have its sshd take the key alone for this account "
        "(AuthenticationMethods publickey); then `ioconnect reconnect`.",
    )


def forward_fault(
    tunnel: Tunnel, debug_texts: Sequence[str], server: str = "OpenSSH"
) -> PortBusy | ForwardNotPermitted:
    """Return the fault of a refused tcpip-forward; `debug_texts` came in SSH_MSG_DEBUG since the request was sent.

    `server` is the jumphost's version string: others than OpenSSH say nothing, whatever the reason. OpenSSH explains
    only what is not permitted: "port forwarding refused", "Server has disabled port forwarding.".
    Its debug message about the key's options ("key options: permitlisten port-forwarding") is no such explanation.
    """
    port, jumphost = tunnel.listen_port, tunnel.jumphost
    for text in debug_texts:
        if "port forwarding" in text.lower():
            return ForwardNotPermitted(
                f"{jumphost} does not permit this key to listen on port {port} (it said: {text})",
                hint="Compare the endpoint's port with the one shown in the tunnel's settings at Integrate.io.",
            )
    if "OpenSSH" not in server:
        return PortBusy(
            f"{jumphost.host} does not give this tunnel port {port}, and does not say why",
            hint=(
                "Either something else listens there (another agent or autossh with this endpoint: stop it), or this "
                "key may not have that port: compare the endpoint's with the tunnel's settings at Integrate.io."
            ),
        )
    return PortBusy(
        f"port {port} on {jumphost.host} is held by another session",
        hint=(
            "Another agent or autossh with this endpoint may be running: stop it. If it is a dead session of this "
            "one, the jumphost frees it by itself (ClientAliveInterval)."
        ),
    )
