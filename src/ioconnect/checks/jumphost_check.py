"""The way to the jumphost: its name, a connection to it, and what a closed port tells about the network.

Blocks the calling thread, never beyond the deadline that it is given (a time.monotonic()).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ioconnect.agent.dial.connect_failures import Role
from ioconnect.agent.dial.deadline import Waiting
from ioconnect.agent.dial.dial import dial
from ioconnect.agent.dial.happy_eyeballs import NoneConnected, connect_first, interleaved
from ioconnect.agent.dial.proxy import choose
from ioconnect.agent.dial.resolve import Resolver
from ioconnect.agent.session import keyscan
from ioconnect.agent.session.diagnosis import host_key_fault
from ioconnect.checks.results import Finding, pinned
from ioconnect.config.addresses import HostPort
from ioconnect.errors import NameNotResolved, Unreachable
from ioconnect.keys import known_hosts
from ioconnect.keys.known_hosts import HostKeyStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.paths import Paths

WEB_PORT = 443  # what networks let out if they let anything out
EGRESS_PATIENCE = 3.0  # seconds
SHOWN_ADDRESSES = 4


def resolve(tunnel: Tunnel, environ: Mapping[str, str], deadline: float) -> Finding:
    """Resolve the jumphost's name, or the proxy's if one leads there. Raises NameNotResolved, ConfigInvalid."""
    proxy = choose(tunnel.jumphost, tunnel.proxy, environ)
    host, role = (tunnel.jumphost, Role.JUMPHOST) if proxy is None else (proxy.address, Role.PROXY)
    addresses = Resolver().resolve(host, Waiting(deadline), role=role)
    shown = list(dict.fromkeys(map(str, addresses)))
    more = f" and {len(shown) - SHOWN_ADDRESSES} more" if len(shown) > SHOWN_ADDRESSES else ""
    text = f"{host.host} is " + ("an address" if shown == [host.host] else ", ".join(shown[:SHOWN_ADDRESSES]) + more)
    if proxy is None:
        return Finding(text)
    origin = "proxy = in the configuration" if proxy.origin == "proxy" else f"{proxy.origin} in the environment"
    return Finding(f"{text}: the proxy {proxy} ({origin}), which resolves {tunnel.jumphost.host} itself")


def connect(tunnel: Tunnel, environ: Mapping[str, str], deadline: float) -> Finding:
    """Connect to the jumphost's SSH port as the agent does, and hang up.

    Raises the dial's faults; an Unreachable says in its hint whether the host's web port answers.
    """
    proxy = choose(tunnel.jumphost, tunnel.proxy, environ)
    end = deadline if proxy is not None else deadline - EGRESS_PATIENCE
    try:
        with dial(tunnel.jumphost, environ=environ, deadline=end, proxy=tunnel.proxy) as sock:
            where = sock.getpeername() if proxy is None else None
    except Unreachable as fault:
        if proxy is not None or tunnel.jumphost.port == WEB_PORT:
            raise
        said = _about_web_port(tunnel.jumphost, deadline)
        raise type(fault)(fault.message, hint=f"{fault.hint} {said}") from None
    if proxy is not None:
        return Finding(f"connected to {tunnel.jumphost} through the proxy {proxy}")
    name = "" if where is None or where[0] == tunnel.jumphost.host else f" ({where[0]})"
    return Finding(f"connected to {tunnel.jumphost}{name}")


def _about_web_port(jumphost: HostPort, deadline: float) -> str:
    """Say whether the host takes a connection on port 443: then the network holds back one port, not the host."""
    web = HostPort(jumphost.host, WEB_PORT)
    waiting = Waiting(min(deadline, time.monotonic() + EGRESS_PATIENCE))
    try:
        connect_first(interleaved(Resolver().resolve(web, waiting)), waiting).close()
    except (NoneConnected, NameNotResolved):
        return f"(Port {WEB_PORT} of the same host does not answer either: it is not this port alone.)"
    return f"(Port {WEB_PORT} of the same host answers: the network holds back port {jumphost.port}, not the host.)"


def compare_host_key(tunnel: Tunnel, paths: Paths, deadline: float) -> Finding:
    """Hold the jumphost's host keys against the pins without a sign-in, for who has no identity to try one with.

    Raises the dial's faults, those of the banner, HostKeyUnpinned, HostKeyChanged, ConfigInvalid (the pins' file).
    """
    pins = known_hosts.load(paths.known_hosts)
    host, port = tunnel.jumphost.host, tunnel.jumphost.port
    blobs = keyscan.fetch(tunnel.jumphost, proxy=tunnel.proxy, deadline=deadline)
    verdicts = {blob: pins.check(host, port, blob) for blob in blobs}
    revoked = next((blob for blob in blobs if verdicts[blob] is HostKeyStatus.REVOKED), None)
    known = next((blob for blob in blobs if verdicts[blob] is HostKeyStatus.OK), None)
    if known is None or revoked is not None:
        shown = revoked or blobs[0]
        fingerprint = known_hosts.fingerprint(shown)
        raise host_key_fault(tunnel, verdicts[shown], fingerprint, pins.fingerprints_for(host, port))
    return pinned(known_hosts.fingerprint(known))
