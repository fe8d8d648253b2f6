"""Watches a tunnel's target: outcomes of real connections, and after a failure a probe now and then.

Theory of operation. There is never a probe before a connection failed, none while connections succeed, and at most
one at a time: 5 s after the failure, then at growing intervals up to 30 s, until one succeeds. So a target that is
up, or unknown, costs nothing. Belongs to the loop's thread, which is also the only writer of `Counters.target`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ioconnect.agent.targets.target_probe import TargetProbe
from ioconnect.agent.tunnel import target_health
from ioconnect.status.records import Availability

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.targets.target_addresses import TargetAddresses
    from ioconnect.agent.tunnel.counters import Counters
    from ioconnect.config.addresses import Target
    from ioconnect.ssh.loop import Loop

REPORT_INTERVAL = 0.5  # seconds between reports, however often a target that is overloaded changes its mind
FOREVER = float("inf")


class TargetWatch:
    """The target's health during one session; `on_change` is called when its state or reason is another."""

    def __init__(
        self,
        target: Target,
        addresses: TargetAddresses,
        loop: Loop,
        counters: Counters,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self._target = target
        self._addresses = addresses
        self._loop = loop
        self._counters = counters
        self._on_change = on_change
        self._probe: TargetProbe | None = None
        self._failed_probes = 0
        self._probe_at = FOREVER
        self._report_at = FOREVER
        self._reported_at = float("-inf")
        if counters.target.state is Availability.DOWN:  # since an earlier session
            self._schedule_probe()

    def answered(self) -> None:
        """A connection to the target succeeded."""
        if self._counters.target.state is not Availability.UP:
            self._is_up()

    def refused(self, why: str, codes: frozenset[int]) -> None:
        """A connection to the target failed: why in words, and the errnos."""
        before = self._counters.target
        reason = target_health.reason_for(self._target, why, codes)
        self._counters.target = target_health.refused(before, reason, self._loop.now, time.time())
        if before.state is not Availability.DOWN:
            self._failed_probes = 0
            self._schedule_probe()
            self._change()

    def expire(self, now: float) -> float:
        """Do what is due; return when to come back."""
        if now >= self._report_at:
            self._report(now)
        if self._probe is not None:
            self._probe.expire(now)
        if self._probe is None and now >= self._probe_at:
            self._start_probe()
        return self._next()

    def cut(self) -> None:
        """The session is over: close the probe's socket."""
        self._probe_at = self._report_at = FOREVER
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    # --- probes

    def _schedule_probe(self) -> None:
        self._probe_at = self._loop.now + target_health.probe_delay(self._failed_probes)
        self._wake()

    def _start_probe(self) -> None:
        self._probe_at = FOREVER
        self._probe = TargetProbe(
            self._addresses,
            self._loop,
            self._target.port,
            answered=self._is_up,
            refused=self._probe_refused,
            done=self._probe_done,
        )
        self._probe.begin()

    def _probe_refused(self, why: str, codes: frozenset[int]) -> None:
        before = self._counters.target
        reason = target_health.reason_for(self._target, why, codes)
        self._counters.target = target_health.probe_refused(before, reason)
        self._failed_probes += 1
        self._schedule_probe()
        if before.reason != reason:
            self._change()

    def _probe_done(self) -> None:
        self._probe = None
        self._wake()

    def _is_up(self) -> None:
        """A connection or the probe succeeded after a failure, or for the first time."""
        self._counters.target = target_health.answered(self._counters.target, self._loop.now, time.time())
        self._probe_at = FOREVER
        if self._probe is not None and self._probe.is_connecting:
            self._probe.cancel()
            self._probe = None
        self._change()

    # --- reports

    def _change(self) -> None:
        self._report_at = self._reported_at + REPORT_INTERVAL
        if self._loop.now >= self._report_at:
            self._report(self._loop.now)
        else:
            self._wake()

    def _report(self, now: float) -> None:
        self._report_at = FOREVER
        self._reported_at = now
        self._on_change()

    # --- time

    def _next(self) -> float:
        return min(self._report_at, self._probe_at if self._probe is None else self._probe.due)

    def _wake(self) -> None:
        self._loop.next_timer = min(self._loop.next_timer, self._next())
