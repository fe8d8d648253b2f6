"""Reads values from parsed JSON of untrusted origin: each is type-checked, each fault names its key path.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

MAX_COUNT = (1 << 64) - 1  # of 64 bits; Python's own may have no text, and no number of seconds
MAX_PID = (1 << 31) - 1  # pid_t
MAX_PORT = 65535
MAX_MEASURE = 1e12
_T = TypeVar("_T")
_E = TypeVar("_E", bound=Enum)


class Malformed(ValueError):
    """A value is missing or of the wrong type; the message names the key path and the expected type."""


class Fields:
    """A JSON object; `path` is its key path ("" for the outermost). Unknown keys are ignored."""

    def __init__(self, document: object, path: str = "") -> None:
        if not isinstance(document, Mapping):
            raise Malformed(f"{path or 'the document'} is not an object")
        self._values = document
        self._path = path

    def optional(self, name: str, *kinds: type[_T]) -> _T | None:
        """Return the value, of one of these types, or None if it is null or missing. Raises Malformed."""
        value = self._values.get(name)
        is_unwanted_bool = isinstance(value, bool) and bool not in kinds  # Python's bool is an int
        if value is None:
            return None
        if is_unwanted_bool or not isinstance(value, kinds):
            raise Malformed(f"{self.path_of(name)} is not {' or '.join(kind.__name__ for kind in kinds)}")
        return value

    def required(self, name: str, *kinds: type[_T]) -> _T:
        """Return the value, of one of these types. Raises Malformed, also if it is null or missing."""
        value = self.optional(name, *kinds)
        if value is None:
            raise Malformed(f"{self.path_of(name)} is missing")
        return value

    def natural(self, name: str, most: int = MAX_COUNT) -> int | None:
        """Return the integer from 0 to `most`, None if it is null or missing. Raises Malformed."""
        value = self.optional(name, int)
        if value is not None and not 0 <= value <= most:
            raise Malformed(f"{self.path_of(name)} is {'negative' if value < 0 else 'too large'}")
        return value

    def count(self, name: str) -> int:
        """Return the non-negative integer, 0 if it is missing. Raises Malformed."""
        return self.natural(name) or 0

    def measure(self, name: str) -> float | None:
        """Return the non-negative number, None if it is null or missing. Raises Malformed, also for NaN."""
        value = self.optional(name, float, int)
        if value is not None and not 0 <= value <= MAX_MEASURE:
            raise Malformed(f"{self.path_of(name)} is out of range")
        return value

    def texts(self, name: str, *, optional: bool = False) -> list[str]:
        """Return the texts of the list at this key; none if it is `optional` and missing. Raises Malformed."""
        elements = (self.optional(name, list) or []) if optional else self.required(name, list)
        if not all(isinstance(element, str) for element in elements):
            raise Malformed(f"{self.path_of(name)} is not a list of texts")
        return elements

    def choice(self, name: str, kind: type[_E]) -> _E:
        """Return the member of `kind` that has this value. Raises Malformed."""
        try:
            return kind(self.required(name, str))
        except ValueError:
            known = ", ".join(str(member.value) for member in kind)
            raise Malformed(f"{self.path_of(name)} is not one of {known}") from None

    def inner(self, name: str) -> Fields:
        """Return the object at this key; an empty one if it is missing. Raises Malformed."""
        return Fields(self._values.get(name, {}), self.path_of(name))

    def each(self, name: str, *, optional: bool = False) -> list[Fields]:
        """Return the objects of the list at this key; none if it is `optional` and missing. Raises Malformed."""
        elements = (self.optional(name, list) or []) if optional else self.required(name, list)
        return [Fields(element, f"{self.path_of(name)}[{index}]") for index, element in enumerate(elements)]

    def path_of(self, name: str) -> str:
        """Return the key path of `name` in this object."""
        return f"{self._path}.{name}" if self._path else name
