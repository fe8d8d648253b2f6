"""One thread's event loop: sockets, a wake-up pipe and one timer.

Theory of operation. Every descriptor is registered with `_readers`, those that wait to be written also with
`_writers`; the SSH socket with both. As long as the SSH socket takes more, the loop waits on `_readers`. When it does
not (its send buffer is full, or a key exchange holds channel traffic back), the loop waits on `_writers`: no
forwarded connection is even polled, without a system call for each of them. That is the whole back pressure.

Level-triggered epoll where there is one, poll elsewhere; both use the same event numbers.
Only `post` may be called from another thread; everything else belongs to the thread that runs the loop.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.POLLIN
WRITE = select.POLLOUT
BROKEN = select.POLLERR | select.POLLHUP
FOREVER = float("inf")
MAX_EVENTS = 64  # per iteration; the rest is reported by the next one


class Poller(Protocol):
    """What epoll and poll have in common."""

    def register(self, fd: int, mask: int) -> None:
        """Begin to watch."""

    def modify(self, fd: int, mask: int) -> None:
        """Watch for something else."""

    def unregister(self, fd: int) -> None:
        """Watch no more."""

    def wait(self, timeout: float, most: int, /) -> list[tuple[int, int]]:
        """Wait `timeout` seconds (-1: for ever) and return (descriptor, mask) pairs, `most` of them if it can."""

    def closing(self, fd: int) -> None:
        """Watch no more, as the descriptor is closed next."""

    def close(self) -> None:
        """Give the kernel's part back."""


class EpollPoller:
    """Linux: the cost of an iteration does not grow with the number of idle connections."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.register = self._epoll.register
        self.modify = self._epoll.modify
        self.unregister = self._epoll.unregister
        self.wait = self._epoll.poll
        self.close = self._epoll.close

    def closing(self, fd: int) -> None:
        """Nothing: closing the descriptor removes it (epoll(7))."""


class PollPoller:
    """Anywhere else: the same levels, the same numbers."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self.closing = self._poll.unregister

    def wait(self, timeout: float, _most: int, /) -> list[tuple[int, int]]:
        """Wait; see `Poller`."""
        # Rounded up: a timer must not find itself a fraction of a millisecond early, again and again.
        return self._poll.poll(None if timeout < 0 else int(timeout * 1000) + (timeout > 0))

    def close(self) -> None:
        """Nothing to give back."""


def new_poller() -> Poller:
    """Return the best poller of this machine."""
    return EpollPoller() if hasattr(select, "epoll") else PollPoller()


