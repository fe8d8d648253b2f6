"""The same promises on a machine without epoll: everything in test_wire, turned by poll(2)."""

from __future__ import annotations

import select

import pytest
from tests.e2e.ssh.test_wire import (
    client,
    database,
    jumphost,
    test_a_database_that_is_down,
    test_a_keepalive_on_a_channel_is_answered,
    test_global_requests_are_answered,
    test_late_messages_for_a_dead_channel_are_ignored,
    test_more_connections_than_allowed_are_refused,
    test_nothing_follows_our_close,
    test_rekeying_under_load,
    test_small_packets_are_kept_to,
    test_too_much_data_ends_the_session_with_a_reason,
)
from tests.e2e.ssh.test_wire_openings import (
    connect,
    full,
    names,
    test_a_database_that_does_not_answer,
    test_a_database_that_talks_to_nobody,
    test_every_address_is_tried,
    test_what_is_still_on_its_way_to_the_database_counts,
)

from ioconnect.ssh.loop import PollPoller, new_poller

__all__ = [
    "client",
    "connect",
    "database",
    "full",
    "jumphost",
    "names",
    "test_a_database_that_does_not_answer",
    "test_a_database_that_is_down",
    "test_a_database_that_talks_to_nobody",
    "test_a_keepalive_on_a_channel_is_answered",
    "test_every_address_is_tried",
    "test_global_requests_are_answered",
    "test_late_messages_for_a_dead_channel_are_ignored",
    "test_more_connections_than_allowed_are_refused",
    "test_nothing_follows_our_close",
    "test_rekeying_under_load",
    "test_small_packets_are_kept_to",
    "test_too_much_data_ends_the_session_with_a_reason",
    "test_what_is_still_on_its_way_to_the_database_counts",
]


@pytest.fixture(autouse=True)
def _without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll", raising=False)
    poller = new_poller()
    assert isinstance(poller, PollPoller)
