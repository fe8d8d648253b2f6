"""Reads a TOML document key by key and collects every fault in it.

Pure. A check takes a value of any type and returns the validated value, or raises ValueError with what is expected;
`Table.take` records that as a fault with the key's path and returns the default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ioconnect.config.addresses import quoted
from ioconnect.errors import ConfigFault
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
D = TypeVar("D")

MAX_COMPARED_KEYS = 20  # unknown keys of a table for which the nearest name is looked for: 0.4 ms each
MAX_COMPARED_LENGTH = 64
_NAMES: dict[type, str] = {dict: "a table", list: "an array"}


@dataclass(slots=True)
class Table:
    """One table of a document; `path` is "" for the root table, `faults` is shared by all tables."""

    path: str
    values: Mapping[str, object]
    faults: list[ConfigFault]
    _known: set[str] = field(default_factory=set)

    def take(self, key: str, check: Callable[[object], T], default: D) -> T | D:
        """Return the checked value of `key`, or `default` if it is missing or invalid (which is a fault)."""
        self._known.add(key)
        if key not in self.values:
            return default
        try:
            return check(self.values[key])
        except ValueError as error:
            self.fault(key, str(error))
            return default

    def require(self, key: str, check: Callable[[object], T], meaning: str) -> T | None:
        """Return the checked value of `key`; a missing key is a fault, whose message contains `meaning`."""
        if key not in self.values:
            self.fault(key, f"missing; it is {meaning}")
        return self.take(key, check, None)

    def table(self, key: str) -> Table:
        """Return the table at `key`; an empty one if it is missing or not a table, which is a fault."""
        return Table(self._path_of(key), self.take(key, table, {}), self.faults)

    def fault(self, key: str, message: str) -> None:
        """Record a fault of `key`."""
        self.faults.append(ConfigFault(self._path_of(key), message))

    def reject_unknown_keys(self) -> None:
        """Record a fault for every key that was not read, with the nearest known name for the first of them."""
        names = sorted(self._known)
        unknown = [key for key in self.values if key not in self._known]
        for number, key in enumerate(unknown):
            is_compared = number < MAX_COMPARED_KEYS and len(key) <= MAX_COMPARED_LENGTH
            meant = nearest(key, names) if is_compared else None
            self.fault(key, f"unknown key; did you mean {meant}?" if meant else "unknown key")

    def _path_of(self, key: str) -> str:
        key = escaped(key, limit=80)
        return f"{self.path}.{key}" if self.path else key


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word that a misspelt one comes closest to, if any is close."""
    import difflib  # noqa: PLC0415  for a mistake only

    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def table(value: object) -> dict[str, object]:
    """Require a table. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {shown(value)}")  # noqa: TRY004  one type for every refusal
    return value


def text(value: object) -> str:
    """Require a string. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, not {shown(value)}")  # noqa: TRY004  as above
    return value


def boolean(value: object) -> bool:
    """Require true or false. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {shown(value)}")  # noqa: TRY004  as above
    return value


def integer(low: int, high: int) -> Callable[[object], int]:
    """Return a check for an integer from `low` to `high`, not a boolean."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {shown(value)}")
        return value

    return check


def seconds(low: float, high: float) -> Callable[[object], float]:
    """Return a check for a number of seconds from `low` to `high`, neither a boolean nor NaN."""

    def check(value: object) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # type: ignore[operator]  # mypy does not narrow by is_number
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}, not {shown(value)}")
        return float(value)  # type: ignore[arg-type]

    return check


def shown(value: object) -> str:
    """Return a value for a message, written as in TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case int() if value.bit_length() > 64:  # noqa: PLR2004  Python refuses to print what has 4300 digits
            return "a number far too large"
        case int() | float():
            return escaped(repr(value), limit=40)
        case _:
            return _NAMES.get(type(value), f"a {type(value).__name__}")
