"""Reading a TOML document key by key, so that everything wrong with it is told at once.

Pure. A check takes a value of any type and returns it as it will be used, or raises ValueError with what it must
be; `Table.take` turns that into a fault with the key's path and goes on with the default.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ioconnect.config.addresses import quoted
from ioconnect.errors import ConfigFault
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
D = TypeVar("D")

_NAMES: dict[type, str] = {dict: "a table", list: "an array"}


@dataclass(slots=True)
class Table:
    """One table of a document; `path` is "" for the document itself, `faults` is shared by all its tables."""

    path: str
    values: Mapping[str, object]
    faults: list[ConfigFault]
    _known: set[str] = field(default_factory=set)

    def take(self, key: str, check: Callable[[object], T], default: D) -> T | D:
        """Return the checked value of `key`, or `default` if it is not there or not good (which is a fault)."""
        self._known.add(key)
        if key not in self.values:
            return default
        try:
            return check(self.values[key])
        except ValueError as error:
            self.fault(key, str(error))
            return default

    def require(self, key: str, check: Callable[[object], T], meaning: str) -> T | None:
        """Return the checked value of `key`; that it is missing is a fault, which says what it means."""
        if key not in self.values:
            self.fault(key, f"missing; it is {meaning}")
        return self.take(key, check, None)

    def table(self, key: str) -> Table:
        """Return the table under `key`, an empty one if it is not there or not a table (which is a fault)."""
        return Table(self._inside(key), self.take(key, table, {}), self.faults)

    def fault(self, key: str, message: str) -> None:
        """Note that something is wrong with `key`."""
        self.faults.append(ConfigFault(self._inside(key), message))

    def refuse_unknown(self) -> None:
        """Note every key that nobody asked for, with the nearest name that somebody did."""
        for key in self.values:
            if key not in self._known:
                nearest = difflib.get_close_matches(key, sorted(self._known), n=1)
                self.fault(key, f"unknown key; did you mean {nearest[0]}?" if nearest else "unknown key")

    def _inside(self, key: str) -> str:
        key = escaped(key, limit=80)
        return f"{self.path}.{key}" if self.path else key


def table(value: object) -> dict[str, object]:
    """Check for a table."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {shown(value)}")  # noqa: TRY004  one type for every refusal
    return value


def text(value: object) -> str:
    """Check for a string."""
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes, not {shown(value)}")  # noqa: TRY004  as above
    return value


def integer(low: int, high: int) -> Callable[[object], int]:
    """Return a check for a whole number from `low` to `high`; a boolean is none."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {shown(value)}")
        return value

    return check


def seconds(low: float, high: float) -> Callable[[object], float]:
    """Return a check for a number from `low` to `high`; neither a boolean nor `nan` is one."""

    def check(value: object) -> float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= high:  # type: ignore[operator]  # number says that it has an order
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}, not {shown(value)}")
        return float(value)  # type: ignore[arg-type]

    return check


def shown(value: object) -> str:
    """Return a value as a message names it, in TOML's words."""
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
