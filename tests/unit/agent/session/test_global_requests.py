"""Global requests and their replies, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ioconnect.agent.session.global_requests import GlobalRequests
from ioconnect.agent.session.keepalive import Keepalive

if TYPE_CHECKING:
    from ioconnect.ssh.outbound import Outbound


class Sent:
    """The outbound half of a session, as far as requests use it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def queue(self, message: bytes) -> None:
        self.messages.append(message)


def test_each_sample_of_the_round_trip_is_asked_for_when_the_one_before_has_come() -> None:
    """One after another: requests sent together would measure each other's waiting."""
    sent, round_trips = Sent(), list[float]()
    keepalive = Keepalive(10, 1, 0.0)
    requests = GlobalRequests(
        cast("Outbound", sent), keepalive, on_dead=lambda: None, on_round_trip=round_trips.append
    )
    requests.sample_round_trip(3)
    seen = []
    while len(sent.messages) > len(seen):
        seen.append(sent.messages[-1])
        requests.handle_reply(False)

    assert len(seen) == len(round_trips) == 3
    assert all(b"keepalive@openssh.com" in message for message in seen)
    assert keepalive.next_deadline() == 10  # a sample is not a keepalive that must be answered in time
