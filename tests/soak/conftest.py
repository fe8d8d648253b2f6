"""How long the soak takes; read only when a file of this folder is named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--seconds`."""
    parser.addoption("--seconds", type=float, default=600.0, help="how long faults and load go on (default: 600)")


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long faults and load go on."""
    value: float = request.config.getoption("--seconds")
    return value


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that notes a measured figure for the terminal."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured."""
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)
