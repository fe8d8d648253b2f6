"""Global requests to the jumphost (RFC 4254 §4) and their replies; the keepalive is one of them.

Belongs to the loop's thread.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from ioconnect.agent.session.keepalive import Action, Keepalive
from ioconnect.ssh.messages import ProtocolViolation, global_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.ssh.outbound import Outbound


class GlobalRequests:
    """The global requests of one session that wait for a reply.

    Replies carry no id and come in the order of the requests (RFC 4254 §4). `on_dead` is called when the
    keepalive times out, and raises; `on_round_trip` with the seconds from each request to its reply.
    """

    def __init__(
        self,
        outbound: Outbound,
        keepalive: Keepalive,
        *,
        on_dead: Callable[[], None],
        on_round_trip: Callable[[float], None],
    ) -> None:
        self._outbound = outbound
        self._keepalive = keepalive
        self._on_dead = on_dead
        self._on_round_trip = on_round_trip
        self._received_at = 0.0
        self._pending: deque[Callable[[bool], None]] = deque()

    def send(self, name: str, *arguments: str | int, on_reply: Callable[[bool], None]) -> None:
        """Send a global request; `on_reply` is called with True for REQUEST_SUCCESS, False for REQUEST_FAILURE."""
        sent_at = time.monotonic()

        def replied(success: bool) -> None:  # noqa: FBT001  the message's own flag
            self._on_round_trip(time.monotonic() - sent_at)
            on_reply(success)

        self._outbound.queue(global_request(name, *arguments, want_reply=True))
        self._pending.append(replied)

    def handle_reply(self, success: bool) -> None:  # noqa: FBT001  the message's own flag
        """Handle a REQUEST_SUCCESS or REQUEST_FAILURE. Raises ProtocolViolation if no request is pending."""
        if not self._pending:
            raise ProtocolViolation("an answer to nothing")
        self._pending.popleft()(success)

    def check_keepalive(self, now: float, received_at: float) -> float:
        """Send a keepalive or call `on_dead` if that is due; return when to call again.

        `received_at` is when the last byte was received.
        """
        self._note_received(received_at)
        action = self._keepalive.check(now)
        if action is Action.DEAD:
            self._on_dead()
        elif action is Action.PROBE:
            self._keepalive.probe_sent(now)
            self._send_keepalive(on_reply=lambda _success: None)
        return self._keepalive.next_deadline()

    def probe_now(self, now: float, received_at: float) -> None:
        """Have the next `check_keepalive` send a keepalive with a short timeout."""
        self._note_received(received_at)  # first, or a byte received earlier would cancel the probe
        self._keepalive.probe_now(now)

    def sample_round_trip(self, samples: int) -> None:
        """Measure the link's round trip this many times, one after another; see `on_round_trip`."""
        if samples:
            self._send_keepalive(on_reply=lambda _success: self.sample_round_trip(samples - 1))

    def _send_keepalive(self, on_reply: Callable[[bool], None]) -> None:
        # sshd does not know the request and replies REQUEST_FAILURE, which proves as much as a success.
        self.send("keepalive@openssh.com", on_reply=on_reply)

    def _note_received(self, received_at: float) -> None:
        if received_at > self._received_at:
            self._received_at = received_at
            self._keepalive.received(received_at)
