"""The thread that listens to the kernel: with bells that the test rings, and with the kernel's own."""

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

from ioconnect.agent.supervisor.network_monitor import QUIET, Watch, open_network_bell, watching
from ioconnect.agent.supervisor.suspend_monitor import SleepMeter, has_rung, open_wake_bell, sleep_clocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.agent.tunnel.events import RetryRequested

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own bells are Linux'")


class Machine:
    """A Watch whose bells and clock are in the test's hand."""

    def __init__(self, *, with_wake_bell: bool = True) -> None:
        self.heard: queue.SimpleQueue[RetryRequested] = queue.SimpleQueue()
        self.sleep = 0.0
        over, self.end = socket.socketpair()
        self.news_at_watch, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.news_at_watch.setblocking(False)
        self.bell_at_watch, self.bell = os.pipe2(os.O_NONBLOCK)
        meter = SleepMeter((time.monotonic, lambda: time.monotonic() + self.sleep))
        wake_bell = self.bell_at_watch if with_wake_bell else None
        watch = Watch(self.heard.put, over, news=self.news_at_watch, wake_bell=wake_bell, meter=meter)
        self.over = over
        self.thread = threading.Thread(target=watch.run)
        self.thread.start()

    def link(self, index: int) -> None:
        """Say that a link came up."""
        body = struct.pack("=BxHiII", 0, 1, index, 0x10041, 0)
        self.kernel.send(struct.pack("=IHHII", 32, 16, 0, 0, 0) + body)

    def next(self) -> RetryRequested:
        return self.heard.get(timeout=5)

    def close(self) -> None:
        self.end.close()
        self.thread.join(5)
        assert not self.thread.is_alive()
        for each in (self.over, self.news_at_watch, self.kernel):
            each.close()
        for descriptor in (self.bell_at_watch, self.bell):
            os.close(descriptor)


@contextlib.contextmanager
def machine(**how: Any) -> Iterator[Machine]:
    made = Machine(**how)
    try:
        yield made
    finally:
        made.close()


def test_a_sleep_is_passed_on_at_once_when_the_bell_rings() -> None:
    with machine() as woken:
        woken.sleep = 600.0
        began = time.monotonic()
        os.write(woken.bell, b"x")

        letter = woken.next()
        assert time.monotonic() - began < 1.0
    assert "slept for 600 s" in letter.cause
    assert not letter.by_user


def test_without_a_bell_the_clocks_are_looked_at() -> None:
    """As on macOS; a second, and what a busy machine adds."""
    with machine(with_wake_bell=False) as woken:
        woken.sleep = 600.0
        began = time.monotonic()

        assert "slept" in woken.next().cause
        assert time.monotonic() - began < 2.0


def test_a_clock_that_is_set_rings_and_is_no_sleep() -> None:
    with machine() as woken:
        os.write(woken.bell, b"x")
        woken.link(1)

        assert woken.next().cause == "the network changed"


def test_a_burst_is_passed_on_once() -> None:
    with machine() as changed:
        for index in range(50):
            changed.link(index)

        assert changed.next().cause == "the network changed"
        with pytest.raises(queue.Empty):
            changed.heard.get(timeout=2 * QUIET)


def test_what_is_repeated_is_not_passed_on() -> None:
    with machine() as changed:
        changed.link(1)
        changed.next()
        changed.link(1)
        with pytest.raises(queue.Empty):
            changed.heard.get(timeout=2 * QUIET)


@only_linux
def test_the_kernels_wake_bell_is_there_and_silent() -> None:
    bell = open_wake_bell()
    assert bell is not None
    try:
        assert select.select([bell], [], [], 0)[0] == []
        assert not has_rung(bell)
    finally:
        os.close(bell)
    assert SleepMeter(sleep_clocks()).slept() == 0


@only_linux
def test_any_user_may_listen_to_the_network() -> None:
    bell = open_network_bell()
    assert bell is not None
    bell.close()


def test_the_kernel_tells_of_links_addresses_and_routes() -> None:
    host = netns.Host("watched")
    try:
        heard: queue.SimpleQueue[RetryRequested] = queue.SimpleQueue()
        with contextlib.ExitStack() as ends:
            with host.entered():
                ends.enter_context(watching(heard.put))
            for change in (
                ("link", "add", "first", "type", "veth", "peer", "name", "second"),
                ("link", "set", "second", "up"),
                ("link", "set", "first", "up"),
                ("address", "add", "192.0.2.2/24", "dev", "first"),
                ("route", "add", "default", "via", "192.0.2.1"),
                ("route", "del", "default"),
                ("link", "set", "first", "down"),
            ):
                while not heard.empty():
                    heard.get()
                host.ip(*change)
                began = time.monotonic()
                assert heard.get(timeout=5).cause == "the network changed", change
                assert time.monotonic() - began < 1.5
        assert not [thread for thread in threading.enumerate() if thread.name == "network watch"]
    finally:
        host.remove()
    processes.wait_until(lambda: host.name not in processes.checked(["ip", "netns", "list"]))
