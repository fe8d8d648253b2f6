"""The target's addresses: resolved off the loop, cached, best first."""

from __future__ import annotations

import queue
import socket
import time
from typing import TYPE_CHECKING, cast

import pytest

from ioconnect.agent.target.target_addresses import MAX_AGE, REFRESH_AFTER, Address, TargetAddresses
from ioconnect.config.addresses import HostPort

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.ssh.loop import Loop

A: Address = (socket.AF_INET, ("10.0.0.1", 3306))
B: Address = (socket.AF_INET, ("10.0.0.2", 3306))
C: Address = (socket.AF_INET6, ("fd00::1", 3306, 0, 0))


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

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append((host, port))
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return list(self.addresses)


def new_target(lookups: Lookups, host: str = "database.test") -> tuple[TargetAddresses, HandLoop]:
    loop = HandLoop()
    return TargetAddresses(HostPort(host, 3306), cast("Loop", loop), lookups), loop


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


def test_a_literal_address_is_looked_up_once() -> None:
    """There is nothing to renew about it, ever."""
    lookups = Lookups(A)
    target, loop = new_target(lookups, "10.0.0.1")
    got(target, loop)
    loop.now += 1e6

    assert got(target, loop) == [A]
    assert len(lookups.asked) == 1


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
    rest = [address for address in (A, B, C) if address != best]
    assert got(target, loop) == [best, *rest]

    target.invalidate()
    assert got(target, loop) == [best, *rest]
    lookups.addresses = rest
    target.invalidate()
    assert got(target, loop) == rest
