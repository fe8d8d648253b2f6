"""How the tests share this machine (a pytest plugin): which run side by side, which alone, and which only if asked.

By default pytest-xdist starts a worker process a core and two more, as most of a test is waiting. It hands out
whole files: tests of one file may share a fixture, and things of this machine such as the list of its processes.
`alone` marks a test that others would disturb: one that measures a time near its limit, or counts wake-ups. Meanwhile
no other test of the same run goes on; such tests come first, before others are in progress. `long` marks a test that
waits for more than ten seconds of real time: only `--all` runs it, or naming its file.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Iterator


FOLDERS = ("soak", "interop", "chaos", "e2e", "unit")  # by how long their files take


class Turns:
    """A lock that a run's workers share: many tests at a time, or a single one that is `alone`."""

    def __init__(self, run: str) -> None:
        self.paths = [Path(tempfile.gettempdir(), f"ioconnect-{run}-{name}") for name in ("gate", "turn")]
        self._gate, self._turn = (os.open(path, os.O_CREAT | os.O_RDWR, 0o600) for path in self.paths)
        self._alone = False

    def take(self, *, alone: bool) -> None:
        """Wait until this test may run. Who waits to be alone holds the gate, so that nobody new comes in before."""
        if self._alone:
            return
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        fcntl.flock(self._gate, how)
        fcntl.flock(self._turn, how)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._alone = alone

    def give(self) -> None:
        """Let others run."""
        fcntl.flock(self._turn, fcntl.LOCK_UN)
        self._alone = False

    def close(self) -> None:
        """Forget the lock; whichever process comes first removes its files."""
        for descriptor in (self._gate, self._turn):
            os.close(descriptor)
        for path in self.paths:
            path.unlink(missing_ok=True)


_TURNS = pytest.StashKey[Turns]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all` and `--seconds`."""
    parser.addoption("--all", action="store_true", help="run the long tests, too")
    parser.addoption("--seconds", type=float, default=60.0, help="of a soak test (default: 60)")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many workers `-n auto` starts: none where files are named, whose tests would only wait for them."""
    return 0 if _files_are_named(config) else (os.cpu_count() or 1) + 2


def pytest_configure(config: pytest.Config) -> None:
    """Open the lock, in a worker."""
    if hasattr(config, "workerinput"):
        config.stash[_TURNS] = turns = Turns(os.environ[processes.MARK].partition(".")[0])
        config.add_cleanup(turns.close)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out long tests, and put the others in order.

    First the files with a test that is to be alone, which begins: later it would wait until the tests of every other
    worker have ended. Then the folders whose files take longest, so that what is short fills the gaps.
    """
    if not (config.getoption("--all") or _files_are_named(config)):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    begin = {item.path for item in items if _is_alone(item)}
    files = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (item.path not in begin, _rank(item), files[item.path], not _is_alone(item)))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # waiting is no part of the time that pytest-timeout measures
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Run a test when it is its turn; of several in a row that are to be alone, none lets others in between."""
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    turns.take(alone=_is_alone(item))
    try:
        return (yield)
    finally:
        if not (nextitem and _is_alone(item) and _is_alone(nextitem)):
            turns.give()


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, folder in enumerate(FOLDERS) if item.nodeid.startswith(f"tests/{folder}/")), 0)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _files_are_named(config: pytest.Config) -> bool:
    return all(argument.partition("::")[0].endswith(".py") for argument in config.args)
