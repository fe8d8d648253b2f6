"""Ctrl-C, TERM and a closed terminal, all as KeyboardInterrupt, and none of them at a bad moment."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

    from typing_extensions import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """A context manager in which the first of these signals raises KeyboardInterrupt; those after it do nothing.

    So whoever presses Ctrl-C twice interrupts the work, and not the tidying up. A signal that was ignored before
    (nohup) stays so. Outside the main thread, where no signal arrives, all this does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, object] = {}
        self._shields = 0
        self._pending = False
        self._raised = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: set by somebody outside Python
                    self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, action in self._before.items():
            signal.signal(number, action)  # type: ignore[arg-type]  # what signal.signal returned

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Let a signal that arrives in this block raise only after it, unless another exception leaves it."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._pending and not self._shields:
            self._interrupt()

    @contextlib.contextmanager
    def let_in(self) -> Iterator[None]:
        """Let signals in again for this block, inside `held_back`; one that waited raises at once."""
        shields, self._shields = self._shields, 0
        try:
            if self._pending:
                self._interrupt()
            yield
        finally:
            self._shields = shields

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        if self._shields:
            self._pending = True
        else:
            self._interrupt()

    def _interrupt(self) -> None:
        if not self._raised:
            self._raised = True
            raise KeyboardInterrupt
