"""Remembers what the system says of accounts and mounts while one set of files is judged.

A virtual environment has thousands of files of one group. Nothing is remembered beyond the block: an agent runs for
months, and accounts change meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_P = ParamSpec("_P")
_T = TypeVar("_T")
_results: ContextVar[dict[object, object] | None] = ContextVar("_results", default=None)


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Call the functions marked `once` at most once in this block, and in this thread, for the same arguments."""
    token = _results.set({})
    try:
        yield
    finally:
        _results.reset(token)


def once(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Have a function of hashable positional arguments return what it did before in the block of `remembering`."""

    @functools.wraps(function)
    def looked_up(*arguments: _P.args, **options: _P.kwargs) -> _T:
        results = _results.get()
        if results is None:
            return function(*arguments, **options)
        key = (function, arguments)
        if key not in results:
            results[key] = function(*arguments, **options)
        return cast("_T", results[key])

    return looked_up
