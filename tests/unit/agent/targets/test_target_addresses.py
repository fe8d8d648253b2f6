"""The target's addresses: resolved off the loop, cached, best first."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, cast

import pytest

from ioconnect.agent.dial.resolve import Address
from ioconnect.agent.targets.target_addresses import MAX_AGE, REFRESH_AFTER, TargetAddresses
from ioconnect.config.addresses import HostPort

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.ssh.loop import Loop

A = Address(socket.AF_INET, ("10.0.0.1", 3306))
B = Address(socket.AF_INET, ("10.0.0.2", 3306))
C = Address(socket.AF_INET6, ("fd00::1", 3306, 0, 0))


class HandLoop:
    """A loop whose clock and posted calls belong to the test."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.posted: queue.Queue[Callable[[], None]] = queue.Queue()
        self.post = self.posted.put

    def run_one(self) -> None:
        """Run the next posted call; a lookup's thread posts it soon."""
        self.posted.get(timeout=20)()


class Lookups:
    """The resolver: returns what the test set last, and counts lookups."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses = list(addresses)
        self.asked: list[tuple[str, int]] = []
        self.error: Exception = socket.gaierror(socket.EAI_NONAME, "no such name")

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append((host, port))
        if not self.addresses:
            raise self.error
        return list(self.addresses)


def new_target(
    lookups: Lookups, host: str = "database.test", *, silent: set[Hashable] | None = None
) -> tuple[TargetAddresses, HandLoop]:
    loop = HandLoop()
    return TargetAddresses(HostPort(host, 3306), cast("Loop", loop), lookups, silent=silent), loop


def got(target: TargetAddresses, loop: HandLoop) -> list[Address]:
    """Get the addresses, after a lookup if one is needed."""
    answers: list[list[Address]] = []
    target.get(lambda addresses: answers.append(list(addresses)))
    if not answers:
        loop.run_one()
    (answer,) = answers
    return answer


def test_the_first_one_waits_for_the_resolver() -> None:
    lookups = Lookups(A, B)
    target, loop = new_target(lookups)

    assert got(target, loop) == [A, B]
    assert lookups.asked == [("database.test", 3306)]


def test_many_at_once_share_one_lookup() -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    answers: list[list[Address]] = []
    for _ in range(10):
        target.get(answers.append)
    loop.run_one()

    assert answers == [[A]] * 10
    assert len(lookups.asked) == 1


def test_a_fresh_answer_serves_at_once() -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    got(target, loop)
    loop.now += REFRESH_AFTER - 1

    assert got(target, loop) == [A]
    assert len(lookups.asked) == 1


def test_an_older_answer_is_used_while_it_is_refreshed() -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    got(target, loop)
    lookups.addresses = [B]
    loop.now += REFRESH_AFTER + 1

    assert got(target, loop) == [A]
    loop.run_one()
    assert got(target, loop) == [B]


def test_an_answer_that_is_too_old_does_not_serve() -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    got(target, loop)
    lookups.addresses = [B]
    loop.now += MAX_AGE + 1

    assert got(target, loop) == [B]


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1", "::1", "fe80::1%lo"])
def test_a_literal_address_needs_no_lookup(host: str) -> None:
    """Neither a thread nor a resolver; and there is nothing to renew about it, ever."""
    lookups = Lookups()
    target, loop = new_target(lookups, host)
    for _ in range(3):
        (address,) = got(target, loop)
        loop.now += 1e6
        target.invalidate()

        assert host in {str(address), f"{address}%lo"}
        assert address.family == socket.AF_INET or bool(address.sockaddr[3]) == ("%" in host)
    assert (lookups.asked, loop.posted.empty()) == ([], True)


def test_localhost_is_looked_up() -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups, "localhost")

    assert got(target, loop) == [A]


def test_a_zone_that_is_not_there_is_told(  # an interface that a VPN brings and takes
) -> None:
    lookups = Lookups()
    target, loop = new_target(lookups, "fe80::1%nowhere")

    assert got(target, loop) == []
    assert target.problem == "no such name"


def test_a_name_that_is_none() -> None:
    """The result is empty, and the next call resolves again."""
    lookups = Lookups()
    target, loop = new_target(lookups)
    assert got(target, loop) == []
    lookups.addresses = [A]

    assert got(target, loop) == [A]


def test_a_failed_refresh_keeps_the_cache() -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    got(target, loop)
    lookups.addresses = []
    loop.now += REFRESH_AFTER + 1
    assert got(target, loop) == [A]
    loop.run_one()

    assert got(target, loop) == [A]


def test_after_a_failed_connect_the_cache_is_invalid() -> None:
    """No address took a connection: the cache is invalid, even if the new lookup fails."""
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    got(target, loop)
    target.invalidate()
    lookups.addresses = []

    assert got(target, loop) == []


@pytest.mark.parametrize("best", [A, B, C])
def test_the_one_that_connected_comes_first(best: Address) -> None:
    """Also after the name was looked up again, as long as it still has that address."""
    lookups = Lookups(A, B, C)
    target, loop = new_target(lookups)
    got(target, loop)
    target.connected(best)
    rest = {A: [C, B], B: [C, A], C: [A, B]}[best]
    assert got(target, loop) == [best, *rest]

    target.invalidate()
    assert got(target, loop) == [best, *rest]
    lookups.addresses = rest
    target.invalidate()
    assert got(target, loop) == rest


RESOLVER_FAILS = [
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"),
    socket.gaierror(socket.EAI_SYSTEM, "System error"),
    OSError(24, "Too many open files"),
]


@pytest.mark.parametrize("error", RESOLVER_FAILS, ids=str)
def test_a_resolver_that_fails_takes_no_address_away(error: Exception) -> None:
    """However old they are, and also after a refusal; it is told, and the next connection waits for nothing."""
    lookups = Lookups(A, B)
    target, loop = new_target(lookups)
    got(target, loop)
    target.invalidate()
    loop.now += 1e6
    lookups.addresses, lookups.error = [], error

    assert got(target, loop) == [A, B]
    assert target.problem == error.strerror  # type: ignore[attr-defined]
    assert got(target, loop) == [A, B]
    assert len(lookups.asked) == 3
    loop.run_one()
    lookups.addresses = [C]
    target.invalidate()
    assert (got(target, loop), target.problem) == ([C], "")


def test_a_name_that_is_gone_takes_its_addresses_along() -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    got(target, loop)
    loop.now += MAX_AGE
    lookups.addresses = []

    assert got(target, loop) == []
    assert target.problem == "no such name"


def test_a_thread_that_cannot_start_is_a_resolver_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = Lookups(A)
    target, loop = new_target(lookups)
    got(target, loop)
    target.invalidate()

    def no_thread(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)

    assert got(target, loop) == [A]
    assert target.problem == "can't start new thread"


def test_families_are_interleaved() -> None:
    target, loop = new_target(Lookups(A, B, C))

    assert got(target, loop) == [A, C, B]


def test_a_silent_address_is_last_until_it_takes_a_connection() -> None:
    """Also after other lookups, as long as the name has it."""
    lookups = Lookups(A, B, C)
    target, loop = new_target(lookups)
    got(target, loop)
    target.silent(A)
    assert got(target, loop) == [C, B, A]
    target.invalidate()
    assert got(target, loop) == [C, B, A]
    target.connected(B)
    assert got(target, loop) == [B, C, A]
    lookups.addresses = [C]
    target.invalidate()
    got(target, loop)
    lookups.addresses = [A, C]
    target.invalidate()
    assert got(target, loop) == [C, A]  # the one that is known comes first

    target.silent(A)
    target.connected(A)
    assert got(target, loop) == [A, C]


def test_the_next_session_knows_what_was_silent() -> None:
    lookups, silent = Lookups(A, B), set[Hashable]()
    target, loop = new_target(lookups, silent=silent)
    got(target, loop)
    target.silent(A)
    next_target, next_loop = new_target(lookups, silent=silent)

    assert got(next_target, next_loop) == [B, A]
