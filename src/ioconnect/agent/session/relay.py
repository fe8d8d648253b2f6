"""The agent's role in the connection protocol: forwarded-tcpip channels arrive, and are joined to the target.

Connect first, confirm after, as OpenSSH's client does: so a pipeline is refused while the database is down.
Belongs to the loop's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.agent.session.pending_connect import PendingConnect
from ioconnect.ssh import messages as ssh
from ioconnect.ssh.connection.channel import Channel
from ioconnect.ssh.connection.forwarded_connection import Connection
from ioconnect.ssh.connection.multiplexer import Multiplexer
from ioconnect.ssh.messages import Reader

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ioconnect.agent.session.connection_log import ConnectionLog
    from ioconnect.agent.targets.target_addresses import TargetAddresses
    from ioconnect.agent.targets.target_watch import TargetWatch
    from ioconnect.agent.tunnel.counters import Counters
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.outbound import Outbound

FOREVER = float("inf")


class Relay(Multiplexer):
    """Accepts channels for one forward and connects each to the target.

    `on_counters_changed` is called when a counter changes for the first time since they were read, `on_reply` with
    success or not for each answer to a global request, in the order asked (RFC 4254 §4).
    """

    def __init__(
        self,
        *,
        outbound: Outbound,
        loop: Loop,
        target: TargetAddresses,
        listen_port: int,
        max_connections: int,
        window_budget: int,
        counters: Counters,
        connection_log: ConnectionLog,
        target_watch: TargetWatch,
        on_counters_changed: Callable[[], None],
        on_reply: Callable[[bool], None],
    ) -> None:
        super().__init__(outbound=outbound, loop=loop, window_budget=window_budget, max_channels=max_connections)
        self.target = target
        self.listening = False  # the jumphost granted the port
        self.pending: dict[PendingConnect, None] = {}
        self._listen_port = listen_port
        self._max = max_connections
        self._counters = counters
        self._log = connection_log
        self._target_watch = target_watch
        self._on_counters_changed = on_counters_changed
        self._on_reply = on_reply

    # --- opening

    def open_requested(self, body: memoryview) -> None:
        """Begin to connect to the target, or refuse."""
        reader = Reader(body)
        kind = reader.string()
        peer_id, peer_window, peer_packet = reader.u32(), reader.u32(), reader.u32()
        if kind != b"forwarded-tcpip":
            self.outbound.queue(ssh.open_failure(peer_id, ssh.UNKNOWN_TYPE, "only forwarded-tcpip"))
            return
        reader.string()
        port = reader.u32()
        origin = (reader.string(), reader.u32())
        if not self.listening or port != self._listen_port or not peer_packet:
            self.outbound.queue(ssh.open_failure(peer_id, ssh.PROHIBITED, "nothing is forwarded from there"))
            return
        if len(self.connections) + len(self._draining) + len(self.pending) >= self._max:
            self._counters.refused += 1
            self.counters_changed()
            self.outbound.queue(ssh.open_failure(peer_id, ssh.RESOURCE_SHORTAGE, "too many connections"))
            self._log.failed(origin, f"{self._max} are open, the most allowed")
            return
        channel = Channel(
            self.allocate_id(), peer_id, peer_window, peer_packet, self.budget, self.in_flight_queue.in_flight
        )
        self._counters.total += 1
        self._counters.open += 1
        self.counters_changed()
        pending = PendingConnect(self, channel, origin)
        self.pending[pending] = None
        pending.begin()

    def connected(self, pending: PendingConnect, sock: socket.socket) -> None:
        """The target took the connection: confirm the channel."""
        del self.pending[pending]
        self._target_watch.answered()
        channel = pending.channel
        self.outbound.queue(ssh.confirmation(channel.peer_id, channel.id, channel.window, ssh.PACKET_SIZE))
        self.connections[channel.id] = Connection(self, channel, sock, pending.origin)

    def connect_failed(self, pending: PendingConnect, why: str, codes: frozenset[int]) -> None:
        """No address of the target took the connection: refuse the channel."""
        del self.pending[pending]
        self._target_watch.refused(why, codes)
        self._counters.failed += 1
        self._counters.open -= 1
        self.counters_changed()
        self._log.failed(pending.origin, why)
        self.outbound.queue(ssh.open_failure(pending.channel.peer_id, ssh.CONNECT_FAILED, "Connection refused"))
        self.free_id(pending.channel.id)
        pending.channel.release()

    def request_answered(self, *, granted: bool) -> None:
        """Pass the answer to a global request on."""
        self._on_reply(granted)

    # --- counters

    def bytes_read(self, count: int) -> None:
        """Count bytes from the target."""
        self._counters.from_target += count
        if not self._counters.changed:
            self.counters_changed()

    def bytes_written(self, count: int) -> None:
        """Count bytes to the target."""
        self._counters.to_target += count
        if not self._counters.changed:
            self.counters_changed()

    def counters_changed(self) -> None:
        """Report once that a counter changed, until the supervisor has read them."""
        if not self._counters.changed:
            self._counters.changed = True
            self._on_counters_changed()

    # --- the end

    def ended(self, connection: Connection) -> None:
        """Count and log a connection whose socket is closed."""
        super().ended(connection)
        self._counters.open -= 1
        self.counters_changed()
        self._log.ended(connection)

    def expire(self, now: float) -> float:
        """Go on with connects that wait, and log the counts that are due; return when to come back."""
        for pending in list(self.pending):
            pending.expire(now)
        return min(min((pending.due for pending in self.pending), default=FOREVER), self._log.expire(now))

    def cut(self) -> None:
        """The session is over: reset every connection to the target."""
        self.listening = False
        super().cut()
        self._log.close()
        for pending in self.pending:
            pending.cancel()
            self._counters.open -= 1
        self.pending.clear()
