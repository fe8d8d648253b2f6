"""SIGINT, SIGTERM and SIGHUP as one KeyboardInterrupt, which a block of code can defer; a wait that none escapes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from typing_extensions import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.01  # seconds until a signal comes again: by then the finalizer is over


class Interruptions:
    """A context manager in which the first of these signals raises KeyboardInterrupt; later ones do nothing.

    So a second Ctrl-C does not interrupt the cleanup. A signal that was ignored before (nohup) stays ignored. Outside
    the main thread, which no signal reaches, it does nothing.

    Python discards what is raised in a finalizer or in a callback of a weak reference, as each import has one
    (sys.unraisablehook): then the signal comes again.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, object] = {}
        self._deferring = 0
        self._pending = False
        self._raised = False
        self._again: threading.Timer | None = None
        self._hook = sys.unraisablehook

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set from Python
                    self._before[number] = signal.signal(number, self._on_signal)
        if self._before:
            self._hook, sys.unraisablehook = sys.unraisablehook, self._on_discarded
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            sys.unraisablehook = self._hook
        for number, action in self._before.items():
            signal.signal(number, action)  # type: ignore[arg-type]  # what signal.signal returned
        if self._again is not None:
            self._again.cancel()
            if not self._raised:  # it did not come again yet
                raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer a signal in this block to its end, unless another exception leaves the block."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1
        if self._pending and not self._deferring:
            self._interrupt()

    @contextlib.contextmanager
    def delivered(self) -> Iterator[None]:
        """Deliver signals in this block, inside `deferred`; one that was deferred raises at once."""
        deferring, self._deferring = self._deferring, 0
        try:
            if self._pending:
                self._interrupt()
            yield
        finally:
            self._deferring = deferring

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._deferring:
            self._pending = True
        else:
            self._interrupt()

    def _on_discarded(self, discarded: sys.UnraisableHookArgs) -> None:
        if discarded.exc_type is not KeyboardInterrupt or threading.current_thread() is not threading.main_thread():
            self._hook(discarded)
            return
        number = next(iter(self._before))
        self._again = threading.Timer(AGAIN, signal.pthread_kill, (threading.main_thread().ident, number))
        self._again.daemon = True
        self._again.start()
        self._raised = False  # at last: until here a further signal does nothing

    def _interrupt(self) -> None:
        if not self._raised:
            self._raised = True
            raise KeyboardInterrupt


def wait_readable(descriptor: int) -> None:
    """Block until the descriptor can be read; a signal interrupts the wait however shortly before it came.

    CPython's C handler only sets a flag, and the Python handler runs at the next bytecode (signal, "Execution of
    Python signal handlers"): read(2) blocks although the signal came just before it. The C handler also writes to the
    wakeup descriptor, here a pipe that select(2) watches. Main thread only.
    """
    with contextlib.ExitStack() as undo:
        reading, writing = os.pipe()
        for end in (reading, writing):
            undo.callback(os.close, end)
            os.set_blocking(end, False)
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        while descriptor not in select.select([descriptor, reading], [], [])[0]:
            os.read(reading, select.PIPE_BUF)  # the handler of this signal raised nothing
