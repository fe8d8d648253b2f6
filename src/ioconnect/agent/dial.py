"""From a jumphost's name to a connected socket: directly or through a proxy, within a deadline.

Blocks, so it runs in the session's own thread; nothing here is shared between threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.agent.waiting import DialCancelled, HasFileno

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from ioconnect.config import HostPort

__all__ = ["DialCancelled", "HasFileno", "dial"]


def dial(
    jumphost: HostPort,
    *,
    environ: Mapping[str, str],
    deadline: float,
    proxy: str = "",
    source: tuple[str, int] | None = None,
    peer: str | None = None,
    cancelled: HasFileno | None = None,
) -> socket.socket:
    """Connect to the jumphost and return a connected, non-blocking socket with TCP_NODELAY set.

    `deadline` is in `time.monotonic()` seconds. `proxy` is the tunnel's setting; `environ` is asked for the proxy
    variables. `source` is the local address and port of a connection that was cut, to be taken again (an ordinary
    port if it cannot be had), and `peer` the jumphost's address that it led to, which is then tried first; both
    are ignored through a proxy. The dial is called off when `cancelled` becomes readable (its writer closed, say).

    Through a proxy that speaks TLS the socket is one end of a socketpair (AF_UNIX): TCP options don't apply to it.

    Raises NameNotResolved, Unreachable, ProxyRefused, ConfigInvalid (the proxy setting), DialCancelled.
    """
    raise NotImplementedError
