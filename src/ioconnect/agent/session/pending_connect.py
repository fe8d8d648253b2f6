"""A channel whose connection to the target is being made: it is confirmed only afterwards.

Belongs to the loop's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ioconnect.agent.targets.target_connect import TargetConnect

if TYPE_CHECKING:
    import socket

    from ioconnect.agent.targets.target_addresses import TargetAddresses
    from ioconnect.ssh.connection.channel import Channel
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.messages import Origin


class Owner(Protocol):
    """What a pending connect needs of the relay that it belongs to."""

    loop: Loop
    target: TargetAddresses

    def connected(self, pending: PendingConnect, sock: socket.socket) -> None:
        """Take over the connected socket."""

    def connect_failed(self, pending: PendingConnect, why: str, codes: frozenset[int]) -> None:
        """Take note that no address took the connection."""


class PendingConnect(TargetConnect):
    """One CHANNEL_OPEN on its way to becoming a Connection; its id is not announced yet, so no message names it."""

    __slots__ = ("channel", "origin", "relay")

    def __init__(self, relay: Owner, channel: Channel, origin: Origin) -> None:
        super().__init__(relay.target, relay.loop)
        self.relay = relay
        self.channel = channel
        self.origin = origin

    def connected(self, sock: socket.socket) -> None:
        """Hand the socket to the relay."""
        self.relay.connected(self, sock)

    def failed(self, why: str, codes: frozenset[int]) -> None:
        """Tell the relay."""
        self.relay.connect_failed(self, why, codes)
