"""Asks the kernel for the route to an address: rtnetlink(7) on Linux, elsewhere by a UDP socket that sends nothing.

Returns at once: the kernel has answered a question when send(2) returns.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys

from ioconnect.agent.network.netlink_requests import link_in, link_request, route_in, route_request
from ioconnect.agent.network.routes import Route

_PORT = 9  # discard; connecting a UDP socket sends nothing
_MAX_ANSWER = 1 << 16  # bytes
_FORBIDDEN = {errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}  # by a sandbox
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def find_route(address: str) -> Route | None:
    """Return the route to an IP address; None if there is none, or if it is a name.

    Raises OSError if the kernel cannot be asked, for want of a descriptor.
    """
    host = address.partition("%")[0]  # without the scope of a link-local address
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    if sys.platform == "linux":
        try:
            return _by_netlink(host)
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
    return by_udp(host)


def _by_netlink(host: str) -> Route | None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:  # NETLINK_ROUTE
        sock.setblocking(False)
        found = route_in(_answer(sock, route_request(host)))
        if found is None:
            return None
        source, gateway, interface = found
        is_up, is_hardware = link_in(_answer(sock, link_request(interface)))
        return Route(source, gateway, interface, is_up, is_hardware)


def _answer(sock: socket.socket, question: bytes) -> bytes:
    sock.sendto(question, (0, 0))
    return sock.recv(_MAX_ANSWER)


def by_udp(host: str) -> Route | None:
    """Return the route as far as the source address tells it: the system chooses one for each route.

    Raises OSError for want of a descriptor.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((host, _PORT))
            return Route(sock.getsockname()[0])
    except OSError as error:
        if error.errno in _SHORTAGE:
            raise
        return None
