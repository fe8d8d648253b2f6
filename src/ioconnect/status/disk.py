"""A deadline for what a disk is asked: one that hangs, as that of a server that is away, holds up nobody for ever."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

TIMEOUT = 1.0  # seconds; a disk that is well answers within milliseconds
HINT = (
    "Look at that disk, or at the server of a network file system; if this machine is very busy, try again. "
    "The tunnels of an agent that runs go on."
)

_hanging: dict[Path, threading.Thread] = {}  # by folder, what was not done in time


class DiskHangs(OSError):
    """The disk did not answer in time."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ETIMEDOUT, f"its disk does not answer within {TIMEOUT:g} s", str(path))


def within_timeout(path: Path, call: Callable[[], T]) -> T:
    """Return what `call`, which uses the file `path`, returns; raise what it raises.

    Raises DiskHangs after TIMEOUT seconds, and at once while an earlier call for this folder hangs. The call is made
    on a daemon thread, which outlives that; on this one if no thread can be started.
    """
    earlier = _hanging.get(path.parent)
    if earlier is not None and earlier.is_alive():
        raise DiskHangs(path)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  raised again below
            errors.append(error)

    thread = threading.Thread(target=run, name="disk", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # "can't start new thread"
        return call()
    thread.join(TIMEOUT)
    if not results and not errors:
        _hanging[path.parent] = thread
        raise DiskHangs(path)
    if errors:
        raise errors[0]
    return results[0]
