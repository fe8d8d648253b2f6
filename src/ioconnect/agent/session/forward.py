"""The forward of a session that is signed in: ask for the port, relay its connections, keep the link alive.

Belongs to the loop's thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ioconnect.agent.session.connection_log import ConnectionLog
from ioconnect.agent.session.diagnosis import keepalive_timeout
from ioconnect.agent.session.global_requests import GlobalRequests
from ioconnect.agent.session.keepalive import Keepalive
from ioconnect.agent.session.refusal import forward_fault
from ioconnect.agent.session.relay import Relay
from ioconnect.agent.targets.target_addresses import TargetAddresses
from ioconnect.agent.targets.target_watch import TargetWatch
from ioconnect.agent.tunnel.events import CountersChanged, Granted, PortRefused, SessionEvent, TargetChanged
from ioconnect.errors import ConnectionLost, Fault, PortBusy
from ioconnect.ssh.messages import global_request
from ioconnect.tcp import reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.tunnel.counters import Counters
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.transport import ClientTransport

REKEY_PATIENCE = 60.0  # seconds for a later key exchange, during which nothing of ours may be sent
SAME_ROUND_TRIP = 0.2  # a change of less than this part is not worth writing the status file again
JITTER = 0.005  # seconds; nor is one of less than this, or an idle agent would wake for it every few keepalives
FIRST_SAMPLES = 3  # of the round trip: the first answer came late, as sshd had a port to bind
BIND_ADDRESS = "localhost"  # permitlisten="localhost:PORT" refuses "" and "127.0.0.1"
FOREVER = float("inf")
log = logging.getLogger(__name__)


class Forward:
    """One tunnel's forward on one connection; the transport's `Service` once it is signed in.

    `fail` is called with the fault that ends the session, and raises.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        settings: AgentSettings,
        counters: Counters,
        *,
        transport: ClientTransport,
        loop: Loop,
        report: Callable[[SessionEvent], None],
        fail: Callable[[Fault], None],
    ) -> None:
        self._tunnel = tunnel
        self._counters = counters
        self._transport = transport
        self._loop = loop
        self._report = report
        self._fail = fail
        self._told_early_keys = False
        outbound = transport.packetizer.outbound
        keepalive = Keepalive(settings.keepalive_interval, settings.keepalive_count_max, loop.now)
        self._requests = GlobalRequests(outbound, keepalive, on_dead=self._dead, on_round_trip=self._measured)
        addresses = TargetAddresses(tunnel.target, loop, silent=counters.silent_addresses)
        self._target_watch = TargetWatch(
            tunnel.target, addresses, loop, counters, on_change=lambda: report(TargetChanged())
        )
        self._relay = Relay(
            outbound=outbound,
            loop=loop,
            target=addresses,
            target_watch=self._target_watch,
            listen_port=tunnel.listen_port,
            max_connections=tunnel.max_connections,
            window_budget=settings.buffer_budget,
            counters=counters,
            connection_log=ConnectionLog(tunnel.name, loop),
            on_counters_changed=lambda: report(CountersChanged()),
            on_reply=self._requests.handle_reply,
        )
        self.receive = self._relay.receive
        self.end_batch = self._relay.end_batch

    def advance(self) -> None:
        """Nothing is left to do when paramiko is done with a message; see `transport.Service`."""

    def ask(self) -> None:
        """Ask for the port; answered by Granted, PortRefused, or the session's end."""
        self._transport.debug_texts.clear()
        self._requests.send("tcpip-forward", BIND_ADDRESS, self._tunnel.listen_port, on_reply=self._answered)

    def _answered(self, granted: bool) -> None:  # noqa: FBT001  the message's own flag
        if granted:
            self._relay.listening = True
            self._report(Granted(self._tunnel.listen_port))
            self._requests.sample_round_trip(FIRST_SAMPLES)
            return
        fault = forward_fault(self._tunnel, self._transport.debug_texts, self._transport.remote_version)
        if isinstance(fault, PortBusy):
            self._report(PortRefused(fault))
        else:
            self._fail(fault)

    def cancel(self) -> None:
        """Tell the jumphost to listen no more, if it does and may be told now."""
        outbound = self._transport.packetizer.outbound
        if self._relay.listening and not outbound.in_key_exchange:
            port = self._tunnel.listen_port
            outbound.queue(global_request("cancel-tcpip-forward", BIND_ADDRESS, port, want_reply=False))

    def cut(self) -> None:
        """The session is over: reset every connection to the target."""
        self._target_watch.cut()
        self._relay.cut()

    # --- time

    def on_timer(self, now: float) -> float:
        """Do what is due at `now`; return when to come back."""
        self._tell_early_keys()
        return min(
            self._requests.check_keepalive(now, self._transport.packetizer.received_at),
            self._relay.expire(now),
            self._target_watch.expire(now),
            self._relay.in_flight_queue.expire(now),
            self._rekey_deadline(now),
        )

    def probe(self, now: float) -> None:
        """Ask for a sign of life, with little patience; `on_timer` says when to come back."""
        self._requests.probe_now(now, self._transport.packetizer.received_at)

    def _rekey_deadline(self, now: float) -> float:
        outbound = self._transport.packetizer.outbound
        if not outbound.in_key_exchange:
            return FOREVER
        due = outbound.key_exchange_began + REKEY_PATIENCE
        if now >= due:
            self._fail(ConnectionLost(f"{self._tunnel.jumphost} did not finish a key exchange"))
        return due

    def _tell_early_keys(self) -> None:
        """Log, once in a session, that the jumphost asks for new keys more often than they are made."""
        if self._transport.packetizer.rekey_allowance.has_waited and not self._told_early_keys:
            self._told_early_keys = True
            log.warning(
                "%s: %s asks for new keys so often that it waits for them, and the tunnel is slower for it (its sshd "
                "has a small RekeyLimit: sshd_config(5); 1G never waits)",
                self._tunnel.name,
                self._tunnel.jumphost,
            )

    def _measured(self, seconds: float) -> None:
        relay, counters = self._relay, self._counters
        relay.in_flight_queue.measured(seconds)
        self._loop.next_timer = self._loop.now  # or it would wake at the keepalive's old deadline
        if counters.rtt is None or abs(seconds - counters.rtt) > max(SAME_ROUND_TRIP * counters.rtt, JITTER):
            counters.rtt = seconds
            relay.counters_changed()

    def _dead(self) -> None:
        reset(self._transport.sock)  # no TIME_WAIT of ours: the same port is dialled from again
        self._fail(keepalive_timeout(self._tunnel.jumphost, self._loop.now - self._transport.packetizer.received_at))
