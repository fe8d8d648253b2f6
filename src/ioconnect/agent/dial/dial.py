"""Dial a jumphost: from its name to a connected socket, directly or through a proxy, with a deadline.

Blocks, so it runs on a thread of its own; calls on different threads share only the resolver. TLS, a megabyte and a
half of memory, is imported where a proxy speaks it.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import TYPE_CHECKING

from ioconnect.agent.dial.connect_failures import NoAnswer, Role, allow_request, cannot_bind, unreachable
from ioconnect.agent.dial.deadline import Deadline, DialCancelled, HasFileno
from ioconnect.agent.dial.happy_eyeballs import AllAttemptsFailed, SourcePort, connect_first, interleaved
from ioconnect.agent.dial.proxy import Proxy, Scheme, choose
from ioconnect.agent.dial.proxy_protocols import Handshake, handshake
from ioconnect.agent.dial.resolve import Resolver
from ioconnect.errors import ProxyRefused
from ioconnect.tcp import send_at_once

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from ioconnect.config.addresses import HostPort

__all__ = ["DialCancelled", "HasFileno", "dial"]

_RESOLVER = Resolver()


def dial(
    jumphost: HostPort,
    *,
    environ: Mapping[str, str],
    deadline: float,
    proxy: str = "",
    bind_address: str = "",
    source: SourcePort | None = None,
    cancelled: HasFileno | None = None,
    resolver: Resolver = _RESOLVER,
) -> socket.socket:
    """Return a connected, non-blocking socket to the jumphost, with TCP_NODELAY set.

    `deadline` is in `time.monotonic()` seconds. `proxy` is the tunnel's setting; `environ` has the proxy variables.
    `bind_address` is the address of this machine to connect from, to the proxy if there is one.
    `source` is the source port of a lost connection, to be reused: its `peer` is tried first, from an ordinary port
    soon as well; it is ignored through a proxy. The dial is cancelled when `cancelled` becomes readable, for example
    because its other end was closed.

    Through a proxy that speaks TLS the socket is one end of a socketpair (AF_UNIX), which has no TCP options.

    Raises NameNotResolved, Unreachable, ProxyRefused, ConfigInvalid (the proxy setting), DialCancelled.
    """
    until = Deadline(deadline, cancelled)
    chosen = choose(jumphost, proxy, environ)
    if chosen is None:
        return _connect(jumphost, Role.JUMPHOST, until, resolver, bind_address=bind_address, source=source)
    context = None
    if chosen.scheme is Scheme.HTTPS:
        from ioconnect.agent.dial.proxy_tls import create_context  # noqa: PLC0415  TLS

        context = create_context(environ)
    started = time.monotonic()
    sock = _connect(chosen.address, Role.PROXY, until, resolver, bind_address=bind_address)
    try:
        return _through_proxy(sock, chosen, jumphost, context, until)
    except TimeoutError:
        seconds = time.monotonic() - started
        raise NoAnswer(
            f"the proxy {chosen} gave no answer for {jumphost} within {seconds:.0f} s",
            hint="Check the scheme in the proxy's URL. If that is right, the proxy waits for the jumphost, and a "
            f"firewall behind it drops: ask the network team: {allow_request(jumphost)}",
        ) from None


def _connect(
    host: HostPort,
    role: Role,
    deadline: Deadline,
    resolver: Resolver,
    *,
    bind_address: str,
    source: SourcePort | None = None,
) -> socket.socket:
    started = time.monotonic()
    addresses = resolver.resolve(host, deadline, role=role)
    if bind_address:
        family = socket.AF_INET6 if ":" in bind_address else socket.AF_INET
        addresses = [address for address in addresses if address.family == family]
        if source is not None and source.address != bind_address:
            source = None
    if not addresses:
        raise cannot_bind(host, bind_address, role=role)
    order = interleaved(addresses, peer=source.peer if source is not None else None)
    try:
        sock = connect_first(order, deadline, source=source, bind_address=bind_address)
    except AllAttemptsFailed as failed:
        if bind_address and {failure.errno for failure in failed.failures} == {errno.EADDRNOTAVAIL}:
            raise cannot_bind(host, bind_address, role=role, is_absent=True) from None
        raise unreachable(host, failed.failures, role=role, seconds=time.monotonic() - started) from None
    send_at_once(sock)
    return sock


def _through_proxy(
    sock: socket.socket, proxy: Proxy, target: HostPort, context: ssl.SSLContext | None, deadline: Deadline
) -> socket.socket:
    """Return a connection to `target` through the proxy at the other end of `sock`; closes `sock` if that fails."""
    connection = sock
    try:
        if context is None:
            _run_handshake(sock, proxy, handshake(proxy, target), deadline)
            return sock
        from ioconnect.agent.dial.proxy_tls import bridge, start_tls  # noqa: PLC0415  TLS

        connection = tls = start_tls(sock, proxy, context, deadline)
        _run_handshake(tls, proxy, handshake(proxy, target), deadline)
        return bridge(tls)
    except BaseException:
        connection.close()
        raise


def _run_handshake(connection: socket.socket, proxy: Proxy, steps: Handshake, deadline: Deadline) -> None:
    """Send what the handshake yields and give it the bytes that it asks for, until it ends."""
    try:
        step = next(steps)
        while True:
            if isinstance(step, bytes):
                _send(connection, step, deadline)
                step = steps.send(b"")
                continue
            received = _receive(connection, step, deadline)
            step = steps.send(received) if len(received) == step else steps.throw(EOFError())
    except StopIteration:
        return
    except EOFError:
        raise ProxyRefused(
            f"the proxy {proxy} closed the connection without an answer",
            hint="Check the proxy's address, port and scheme, and whether it admits this machine.",
        ) from None


def _send(connection: socket.socket, data: bytes, deadline: Deadline) -> None:
    while data:
        try:
            data = data[connection.send(data) :]
        except OSError as error:  # noqa: PERF203  a loop of waits
            event = _awaited(error, connection, selectors.EVENT_WRITE)
            if event is None:
                return  # closed by the proxy, which may have sent the reason before: it is read next
            deadline.wait({connection: event})


def _receive(connection: socket.socket, size: int, deadline: Deadline) -> bytes:
    """Return exactly `size` bytes, fewer only at EOF; reads none beyond them."""
    data = b""
    while len(data) < size:
        if deadline.remaining() == 0.0:
            raise TimeoutError  # also for a proxy that always has one more byte
        try:
            more = connection.recv(size - len(data))
        except OSError as error:
            event = _awaited(error, connection, selectors.EVENT_READ)
            if event is None:
                return data
            deadline.wait({connection: event})
            continue
        if not more:
            return data
        data += more
    return data


def _awaited(error: OSError, connection: socket.socket, plain: int) -> int | None:
    """Return the selector event that a non-blocking call has to wait for; None if the connection is at its end."""
    if type(connection) is socket.socket:
        return plain if isinstance(error, BlockingIOError) else None
    from ioconnect.agent.dial.proxy_tls import WANTS, wanted_event  # noqa: PLC0415  TLS

    return wanted_event(error) if isinstance(error, WANTS) else None
