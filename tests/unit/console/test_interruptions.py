"""A signal interrupts whatever Python does at that moment, also where it discards what is raised."""

from __future__ import annotations

import os
import signal
import sys
import weakref
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

from ioconnect.console.interruptions import Interruptions

if TYPE_CHECKING:
    from collections.abc import Callable


def press_ctrl_c(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Finalized:
    def __del__(self) -> None:
        press_ctrl_c()


class Plain:
    pass


def free_with_callback() -> None:
    """As each import does: importlib has a callback of a weak reference to the module's lock."""
    freed = Plain()
    _reference = weakref.ref(freed, press_ctrl_c)
    del freed


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What Python tells of that it discarded."""
    found: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", found.append)
    return found


@pytest.mark.parametrize("lose", [Finalized, free_with_callback])
def test_one_that_python_discards_comes_again(lose: Callable[[], object], told: list[object]) -> None:
    def wait_on() -> None:
        with Interruptions():
            lose()
            processes.wait_until(lambda: False, deadline=5, what="the signal comes again")

    with pytest.raises(KeyboardInterrupt):
        wait_on()

    assert told == []


def test_one_that_is_discarded_at_the_end_is_not_lost(told: list[object]) -> None:
    with pytest.raises(KeyboardInterrupt), Interruptions():
        Finalized()

    assert told == []


@pytest.mark.usefixtures("told")
def test_all_is_as_before() -> None:
    hook, action = sys.unraisablehook, signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), Interruptions():
        Finalized()

    assert (sys.unraisablehook, signal.getsignal(signal.SIGINT)) == (hook, action)


def test_what_else_python_discards_is_told(told: list[object]) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError

    with Interruptions():
        Broken()

    assert len(told) == 1
