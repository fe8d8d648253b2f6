"""The three checks that Integrate.io's UI makes of a tunnel, made from the jumphost's side."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from ioconnect.tcp import connected_to_another

if TYPE_CHECKING:
    from ioconnect.stub.jumphost import Jumphost
    from ioconnect.stub.registry import Registered

SETTLE = 0.5  # seconds that a connection must stay open to count
DEADLINE = 10.0  # seconds for the customer's side to reach its database


def checks(jumphost: Jumphost, tunnel: Registered) -> list[dict[str, object]]:
    """Return name and verdict of each check; takes ten seconds at most."""
    grant = jumphost.grant_for(jumphost.user, tunnel.key.blob)
    configured = grant is not None and (grant.ports is None or tunnel.port in grant.ports)
    is_open = jumphost.listens_on(tunnel.port)
    verdicts = {
        "Tunnel configuration": configured,
        "Tunnel is open": is_open,
        "Connect to user tunnel": is_open and connects(jumphost, tunnel.port),
    }
    return [{"name": name, "ok": verdict} for name, verdict in verdicts.items()]


def connects(jumphost: Jumphost, port: int) -> bool:
    """Open a connection through the port: it must be taken by the customer's side, and say something or stay open.

    A client connects to its database before it takes the channel, so one that is down shows as a prompt end.
    """
    ends = time.monotonic() + DEADLINE
    try:
        with connected_to_another(socket.create_connection(("127.0.0.1", port), timeout=SETTLE)) as attempt:
            while time.monotonic() < ends:
                with contextlib.suppress(TimeoutError):  # it stays open
                    return bool(attempt.recv(1))
                if jumphost.has_channel(attempt.getsockname()[:2]):
                    return True
    except OSError:
        pass  # refused or reset
    return False
