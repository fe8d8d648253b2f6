"""The channel's bookkeeping, against a peer that is written from RFC 4254 §5 alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ioconnect.ssh.connection.channel import MAX_WINDOW, Channel
from ioconnect.ssh.connection.in_flight import FOREVER, MIN_IN_FLIGHT, BytesInFlight, InFlightQueue
from ioconnect.ssh.connection.window_budget import LARGEST_START, SMALLEST_WINDOW, WindowBudget
from ioconnect.ssh.messages import MSG_CLOSE, MSG_EOF, PACKET_SIZE, ProtocolViolation
from ioconnect.ssh.outbound import BATCH

if TYPE_CHECKING:
    from ioconnect.ssh.loop import Loop

MIB = 1 << 20
EOF, CLOSE = "EOF", "CLOSE"  # in `Peer.wire`, beside counts of bytes
CONTROL = {MSG_EOF: EOF, MSG_CLOSE: CLOSE}


def new_channel(*, peer_window: int = 2 * MIB, total: int = 64 * MIB, most: int = 256) -> Channel:
    return Channel(0, 7, peer_window, PACKET_SIZE, WindowBudget(total, most), BytesInFlight())


class Peer:
    """The jumphost's half of a channel and the target behind ours; every rule of the RFC is asserted here."""

    def __init__(self, channel: Channel, now: float = 0.0) -> None:
        self.channel = channel
        self.now = now
        self.may_send = channel.window  # what OPEN_CONFIRMATION announced
        self.its_window = channel.peer_window  # what it lets us send
        self.sent_in = self.delivered = self.sent_out = self.accepted = 0
        self.eof_in = self.close_in = False
        self.wire: list[str | int] = []
        self.target_open = True

    def settle(self) -> None:
        channel = self.channel
        done = channel.eof_received and not channel.undelivered
        for message in map(CONTROL.__getitem__, channel.due(inbound_done=done)):
            assert CLOSE not in self.wire, "nothing may follow CLOSE"
            assert message not in self.wire, "each control message goes out once"
            if message is EOF:
                assert not self.close_in
            self.wire.append(message)

    def peer_data(self, count: int) -> None:
        count = min(count, self.may_send, PACKET_SIZE)
        if self.eof_in or self.close_in or not count:
            return
        self.may_send -= count
        self.sent_in += count
        if self.channel.received(count):
            self.accepted += count
        self.settle()

    def deliver(self, count: int) -> None:
        count = min(count, self.channel.undelivered)
        if not count or self.channel.socket_gone:
            return
        adjust = self.channel.delivered(count, self.now, 0.01)
        self.delivered += count
        if adjust:
            assert CLOSE not in self.wire, "no WINDOW_ADJUST after CLOSE"
            self.may_send += adjust
            assert self.may_send <= MAX_WINDOW
        self.settle()

    def target_data(self, count: int) -> None:
        count = min(count, self.channel.sendable())
        if not count or not self.target_open:
            return
        assert EOF not in self.wire
        assert CLOSE not in self.wire
        self.channel.sent(count)
        self.its_window -= count
        assert self.its_window >= 0, "never more than the peer's window"
        self.sent_out += count
        self.wire.append(count)

    def peer_adjust(self, count: int) -> None:
        if not self.close_in:
            self.its_window += count
            self.channel.peer_adjusted(count)

    def peer_eof(self, _count: int) -> None:
        if not self.eof_in and not self.close_in:
            self.eof_in = True
            self.channel.peer_eof()
            self.settle()

    def peer_close(self, _count: int) -> None:
        if not self.close_in:
            self.close_in = True
            self.channel.peer_closed()
            self.settle()

    def target_eof(self, _count: int) -> None:
        if self.target_open:
            self.target_open = False
            self.channel.socket_ended()
            self.settle()

    def target_reset(self, _count: int) -> None:
        self.target_open = False
        self.channel.socket_broken()
        self.settle()

    def wait(self, count: int) -> None:
        self.now += count / MIB


STEPS = ("peer_data", "deliver", "target_data", "peer_adjust", "peer_eof", "peer_close", "target_eof", "wait")
sizes = st.integers(min_value=0, max_value=300_000)


