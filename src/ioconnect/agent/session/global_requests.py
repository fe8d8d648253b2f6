"""Questions to the jumphost and its answers: global requests in their order, and the keepalive among them.

Belongs to the loop's thread.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from ioconnect.agent.session.keepalive import Keepalive, Verdict
from ioconnect.ssh.channel import ProtocolViolation
from ioconnect.ssh.messages import global_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.ssh.outbound import Outbound


class Pulse:
    """Asks, and knows whether the jumphost is alive.

    Answers come in the order of the questions (RFC 4254 §4). `dead` is called when the keepalive gives up, and
    raises; `measured` with the round trip, in seconds, of each answered question.
    """

    def __init__(
        self,
        outbound: Outbound,
        keepalive: Keepalive,
        *,
        dead: Callable[[], None],
        measured: Callable[[float], None],
    ) -> None:
        self._outbound = outbound
        self._keepalive = keepalive
        self._dead = dead
        self._measured = measured
        self._heard_at = 0.0
        self._answers: deque[Callable[[bool], None]] = deque()

    def ask(self, name: str, *arguments: str | int, answered: Callable[[bool], None]) -> None:
        """Send a global request; `answered` is called with whether it was granted."""
        asked_at = time.monotonic()

        def arrived(granted: bool) -> None:  # noqa: FBT001  the message's own flag
            self._measured(time.monotonic() - asked_at)
            answered(granted)

        self._outbound.queue(global_request(name, *arguments, want_reply=True))
        self._answers.append(arrived)

    def answered(self, granted: bool) -> None:  # noqa: FBT001  the message's own flag
        """Take a REQUEST_SUCCESS or REQUEST_FAILURE. Raises ProtocolViolation if nothing was asked."""
        if not self._answers:
            raise ProtocolViolation("an answer to nothing")
        self._answers.popleft()(granted)

    def beat(self, now: float, heard_at: float) -> float:
        """Probe, or give up, if it is time to; return when to come back. `heard_at` is when the last byte came."""
        self._hear(heard_at)
        verdict = self._keepalive.check(now)
        if verdict is Verdict.DEAD:
            self._dead()
        elif verdict is Verdict.PROBE:
            self._keepalive.probed(now)
            # A refusal is the usual answer, and as good as any.
            self.ask("keepalive@openssh.com", answered=lambda _granted: None)
        return self._keepalive.next_deadline()

    def doubt(self, now: float, heard_at: float) -> None:
        """Make the next `beat` a probe with little patience: something happened to the network."""
        self._hear(heard_at)  # before the doubt: what came earlier must not dispel it
        self._keepalive.probe_now(now)

    def _hear(self, heard_at: float) -> None:
        if heard_at > self._heard_at:
            self._heard_at = heard_at
            self._keepalive.heard(heard_at)
