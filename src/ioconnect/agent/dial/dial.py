"""From a jumphost's name to a connected socket: directly or through a proxy, within a deadline.

Blocks, so it runs in the session's own thread; nothing here is shared between threads but the resolver.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from typing import TYPE_CHECKING

from ioconnect.agent.dial.connect_failures import NoAnswer, Role, allow_request, unreachable
from ioconnect.agent.dial.deadline import DialCancelled, HasFileno, Waiting
from ioconnect.agent.dial.happy_eyeballs import NoneConnected, SourcePort, connect_first, interleaved
from ioconnect.agent.dial.proxy import Proxy, Scheme, choose
from ioconnect.agent.dial.proxy_protocols import Dialogue, dialogue
from ioconnect.agent.dial.proxy_tls import bridged, encrypted, trust, wanted
from ioconnect.agent.dial.resolve import Resolver
from ioconnect.errors import ProxyRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.configuration import HostPort

__all__ = ["DialCancelled", "HasFileno", "dial"]

_RESOLVER = Resolver()


def dial(
    jumphost: HostPort,
    *,
    environ: Mapping[str, str],
    deadline: float,
    proxy: str = "",
    source: SourcePort | None = None,
    cancelled: HasFileno | None = None,
    resolver: Resolver = _RESOLVER,
) -> socket.socket:
    """Connect to the jumphost and return a connected, non-blocking socket with TCP_NODELAY set.

    `deadline` is in `time.monotonic()` seconds. `proxy` is the tunnel's setting; `environ` is asked for the proxy
    variables. `source` is the source port of a lost connection, to be reused: its `peer` is tried first, an ephemeral
    port is used if it cannot be bound, and it is ignored through a proxy. The dial is cancelled when `cancelled`
    becomes readable, for example because its other end was closed.

    Through a proxy that speaks TLS the socket is one end of a socketpair (AF_UNIX): TCP options don't apply to it.

    Raises NameNotResolved, Unreachable, ProxyRefused, ConfigInvalid (the proxy setting), DialCancelled.
    """
    waiting = Waiting(deadline, cancelled)
    chosen = choose(jumphost, proxy, environ)
    if chosen is None:
        return _connect(jumphost, Role.JUMPHOST, waiting, resolver, source)
    context = trust(environ) if chosen.scheme is Scheme.HTTPS else None
    started = time.monotonic()
    sock = _connect(chosen.address, Role.PROXY, waiting, resolver)
    try:
        return _through(sock, chosen, jumphost, context, waiting)
    except TimeoutError:
        seconds = time.monotonic() - started
        raise NoAnswer(
            f"the proxy {chosen} gave no answer for {jumphost} within {seconds:.0f} s",
            hint="Check the scheme in the proxy's URL. If that is right, the proxy waits for the jumphost, and a "
            f"firewall behind it drops: ask the network team: {allow_request(jumphost)}",
        ) from None


def _connect(
    host: HostPort, role: Role, waiting: Waiting, resolver: Resolver, source: SourcePort | None = None
) -> socket.socket:
    started = time.monotonic()
    addresses = resolver.resolve(host, waiting, role=role)
    order = interleaved(addresses, peer=source.peer if source is not None else None)
    try:
        sock = connect_first(order, waiting, source=source)
    except NoneConnected as none:
        raise unreachable(host, none.failures, role=role, seconds=time.monotonic() - started) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _through(
    sock: socket.socket, proxy: Proxy, target: HostPort, context: ssl.SSLContext | None, waiting: Waiting
) -> socket.socket:
    """Make the connection to the proxy one to `target`; closes it if that fails."""
    link = sock
    try:
        if context is None:
            _converse(sock, proxy, dialogue(proxy, target), waiting)
            return sock
        link = tls = encrypted(sock, proxy, context, waiting)
        _converse(tls, proxy, dialogue(proxy, target), waiting)
        return bridged(tls)
    except BaseException:
        link.close()
        raise


def _converse(link: socket.socket, proxy: Proxy, lines: Dialogue, waiting: Waiting) -> None:
    """Send what the dialogue says and give it what it asks for, until it is content."""
    try:
        step = next(lines)
        while True:
            if isinstance(step, bytes):
                _send(link, step, waiting)
                step = lines.send(b"")
                continue
            received = _receive(link, step, waiting)
            step = lines.send(received) if len(received) == step else lines.throw(EOFError())
    except StopIteration:
        return
    except EOFError:
        raise ProxyRefused(
            f"the proxy {proxy} closed the connection without an answer",
            hint="Check the proxy's address, port and scheme, and whether it admits this machine.",
        ) from None


def _send(link: socket.socket, data: bytes, waiting: Waiting) -> None:
    while data:
        try:
            data = data[link.send(data) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:  # noqa: PERF203  a loop of waits
            waiting.ready({link: wanted(want)})
        except BlockingIOError:
            waiting.ready({link: selectors.EVENT_WRITE})
        except OSError:
            return  # closed by the proxy, which may have said why: that is read next


def _receive(link: socket.socket, size: int, waiting: Waiting) -> bytes:
    """Return exactly `size` bytes, fewer only if the proxy closed; takes none beyond them."""
    data = b""
    while len(data) < size:
        if waiting.remaining() == 0.0:
            raise TimeoutError  # a proxy that always has one more byte must not outlast the deadline
        try:
            more = link.recv(size - len(data))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
            waiting.ready({link: wanted(want)})
            continue
        except OSError:
            return data
        if not more:
            return data
        data += more
    return data