@given(st.lists(st.tuples(st.sampled_from((*STEPS, "target_reset")), sizes), max_size=60))
def test_any_order_of_events_keeps_every_rule(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order: windows hold, each control message once, nothing after CLOSE."""
    channel = new_channel()
    peer = Peer(channel)
    for name, count in steps:
        getattr(peer, name)(count)
        assert channel._flight.size == channel.in_flight >= 0
        assert channel.window + channel.undelivered <= max(channel.window_size, LARGEST_START)
    peer.peer_close(0)

    assert channel.over
    assert peer.wire.count(CLOSE) == 1


@given(st.lists(st.tuples(st.sampled_from(("peer_data", "deliver", "target_data", "peer_adjust", "wait")), sizes)))
def test_an_orderly_end_loses_no_byte(steps: list[tuple[str, int]]) -> None:
    """Both sides end with EOF: all that was sent either way was delivered, then EOF, then CLOSE."""
    channel = new_channel()
    peer = Peer(channel)
    for name, count in steps:
        getattr(peer, name)(count)
    peer.peer_eof(0)
    while channel.undelivered:
        peer.deliver(PACKET_SIZE)
    peer.target_eof(0)

    assert peer.sent_in == peer.accepted == peer.delivered
    assert peer.wire[-2:] == [EOF, CLOSE]


def test_half_close_leaves_the_other_way_open() -> None:
    """After the pipeline's EOF the database can still answer, and the other way round."""
    channel = new_channel()
    peer = Peer(channel)
    peer.peer_eof(0)
    peer.target_data(5000)
    peer.target_eof(0)

    assert peer.wire == [5000, EOF, CLOSE]

    channel = new_channel()
    peer = Peer(channel)
    peer.target_eof(0)
    peer.peer_data(700)
    peer.deliver(700)

    assert peer.wire == [EOF]
    assert peer.delivered == 700

    peer.peer_eof(0)

    assert peer.wire == [EOF, CLOSE]


def test_a_reset_target_closes_without_eof() -> None:
    """A stream that was cut must not look complete."""
    peer = Peer(new_channel())
    peer.target_data(10)
    peer.target_reset(0)

    assert peer.wire == [10, CLOSE]


def test_too_much_data_is_a_violation() -> None:
    channel = new_channel()
    channel.received(channel.window)

    with pytest.raises(ProtocolViolation, match="window is 0"):
        channel.received(1)


def test_a_window_cannot_overflow() -> None:
    channel = new_channel(peer_window=MAX_WINDOW)

    with pytest.raises(ProtocolViolation, match="overflows"):
        channel.peer_adjusted(1)


def fill_and_drain(channel: Channel, rounds: int, seconds: float, round_trip: float) -> None:
    now = 0.0
    for _ in range(rounds):
        now += seconds
        count = channel.window
        channel.received(count)
        channel.delivered(count, now, round_trip)


def test_a_window_grows_on_a_long_link_that_it_limits() -> None:
    """A whole window each round trip of 80 ms: the window is the limit, so it grows to what the budget has."""
    channel = new_channel()
    fill_and_drain(channel, 20, 0.08, 0.08)

    assert channel.window_size >= 16 * MIB


def test_a_window_stays_small_on_a_short_link() -> None:
    """The reader takes a tenth of the window a round trip: a larger one would only cost memory."""
    channel = new_channel()
    now = 0.0
    for _ in range(200):
        now += 0.001
        channel.received(channel.window_size // 10)
        channel.delivered(channel.window_size // 10, now, 0.001)

    assert channel.window_size == LARGEST_START


def test_windows_shrink_when_the_budget_runs_low() -> None:
    """A grown window gives back once others need it."""
    budget = WindowBudget(16 * MIB, 8)
    grown = Channel(0, 0, MIB, PACKET_SIZE, budget, BytesInFlight())
    fill_and_drain(grown, 20, 0.08, 0.08)
    before = grown.window_size
    others = [Channel(n, n, MIB, PACKET_SIZE, budget, BytesInFlight()) for n in range(1, 8)]
    now = 100.0
    for _ in range(20):
        now += 10
        count = grown.window
        grown.received(count)
        grown.delivered(count, now, 0.08)

    assert grown.window_size < before
    assert all(other.window_size >= SMALLEST_WINDOW for other in others)


@example(4, 1, [0, 1, 3, 1, 3, 2, 3])  # the last one comes when exactly nothing is free
@given(st.integers(1, 300), st.integers(1, 128), st.lists(st.integers(0, 5), max_size=80))
def test_windows_never_exceed_the_budget(most: int, mib: int, choices: list[int]) -> None:
    """However many come, grow and go, up to the most allowed."""
    budget = WindowBudget(mib * MIB, most)
    channels: list[Channel] = []
    for choice in choices:
        if choice == 0 and channels:
            channels.pop().release()
        elif choice in (1, 2) and channels:
            fill_and_drain(channels[-1], choice, 0.08, 0.08)
        elif len(channels) < most:
            channels.append(Channel(len(channels), 0, MIB, PACKET_SIZE, budget, BytesInFlight()))

        assert sum(channel.window_size for channel in channels) == budget.granted <= budget.total


def test_the_budget_is_whole_again_after_the_last_channel() -> None:
    budget = WindowBudget(64 * MIB, 256)
    channels = [Channel(n, n, MIB, PACKET_SIZE, budget, BytesInFlight()) for n in range(256)]
    for channel in channels:
        channel.release()

    assert (budget.granted, budget.users) == (0, 0)


def test_what_is_under_way_lands_with_adjusts_and_ends() -> None:
    """A bulk transfer's bytes stand in line until the jumphost gives them back, or the channel is over."""
    in_flight = BytesInFlight()
    budget = WindowBudget(64 * MIB, 256)
    one, two = (Channel(n, n, 8 * MIB, PACKET_SIZE, budget, in_flight) for n in range(2))
    one.sent(700_000)
    two.sent(600_000)

    assert in_flight.room < 0

    one.peer_adjusted(500_000)
    one.peer_adjusted(900_000)  # a peer whose window grows gives more than it took

    assert in_flight.size == 600_000

    two.release()

    assert in_flight.size == 0


def test_a_long_link_holds_more_and_a_slow_first_sample_does_not_count_for_ever() -> None:
    in_flight = BytesInFlight()
    in_flight.measured(0.080)

    assert in_flight.limit > 80_000_000

    in_flight.measured(0.000_2)

    assert in_flight.limit == MIN_IN_FLIGHT


class Waiting:
    """A bulk transfer that waits in the queue; `ended` once its socket is closed."""

    def __init__(self, channel: Channel | None = None) -> None:
        self.channel = channel
        self.resumed = 0

    def resume(self) -> bool:
        self.resumed += 1
        if self.channel is not None:
            self.channel.sent(BATCH)
        return self.channel is not None


def session_of(count: int) -> tuple[BytesInFlight, InFlightQueue, SimpleNamespace, list[Channel]]:
    in_flight, budget = BytesInFlight(), WindowBudget(64 * MIB, 256)
    clock = SimpleNamespace(now=0.0, next_timer=FOREVER)
    queue = InFlightQueue(in_flight, cast("Loop", clock), batch=BATCH)
    return in_flight, queue, clock, [Channel(n, n, 8 * MIB, PACKET_SIZE, budget, in_flight) for n in range(count)]


def test_after_a_stall_no_more_is_in_flight_than_before_it() -> None:
    """The peer stops for a while and goes on: the answers to what was sent before the stall make no room twice."""
    in_flight, queue, clock, (channel,) = session_of(1)
    channel.sent(MIB + 1)
    transfers = [Waiting(channel) for _ in range(16)]
    for transfer in transfers:
        queue.wait(transfer)

    clock.now = queue.expire(clock.now)
    queue.expire(clock.now)

    assert sum(transfer.resumed for transfer in transfers) == MIN_IN_FLIGHT // BATCH  # not the whole queue at once
    assert in_flight.size == MIN_IN_FLIGHT

    channel.peer_adjusted(MIB + 1)  # what came before the stall
    queue.acknowledged()

    assert in_flight.size == MIN_IN_FLIGHT
    assert in_flight.limit == MIN_IN_FLIGHT

    channel.peer_adjusted(MIN_IN_FLIGHT)
    queue.acknowledged()

    assert in_flight.size == MIN_IN_FLIGHT
    assert sum(transfer.resumed for transfer in transfers) == 2 * MIN_IN_FLIGHT // BATCH


def test_what_idle_channels_never_give_back_holds_nobody_for_long() -> None:
    """OpenSSH returns an idle channel's window with its next data only: 64 pooled connections keep 5.5 MiB."""
    in_flight, queue, clock, (busy, *idle) = session_of(65)
    for channel in idle:
        channel.sent(88 * 1024)
    transfer = Waiting(busy)
    queue.wait(transfer)
    clock.now = queue.expire(clock.now)
    queue.expire(clock.now)

    assert transfer.resumed == 1
    assert in_flight.size == BATCH

    for channel in idle:
        channel.sent(1)
        channel.peer_adjusted(88 * 1024 + 1)
        channel.release()
    busy.peer_adjusted(BATCH)
    busy.release()

    assert in_flight.size == 0


def test_a_transfer_that_has_ended_takes_nobody_elses_turn() -> None:
    _, queue, _, (channel,) = session_of(1)
    channel.sent(MIB + 1)
    ended, waiting = [Waiting() for _ in range(8)], Waiting(channel)
    for transfer in (*ended, waiting):
        queue.wait(transfer)
    channel.peer_adjusted(2 * BATCH)
    queue.acknowledged()

    assert waiting.resumed == 1