class Loop:
    """Watches descriptors and calls back; run by one thread.

    `writers_only` says that the SSH socket takes nothing more: only writers are served. `wants_flush` says that it
    should be watched for writing meanwhile. `next_timer` is an absolute time.monotonic(), FOREVER for none; who sets
    it to `now` has `on_timer` called, and the timer computed again, before the next wait.
    """

    def __init__(self, poller: Callable[[], Poller] = new_poller) -> None:
        self._readers = poller()
        self._writers = poller()
        self._masks: dict[int, int] = {}
        self._calls: dict[int, Callable[[int], None]] = {}
        self._posted: deque[Callable[[], None]] = deque()
        self._waking = threading.Lock()  # or `post` could write to a number that `close` has freed
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._transport_fd = -1
        self._transport_mask = 0
        self.transport_paused = False
        self._closed = False
        self.writers_only = False
        self.wants_flush = False
        self.next_timer = FOREVER
        self.on_timer: Callable[[float], None] = lambda _now: None
        self.now = time.monotonic()
        self._waiting = False
        try:
            for poller_ in (self._readers, self._writers):
                poller_.register(self._wake_read, READ)
        except OSError:  # epoll_ctl(2): ENOSPC, ENOMEM
            self.close()
            raise
        self._calls[self._wake_read] = self._run_posted

    def watch_transport(self, fd: int, call: Callable[[int], None]) -> None:
        """Watch the SSH socket: for reading unless paused; for writing while `writers_only` and `wants_flush`."""
        self.now = time.monotonic()  # what led here, a dial, took its time
        self._transport_fd = fd
        self._calls[fd] = call
        self._readers.register(fd, READ)
        self._transport_mask = READ | WRITE
        self._writers.register(fd, self._transport_mask)

    def pause_transport(self) -> None:
        """Read the SSH socket no more: what the peer sends stays in TCP's buffers. It is called if it is BROKEN."""
        self.transport_paused = True
        self._watch_transport_again()

    def resume_transport(self) -> None:
        """End `pause_transport`."""
        self.transport_paused = False
        self._watch_transport_again()

    def _watch_transport_again(self) -> None:
        mask = 0 if self.transport_paused else READ
        self._readers.modify(self._transport_fd, mask)
        self._transport_mask = mask | WRITE
        self._writers.modify(self._transport_fd, self._transport_mask)

    def watch(self, fd: int, mask: int, call: Callable[[int], None]) -> None:
        """Call `call(mask)` whenever `fd` is ready for what `mask` (READ, WRITE, both or 0) says, or broken.

        With 0 it is not watched at all, as POLLERR and POLLHUP are reported whatever the mask is (poll(2)). Raises
        OSError, and watches nothing new, if the kernel has no room for one more (epoll_ctl(2): ENOSPC, ENOMEM).
        """
        old = self._masks.get(fd, 0)
        if mask == old:
            return
        if (mask ^ old) & WRITE:
            if mask & WRITE:
                self._writers.register(fd, WRITE)
            else:
                self._writers.unregister(fd)
        if not old:
            try:
                self._readers.register(fd, mask)
            except OSError:
                if mask & WRITE:
                    self._writers.unregister(fd)
                raise
            self._calls[fd] = call
        elif mask:
            self._readers.modify(fd, mask)
        else:
            self._readers.unregister(fd)
            del self._calls[fd]
        if mask:
            self._masks[fd] = mask
        else:
            del self._masks[fd]

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no more; before it is closed."""
        if fd in self._masks:
            self.watch(fd, 0, self._calls[fd])

    def closing(self, fd: int) -> None:
        """Watch `fd` no more; it must be closed next."""
        mask = self._masks.pop(fd, 0)
        if mask:
            del self._calls[fd]
            self._readers.closing(fd)
            if mask & WRITE:
                self._writers.closing(fd)

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop's thread call `call` soon. Any thread; lost without a word once the loop is closed."""
        self._posted.append(call)
        # A full pipe wakes the loop as well as one byte more would; a closed one belongs to a loop that is over.
        with self._waking, contextlib.suppress(OSError):
            os.write(self._wake_write, b"\0")

    def run_once(self, at_most: float = FOREVER) -> bool:
        """Wait for something to happen, for the timer, or `at_most` seconds, and call whom it concerns.

        Return whether something happened.
        """
        poller = self._readers
        if self.writers_only:
            poller = self._writers
            wanted = (0 if self.transport_paused else READ) | (WRITE if self.wants_flush else 0)
            if wanted != self._transport_mask:
                self._transport_mask = wanted
                poller.modify(self._transport_fd, wanted)
        timer = self.next_timer
        timeout = min(timer - self.now, at_most)  # late by what was done since: the clock is read once in a turn
        self._waiting = True
        ready = poller.wait(-1 if timeout == FOREVER else max(0.0, timeout), MAX_EVENTS)
        self._waiting = False
        self.now = now = time.monotonic()
        calls = self._calls
        for fd, mask in ready:
            call = calls.get(fd)  # an earlier call of this iteration may have removed it
            if call is not None:
                call(mask)
        if now >= timer:
            self.on_timer(now)
        return bool(ready)

    def alive_at(self, now: float) -> float:
        """Return when this loop last ran: `now` while it waits for nothing that is due. Any thread."""
        return now if self._waiting and now < self.next_timer + 1 else self.now

    def close(self) -> None:
        """Give every descriptor back. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._readers.close()
        self._writers.close()
        with self._waking:
            os.close(self._wake_write)
            self._wake_write = -1
        os.close(self._wake_read)
        self._calls.clear()
        self._posted.clear()

    def _run_posted(self, _mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while self._posted:
            self._posted.popleft()()
