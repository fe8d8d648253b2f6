"""The checks dns, tcp and, without an identity, host_key of the jumphost.

Blocks the calling thread until the given deadline at most (a time.monotonic()).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ioconnect.agent.dial.connect_failures import Role
from ioconnect.agent.dial.deadline import Deadline
from ioconnect.agent.dial.dial import dial
from ioconnect.agent.dial.happy_eyeballs import AllAttemptsFailed, connect_first, interleaved
from ioconnect.agent.dial.proxy import choose
from ioconnect.agent.dial.resolve import Resolver
from ioconnect.agent.session import keyscan
from ioconnect.agent.session.diagnosis import host_key_fault
from ioconnect.checks.results import Finding, pinned_host_key
from ioconnect.config.addresses import HostPort
from ioconnect.errors import NameNotResolved, Unreachable
from ioconnect.keys import public_keys
from ioconnect.keys.credentials import load_pins
from ioconnect.keys.known_hosts import HostKeyStatus

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from ioconnect.agent.dial.happy_eyeballs import SourcePort
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths

WEB_PORT = 443  # the port that firewalls most often allow
EGRESS_TIMEOUT = 3.0  # seconds
MAX_SHOWN_ADDRESSES = 4


def resolve(tunnel: Tunnel, environ: Mapping[str, str], deadline: float) -> Finding:
    """Resolve the name of the jumphost, or of the proxy if one is used. Raises NameNotResolved, ConfigInvalid."""
    proxy = choose(tunnel.jumphost, tunnel.proxy, environ)
    host, role = (tunnel.jumphost, Role.JUMPHOST) if proxy is None else (proxy.address, Role.PROXY)
    addresses = Resolver().resolve(host, Deadline(deadline), role=role)
    shown = list(dict.fromkeys(map(str, addresses)))
    more = f" and {len(shown) - MAX_SHOWN_ADDRESSES} more" if len(shown) > MAX_SHOWN_ADDRESSES else ""
    text = f"{host.host} is " + (
        "an address" if shown == [host.host] else ", ".join(shown[:MAX_SHOWN_ADDRESSES]) + more
    )
    if proxy is None:
        return Finding(text)
    origin = "proxy = in the configuration" if proxy.origin == "proxy" else f"{proxy.origin} in the environment"
    return Finding(f"{text}: the proxy {proxy} ({origin}), which resolves {tunnel.jumphost.host} itself")


def connect(
    tunnel: Tunnel, environ: Mapping[str, str], deadline: float, source: SourcePort | None
) -> tuple[socket.socket, Finding]:
    """Connect to the jumphost's SSH port as the agent does; return the connection too, for the checks that follow.

    It is one that sshd counts against this address (PerSourcePenalties) if nobody signs in over it. `source` is as
    for `dial`. Raises the faults of `dial`; the hint of Unreachable says whether the host's web port answers.
    """
    proxy = choose(tunnel.jumphost, tunnel.proxy, environ)
    end = deadline if proxy is not None else deadline - EGRESS_TIMEOUT
    try:
        sock = dial(
            tunnel.jumphost,
            environ=environ,
            deadline=end,
            proxy=tunnel.proxy,
            bind_address=tunnel.bind_address,
            source=source,
        )
    except Unreachable as fault:
        if proxy is not None or tunnel.jumphost.port == WEB_PORT:
            raise
        raise type(fault)(fault.message, hint=f"{fault.hint} {_web_port_hint(tunnel.jumphost, deadline)}") from None
    if proxy is not None:
        return sock, Finding(f"connected to {tunnel.jumphost} through the proxy {proxy}")
    return sock, Finding(f"connected to {tunnel.jumphost}{_other_name(sock, tunnel.jumphost.host)}")


def _other_name(sock: socket.socket, host: str) -> str:
    """Return the address that the connection leads to, unless it is what was named, or the connection has ended."""
    try:
        address = sock.getpeername()[0]
    except OSError:  # it was reset: the check of the host key says so
        return ""
    return "" if address == host else f" ({address})"


def _web_port_hint(jumphost: HostPort, deadline: float) -> str:
    """Say whether the host accepts a connection on port 443: then only the SSH port is blocked, not the host."""
    web = HostPort(jumphost.host, WEB_PORT)
    until = Deadline(min(deadline, time.monotonic() + EGRESS_TIMEOUT))
    try:
        connect_first(interleaved(Resolver().resolve(web, until)), until).close()
    except (AllAttemptsFailed, NameNotResolved):
        return f"(Port {WEB_PORT} of the same host does not answer either: it is not this port alone.)"
    return f"(Port {WEB_PORT} of the same host answers: the network holds back port {jumphost.port}, not the host.)"


def check_host_key(
    tunnel: Tunnel, settings: AgentSettings, paths: Paths, deadline: float, sock: socket.socket | None
) -> Finding:
    """Check the jumphost's host key against the pins without authentication, for a tunnel without an identity.

    `sock` is a connection to the jumphost; without one it is dialed.

    Raises the faults of `dial` and of the SSH identification, HostKeyUnpinned, HostKeyChanged,
    AlgorithmsMismatch, and ConfigInvalid if the pins cannot be read.
    """
    pins = load_pins(paths)
    host, port = tunnel.jumphost.host, tunnel.jumphost.port
    shown = next(
        keyscan.shown_keys(
            tunnel.jumphost,
            proxy=tunnel.proxy,
            bind_address=tunnel.bind_address,
            deadline=deadline,
            allowed=settings.allowed_algorithms,
            pinned_types=pins.types_for(host, port),
            sock=sock,
        )
    )
    status, fingerprint = pins.check(host, port, shown), public_keys.fingerprint(shown)
    if status is not HostKeyStatus.OK:
        raise host_key_fault(tunnel, status, fingerprint, pins.fingerprints_for(host, port))
    return pinned_host_key(fingerprint)
