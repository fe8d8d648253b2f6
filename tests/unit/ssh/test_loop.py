"""The loop, turned by hand over pipes: who is called when, with either poller."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ioconnect.ssh.loop import BROKEN, FOREVER, READ, WRITE, EpollPoller, Loop, PollPoller, new_poller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLLERS = {type(new_poller()), PollPoller}
SOON = 0.02  # seconds


@pytest.fixture(params=sorted(POLLERS, key=lambda kind: kind.__name__))
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    made = Loop(request.param)
    yield made
    made.close()


class Pipe:
    """A pipe whose ends close with it."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        os.set_blocking(self.into, False)

    def fill(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.into, bytes(1 << 16))

    def close(self, *fds: int) -> None:
        for fd in fds or (self.out, self.into):
            with contextlib.suppress(OSError):  # the test closed it
                os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Callable[[], Pipe]]:
    made: list[Pipe] = []

    def make() -> Pipe:
        made.append(Pipe())
        return made[-1]

    yield make
    for one in made:
        one.close()


def turn(loop: Loop) -> None:
    """Turn once, and not for long if nothing happens."""
    loop.next_timer = time.monotonic() + SOON
    loop.run_once()


def test_a_reader_is_called_while_there_is_something(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    """Level-triggered: what is not read is reported again."""
    one = pipe()
    masks: list[int] = []
    loop.watch(one.out, READ, masks.append)
    turn(loop)
    assert masks == []

    os.write(one.into, b"x")
    turn(loop)
    turn(loop)
    assert masks == [READ, READ]

    os.read(one.out, 10)
    turn(loop)
    assert masks == [READ, READ]


def test_what_is_watched_for_can_change(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    one = pipe()
    masks: list[int] = []
    loop.watch(one.into, WRITE, masks.append)
    turn(loop)
    assert masks == [WRITE]

    loop.watch(one.into, READ, masks.append)  # the writing end is never readable
    turn(loop)
    loop.watch(one.into, READ | WRITE, masks.append)
    turn(loop)
    assert masks == [WRITE, WRITE]

    loop.watch(one.into, 0, masks.append)
    turn(loop)
    assert masks == [WRITE, WRITE]


def test_what_is_not_watched_is_not_reported_even_if_broken(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    """Or a broken socket that cannot be read now would keep the loop turning."""
    one = pipe()
    masks: list[int] = []
    loop.watch(one.out, READ, masks.append)
    one.close(one.into)
    turn(loop)
    assert masks
    assert masks[0] & BROKEN

    before = len(masks)
    loop.watch(one.out, 0, masks.append)
    turn(loop)
    assert len(masks) == before


def test_a_closed_gate_lets_only_writers_and_the_wire_through(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    """The back pressure: no target is read while the jumphost takes nothing."""
    wire, database, slow = pipe(), pipe(), pipe()
    calls: list[str] = []
    loop.watch_transport(wire.out, lambda _: calls.append("wire"))
    loop.watch(database.out, READ, lambda _: calls.append("database"))
    loop.watch(slow.into, READ | WRITE, lambda _: calls.append("slow"))
    for full in (wire, database):
        os.write(full.into, b"x")
    loop.writers_only = True
    turn(loop)
    assert sorted(calls) == ["slow", "wire"]

    calls.clear()
    loop.writers_only = False
    turn(loop)
    assert sorted(calls) == ["database", "slow", "wire"]


def test_the_wire_is_watched_for_writing_only_while_a_flush_is_wanted(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    """A key exchange closes the gate with nothing to send: that must not turn the loop without end."""
    wire = pipe()
    masks: list[int] = []
    loop.watch_transport(wire.into, masks.append)
    for writers_only, wants_flush, expected in (
        (False, True, []),
        (True, True, [WRITE]),
        (True, False, []),
        (True, True, [WRITE]),
        (False, False, []),
    ):
        masks.clear()
        loop.writers_only, loop.wants_flush = writers_only, wants_flush
        turn(loop)
        assert masks == expected


def test_the_wire_is_not_read_while_it_is_paused(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    """Neither with the gate open nor closed; a wire that breaks is reported."""
    wire = pipe()
    masks: list[int] = []
    os.write(wire.into, b"x")
    loop.watch_transport(wire.out, masks.append)
    loop.pause_transport()
    for loop.writers_only in (False, True, False):
        turn(loop)
        assert masks == []

    loop.resume_transport()
    for loop.writers_only in (False, True):
        turn(loop)
    assert masks == [READ, READ]

    loop.pause_transport()
    wire.close(wire.into)
    turn(loop)
    assert masks[2:] == [select.POLLHUP]


def test_a_paused_wire_is_written(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    wire = pipe()
    masks: list[int] = []
    loop.watch_transport(wire.into, masks.append)
    loop.pause_transport()
    loop.writers_only = loop.wants_flush = True
    turn(loop)

    assert masks == [WRITE]


def test_a_writer_waits_with_the_gate_closed_too(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    one, wire = pipe(), pipe()
    one.fill()
    masks: list[int] = []
    loop.watch_transport(wire.out, lambda _: None)
    loop.watch(one.into, WRITE, masks.append)
    loop.writers_only = True
    turn(loop)
    assert masks == []

    while len(os.read(one.out, 1 << 20)) == 1 << 20:
        pass
    turn(loop)
    assert masks == [WRITE]


@pytest.mark.parametrize("how", ["unwatch", "closing"])
def test_what_an_earlier_call_dropped_is_not_called(loop: Loop, pipe: Callable[[], Pipe], how: str) -> None:
    """Both are ready in the same turn, and each ends the other."""
    ends = [pipe(), pipe()]
    calls: list[int] = []

    def dropper(mine: int, other: Pipe) -> Callable[[int], None]:
        def call(_mask: int) -> None:
            calls.append(mine)
            getattr(loop, how)(other.out)
            other.close(other.out)

        return call

    for number, (one, other) in enumerate([ends, ends[::-1]]):
        loop.watch(one.out, READ, dropper(number, other))
        os.write(one.into, b"x")
    turn(loop)

    assert len(calls) == 1


def test_a_number_that_is_used_again_is_another_descriptor(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    one = pipe()
    calls: list[str] = []
    loop.watch(one.out, READ | WRITE, lambda _: calls.append("old"))
    number = one.out
    loop.closing(one.out)
    one.close()
    again = pipe()
    assert again.out == number, "the system gives the lowest free number"
    turn(loop)
    loop.watch(again.out, READ, lambda _: calls.append("new"))
    os.write(again.into, b"x")
    turn(loop)

    assert calls == ["new"]


def test_the_timer(loop: Loop) -> None:
    """Called with the time when it is due, not before, and not again unless asked."""
    called: list[float] = []

    def on_timer(now: float) -> None:
        called.append(now)
        loop.next_timer = FOREVER

    loop.on_timer = on_timer
    loop.next_timer = due = time.monotonic() + SOON
    turns = 0
    while not called:
        loop.run_once()
        turns += 1

    assert called[0] >= due
    assert turns <= 2, "a timer that is a fraction of a millisecond early must not spin"


def test_a_timer_that_is_overdue_does_not_wait(loop: Loop) -> None:
    called: list[float] = []
    loop.on_timer = called.append
    loop.next_timer = 0.0
    loop.run_once()

    assert called == [loop.now]


def test_posted_calls_wake_the_loop_in_their_order(loop: Loop, pipe: Callable[[], Pipe]) -> None:
    """From any thread, also with the gate closed, also more of them than a pipe holds bytes."""
    loop.watch_transport(pipe().out, lambda _: None)
    loop.writers_only = True
    ran: list[int] = []

    def post() -> None:
        for number in range(70_000):
            loop.post(lambda number=number: ran.append(number))  # type: ignore[misc]

    thread = threading.Thread(target=post)
    thread.start()
    deadline = time.monotonic() + 20
    while len(ran) < 70_000 and time.monotonic() < deadline:
        loop.run_once()
    thread.join(20)

    assert ran == list(range(70_000))


def test_life() -> None:
    """It shows life while it rightly waits; a timer that is overdue by more than a second is none."""
    loop = Loop()
    loop.now = 100.0
    assert loop.alive_at(150.0) == 100.0  # busy in a call since then

    loop._waiting = True
    loop.next_timer = 200.0
    assert loop.alive_at(150.0) == 150.0
    assert loop.alive_at(200.9) == 200.9
    assert loop.alive_at(201.1) == 100.0
    loop.close()


@pytest.mark.parametrize("kind", sorted(POLLERS, key=lambda kind: kind.__name__))
def test_a_loop_that_is_closed_holds_nothing(kind: type[EpollPoller | PollPoller]) -> None:
    """Twice is fine, and what is posted then is lost without a word."""
    lowest = os.dup(0)
    os.close(lowest)
    loop = Loop(kind)
    loop.post(lambda: pytest.fail("it is over"))
    loop.close()
    loop.close()
    loop.post(lambda: pytest.fail("it is over"))
    again = os.dup(0)
    os.close(again)

    assert again == lowest


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc")
def test_a_loop_that_the_kernel_does_not_let_watch_leaves_nothing_open() -> None:
    """epoll_ctl(2): ENOSPC, at the user's max_user_watches; a tunnel tries again every few seconds."""

    def refuse(_fd: int, _mask: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full(PollPoller):
        def __init__(self) -> None:
            super().__init__()
            self.register = refuse  # type: ignore[assignment]  # poll(2)'s own takes any object with a fileno

    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            Loop(Full)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
