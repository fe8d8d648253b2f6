"""Reports to the supervisor that the network changed, or that the machine was suspended: reasons to retry at once.

Theory of operation. One daemon thread polls two descriptors: a socket on which the kernel reports changes of links,
addresses and routes, and a timer that becomes readable on resume. An idle machine causes no wake-ups; only where
there is no such timer (macOS) the clocks are compared once a second. Network changes come in bursts and are
debounced. If the system does not permit the socket (a sandbox), the monitor works without it. Which tunnels a change
concerns is the supervisor's to find out (`routes`).
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

from ioconnect.agent.network.netlink import Interface, NetworkState, native_parser
from ioconnect.agent.network.routes import NetworkChanged
from ioconnect.agent.network.suspend_monitor import (
    SuspendDetector,
    open_resume_timer,
    read_resume_timer,
    suspend_clocks,
)
from ioconnect.agent.tunnel.events import RetryRequested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

DEBOUNCE = 0.2  # seconds without a change after which a burst has ended
MAX_DEBOUNCE = 1.0  # seconds after which a burst that goes on is reported
CLOCK_POLL = 1.0  # seconds between comparisons of the clocks, where there is no resume timer
_RESOLVER = "/etc/resolv.conf"
MAX_DATAGRAM = 1 << 16  # bytes
JOIN_TIMEOUT = 2.0  # seconds for the thread to end

# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE: linux/rtnetlink.h
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


@contextlib.contextmanager
def monitoring(put: Callable[[RetryRequested | NetworkChanged], None]) -> Iterator[None]:
    """Within the block, call `put` after every change of the network and every suspend, from another thread."""
    with contextlib.ExitStack() as closing:
        event_socket = open_event_socket()
        if event_socket is not None:
            closing.enter_context(event_socket)
        resume_timer = open_resume_timer()
        if resume_timer is not None:
            closing.callback(os.close, resume_timer)
        stopped, stop = socket.socketpair()
        closing.enter_context(stopped)
        detector = SuspendDetector(suspend_clocks())
        monitor = NetworkMonitor(
            put, stopped, event_socket=event_socket, resume_timer=resume_timer, detector=detector
        )
        thread = threading.Thread(target=monitor.run, name="network monitor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.close()
            thread.join(JOIN_TIMEOUT)


def open_event_socket() -> socket.socket | None:
    """Return a non-blocking socket on which the kernel reports network changes; None if that is not permitted."""
    try:
        if sys.platform == "linux":
            event_socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
            with contextlib.ExitStack() as undo:
                undo.callback(event_socket.close)
                event_socket.bind((0, _GROUPS))
                undo.pop_all()
        else:
            event_socket = socket.socket(getattr(socket, "AF_ROUTE", 17), socket.SOCK_RAW, 0)  # PF_ROUTE
    except OSError as error:
        log.info("network changes are not monitored: %s", error)
        return None
    event_socket.setblocking(False)
    return event_socket


class NetworkMonitor:
    """The monitor's loop, for a thread of its own; it ends when `stopped` becomes readable."""

    def __init__(
        self,
        put: Callable[[RetryRequested | NetworkChanged], None],
        stopped: socket.socket,
        *,
        event_socket: socket.socket | None,
        resume_timer: int | None,
        detector: SuspendDetector,
    ) -> None:
        self._put = put
        self._stopped = stopped
        self._event_socket = event_socket
        self._resume_timer = resume_timer
        self._detector = detector
        self._network = NetworkState(native_parser())
        self._links: dict[int, bool] = {}  # those that changed since the last report; whether they are hardware
        self._resolver = _resolver_stamp()
        self._poll = select.poll()
        for descriptor in (stopped, event_socket, resume_timer):
            if descriptor is not None:
                self._poll.register(descriptor, select.POLLIN)

    def run(self) -> None:
        """Monitor until stopped."""
        first_change = last_change = None
        while True:
            ready = self._wait(first_change, last_change)
            if self._stopped.fileno() in ready:
                return
            now = time.monotonic()
            if self._resume_timer in ready and self._resume_timer is not None:
                read_resume_timer(self._resume_timer)
            if (seconds := self._detector.suspended_for()) > 0:
                self._put(RetryRequested(f"the machine was suspended for {seconds:.0f} s", by_user=False))
            if self._event_socket is not None and self._event_socket.fileno() in ready and self._read_events():
                last_change = now
                first_change = first_change or now
            if first_change and last_change and now >= min(last_change + DEBOUNCE, first_change + MAX_DEBOUNCE):
                self._put(self._network_change())
                first_change = last_change = None

    def _network_change(self) -> NetworkChanged:
        links, self._links = self._links, {}
        resolver, self._resolver = self._resolver, _resolver_stamp()
        return NetworkChanged(frozenset(links), any(links.values()), resolver != self._resolver)

    def _wait(self, first_change: float | None, last_change: float | None) -> set[int]:
        """Return the readable descriptors; none when a burst is to be reported or the clocks are to be compared."""
        deadline = None
        if first_change is not None and last_change is not None:
            deadline = min(last_change + DEBOUNCE, first_change + MAX_DEBOUNCE)
        elif self._resume_timer is None:
            deadline = time.monotonic() + CLOCK_POLL
        # Rounded up: a timeout a fraction of a millisecond early would repeat.
        timeout = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)
        return {descriptor for descriptor, _ in self._poll.poll(timeout)}

    def _read_events(self) -> bool:
        """Read all datagrams; say whether the network changed."""
        assert self._event_socket is not None
        changed = False
        while True:
            try:
                datagram, sender = self._event_socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # the socket's buffer overflowed: messages were lost
                    changed = True
                    continue
                log.warning("network changes are not monitored any more: %s", error)
                self._poll.unregister(self._event_socket)
                self._event_socket = None
                return changed
            if _is_kernel(sender):
                keys = self._network.update(datagram)
                self._links.update({key.number: key.is_hardware for key in keys if isinstance(key, Interface)})
                changed |= bool(keys)


def _resolver_stamp() -> tuple[int, ...] | None:
    """Return what changes when the list of name servers is written anew."""
    try:
        found = os.stat(_RESOLVER)  # noqa: PTH116  a pathlib.Path has no more to say
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_kernel(sender: object) -> bool:
    """Say whether a netlink datagram comes from the kernel (address (0, groups)); PF_ROUTE has no other senders."""
    return not isinstance(sender, tuple) or sender[0] == 0
