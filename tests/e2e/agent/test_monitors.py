"""The network monitor's thread: with descriptors that the test makes readable, and with the kernel's own."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import netns, processes

from ioconnect.agent.network import kernel_routes
from ioconnect.agent.network.kernel_routes import find_route
from ioconnect.agent.network.network_monitor import DEBOUNCE, NetworkMonitor, monitoring, open_event_socket
from ioconnect.agent.network.routes import NetworkChanged, Route
from ioconnect.agent.network.suspend_monitor import (
    SuspendDetector,
    open_resume_timer,
    read_resume_timer,
    suspend_clocks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="netlink and timerfd are Linux'")


class Machine:
    """A NetworkMonitor whose descriptors and clock belong to the test."""

    def __init__(self, *, with_resume_timer: bool = True) -> None:
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.suspended = 0.0
        stopped, self.stop = socket.socketpair()
        self.event_socket, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.event_socket.setblocking(False)
        self.timer, self.timer_write = os.pipe2(os.O_NONBLOCK)
        detector = SuspendDetector((time.monotonic, lambda: time.monotonic() + self.suspended))
        resume_timer = self.timer if with_resume_timer else None
        monitor = NetworkMonitor(
            self.requests.put, stopped, event_socket=self.event_socket, resume_timer=resume_timer, detector=detector
        )
        self.stopped = stopped
        self.thread = threading.Thread(target=monitor.run)
        self.thread.start()

    def link(self, index: int) -> None:
        """Send the event that a link came up."""
        body = struct.pack("=BxHiII", 0, 1, index, 0x10041, 0)
        self.kernel.send(struct.pack("=IHHII", 32, 16, 0, 0, 0) + body)

    def next(self) -> Any:
        return self.requests.get(timeout=10)

    def close(self) -> None:
        self.stop.close()
        self.thread.join(5)
        assert not self.thread.is_alive()
        for each in (self.stopped, self.event_socket, self.kernel):
            each.close()
        for descriptor in (self.timer, self.timer_write):
            os.close(descriptor)


@contextlib.contextmanager
def machine(**how: Any) -> Iterator[Machine]:
    made = Machine(**how)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.alone
def test_a_suspend_is_reported_at_once_when_the_timer_is_readable() -> None:
    with machine() as machine_:
        machine_.suspended = 600.0
        began = time.monotonic()
        os.write(machine_.timer_write, b"x")

        request = machine_.next()
        assert time.monotonic() - began < 1.0
    assert "suspended for 600 s" in request.cause
    assert not request.by_user


@pytest.mark.alone
def test_without_a_timer_the_clocks_are_compared() -> None:
    """As on macOS: within a second, and what a busy machine adds."""
    with machine(with_resume_timer=False) as machine_:
        machine_.suspended = 600.0
        began = time.monotonic()

        assert "suspended" in machine_.next().cause
        assert time.monotonic() - began < 2.0


def test_a_clock_that_is_set_is_no_suspend() -> None:
    with machine() as machine_:
        os.write(machine_.timer_write, b"x")
        machine_.link(1)

        assert machine_.next() == NetworkChanged(frozenset({1}), hardware=True)


def test_a_burst_is_reported_once() -> None:
    with machine() as machine_:
        for index in range(50):
            machine_.link(index)

        assert machine_.next().links == set(range(50))
        with pytest.raises(queue.Empty):
            machine_.requests.get(timeout=2 * DEBOUNCE)


def test_a_repeated_event_is_not_reported() -> None:
    with machine() as machine_:
        machine_.link(1)
        machine_.next()
        machine_.link(1)
        with pytest.raises(queue.Empty):
            machine_.requests.get(timeout=2 * DEBOUNCE)


@only_linux
def test_the_kernels_resume_timer_is_not_readable_at_first() -> None:
    timer = open_resume_timer()
    assert timer is not None
    try:
        assert select.select([timer], [], [], 0)[0] == []
        assert not read_resume_timer(timer)
    finally:
        os.close(timer)
    assert SuspendDetector(suspend_clocks()).suspended_for() == 0


@only_linux
def test_any_user_may_open_the_event_socket() -> None:
    event_socket = open_event_socket()
    assert event_socket is not None
    event_socket.close()


@pytest.mark.alone
def test_changes_of_links_addresses_and_routes_are_reported() -> None:
    host = netns.Host("watched")
    try:
        requests: queue.SimpleQueue[object] = queue.SimpleQueue()
        with contextlib.ExitStack() as ends:
            with host.entered():
                ends.enter_context(monitoring(requests.put))
            for change in (
                ("link", "add", "first", "type", "veth", "peer", "name", "second"),
                ("link", "set", "second", "up"),
                ("link", "set", "first", "up"),
                ("address", "add", "192.0.2.2/24", "dev", "first"),
                ("route", "add", "default", "via", "192.0.2.1"),
                ("route", "del", "default"),
                ("link", "set", "first", "down"),
            ):
                while not requests.empty():
                    requests.get()
                host.ip(*change)
                began = time.monotonic()
                assert isinstance(requests.get(timeout=10), NetworkChanged), change
                assert time.monotonic() - began < 1.5
        assert not [thread for thread in threading.enumerate() if thread.name == "network monitor"]
    finally:
        host.remove()
    processes.wait_until(lambda: host.name not in processes.checked(["ip", "netns", "list"]))


# --- the routes, as the kernel tells them


@only_linux
def test_the_kernel_tells_the_route_to_any_address_and_what_changed_about_it() -> None:
    host = netns.Host("asked")
    try:
        with host.entered():
            assert find_route("192.0.2.9") is None
            assert find_route("jumphost.test") is None
            host.ip("link", "add", "first", "type", "veth", "peer", "name", "second")
            for change in (
                ("link", "set", "second", "up"),
                ("link", "set", "first", "up"),
                ("address", "add", "192.0.2.2/24", "dev", "first"),
                ("address", "add", "2001:db8::2/64", "dev", "first", "nodad"),
                ("route", "add", "default", "via", "192.0.2.1"),
            ):
                host.ip(*change)
            near, far, six = (find_route(address) for address in ("192.0.2.9", "198.51.100.1", "2001:db8::9"))
            assert near is not None
            assert near.interface == socket.if_nametoindex("first")
            assert near == Route("192.0.2.2", "", near.interface, is_up=True, is_hardware=False)
            assert far == Route("192.0.2.2", "192.0.2.1", near.interface, is_up=True, is_hardware=False)
            assert six == Route("2001:db8::2", "", near.interface, is_up=True, is_hardware=False)

            host.ip("link", "set", "second", "down")
            assert find_route("192.0.2.9") == Route("192.0.2.2", "", near.interface, is_up=False, is_hardware=False)
            host.ip("route", "add", "unreachable", "198.51.100.0/24")
            assert find_route("198.51.100.1") is None
    finally:
        host.remove()


def test_elsewhere_the_source_address_tells_the_route() -> None:
    assert kernel_routes.by_udp("127.0.0.1") == Route("127.0.0.1")
