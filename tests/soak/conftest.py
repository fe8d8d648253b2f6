"""How long the soak takes."""

from __future__ import annotations

import pytest


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long faults and load go on."""
    value: float = request.config.getoption("--seconds")
    return value
