"""Tells the supervisor when waiting has become pointless: this machine's network changed, or it woke from sleep.

Theory of operation. One daemon thread blocks on bells, descriptors that the kernel makes readable: a socket that
tells of links, addresses and routes, and the wake bell. So an idle machine wakes nobody; only where the kernel has no
wake bell (macOS) the clocks are looked at once a second. A change of the network comes as a burst of messages, so it
is passed on when the burst is over. What cannot be had (a sandbox that forbids the socket) is done without.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

from ioconnect.agent.supervisor.netlink import Picture, native_facts
from ioconnect.agent.supervisor.suspend_monitor import SleepMeter, has_rung, open_wake_bell, sleep_clocks
from ioconnect.agent.tunnel.events import RetryRequested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

QUIET = 0.2  # seconds without news after which a burst is over
LONGEST_BURST = 1.0  # seconds after which it is passed on all the same
LOOK_EVERY = 1.0  # seconds between looks at the clocks, where no bell tells of a sleep
LARGEST = 1 << 16  # bytes of a datagram
JOIN_PATIENCE = 2.0  # seconds for the thread's end

# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE: linux/rtnetlink.h
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


@contextlib.contextmanager
def watching(put: Callable[[RetryRequested], None]) -> Iterator[None]:
    """Call `put`, on a thread of its own, at every change of the network and after every sleep, within the block."""
    with contextlib.ExitStack() as closing:
        news = open_network_bell()
        if news is not None:
            closing.enter_context(news)
        wake_bell = open_wake_bell()
        if wake_bell is not None:
            closing.callback(os.close, wake_bell)
        over, end = socket.socketpair()
        closing.enter_context(over)
        watch = Watch(put, over, news=news, wake_bell=wake_bell, meter=SleepMeter(sleep_clocks()))
        thread = threading.Thread(target=watch.run, name="network watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.close()
            thread.join(JOIN_PATIENCE)


def open_network_bell() -> socket.socket | None:
    """Return a non-blocking socket on which the kernel tells of the network; None if there is none to be had."""
    try:
        if sys.platform == "linux":
            bell = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
            with contextlib.ExitStack() as undo:
                undo.callback(bell.close)
                bell.bind((0, _GROUPS))
                undo.pop_all()
        else:
            bell = socket.socket(getattr(socket, "AF_ROUTE", 17), socket.SOCK_RAW, 0)  # PF_ROUTE
    except OSError as error:
        log.info("changes of the network go unnoticed: %s", error)
        return None
    bell.setblocking(False)
    return bell


class Watch:
    """What the thread does; `over` becomes readable when it is to end."""

    def __init__(
        self,
        put: Callable[[RetryRequested], None],
        over: socket.socket,
        *,
        news: socket.socket | None,
        wake_bell: int | None,
        meter: SleepMeter,
    ) -> None:
        self._put = put
        self._over = over
        self._news = news
        self._wake_bell = wake_bell
        self._meter = meter
        self._picture = Picture(native_facts())
        self._poll = select.poll()
        for bell in (over, news, wake_bell):
            if bell is not None:
                self._poll.register(bell, select.POLLIN)

    def run(self) -> None:
        """Watch until the end."""
        burst_began = last_news = None
        while True:
            rung = self._wait(burst_began, last_news)
            if self._over.fileno() in rung:
                return
            now = time.monotonic()
            if self._wake_bell in rung and self._wake_bell is not None:
                has_rung(self._wake_bell)
            if (slept := self._meter.slept()) > 0:
                self._put(RetryRequested(f"the machine slept for {slept:.0f} s", by_user=False))
            if self._news is not None and self._news.fileno() in rung and self._hear():
                last_news = now
                burst_began = burst_began or now
            if burst_began and last_news and (now >= last_news + QUIET or now >= burst_began + LONGEST_BURST):
                self._put(RetryRequested("the network changed", by_user=False))
                burst_began = last_news = None

    def _wait(self, burst_began: float | None, last_news: float | None) -> set[int]:
        """Return the descriptors that have rung; none when it is time to look."""
        deadline = None
        if burst_began is not None and last_news is not None:
            deadline = min(last_news + QUIET, burst_began + LONGEST_BURST)
        elif self._wake_bell is None:
            deadline = time.monotonic() + LOOK_EVERY
        # Rounded up: never a fraction of a millisecond early, again and again.
        patience = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)
        return {descriptor for descriptor, _ in self._poll.poll(patience)}

    def _hear(self) -> bool:
        """Read all that the kernel has said; say whether any of it was new."""
        assert self._news is not None
        news = False
        while True:
            try:
                datagram, sender = self._news.recvfrom(LARGEST)
            except BlockingIOError:
                return news
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # so much happened that some of it was lost
                    news = True
                    continue
                log.warning("changes of the network go unnoticed from here on: %s", error)
                self._poll.unregister(self._news)
                self._news = None
                return news
            if _is_kernel(sender):
                news |= self._picture.is_news(datagram)


def _is_kernel(sender: object) -> bool:
    """Say whether a netlink datagram is the kernel's own (address (0, groups)); a PF_ROUTE socket has no others."""
    return not isinstance(sender, tuple) or sender[0] == 0
