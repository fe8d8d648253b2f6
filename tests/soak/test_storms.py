"""The storms of tests/interop/test_data_path.py, long enough for a small leak to show; some minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.interop.conftest import customer, make_customer, set_up
from tests.rigs import storms
from tests.rigs.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer

__all__ = ["customer", "make_customer", "set_up"]

STORM = 30.0  # seconds
CONNECTIONS = 100_000


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_long_cancel_storm(customer: Customer, set_up: Callable[..., int], figure: Callable[[str], None]) -> None:
    """Sixteen readers at a time take a little and reset, beside long transfers whose bytes are all there."""
    with Database() as target:
        port = set_up(target.port)
        customer.run("up", "--daemon")

        count = storms.cancel_storm(customer, port, seconds=STORM)
    figure(f"{count} cancelled transfers in {STORM:.0f} s: no byte of the others lost, nothing left")
    assert count > 1000


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_100_000_connections_one_after_another(
    customer: Customer, set_up: Callable[..., int], figure: Callable[[str], None]
) -> None:
    """Memory, descriptors and threads are what they were after the first few."""
    with storms.answering() as answering:
        port = set_up(answering)
        customer.run("up", "--daemon")

        grown = storms.one_after_another(customer, port, count=CONNECTIONS)
    figure(f"{CONNECTIONS} connections one after another: {grown / 1024:+.0f} KiB resident")
