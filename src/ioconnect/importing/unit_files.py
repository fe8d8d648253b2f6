"""What a systemd service starts: its ExecStart= lines with their environment, drop-ins included (systemd.service(5)).

Pure.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SUFFIX = ".service"
_SPECIFIER = re.compile(r"%([hun])")
_SETTING = re.compile(r"([A-Za-z]+)\s*=\s*(.*)")
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME = 64


@dataclass(slots=True)
class Service:
    """`starts` holds what may be given to `pasted`; `environ` is that of the account which runs it."""

    starts: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)


def read(
    texts: Sequence[str], *, unit: str, manager: Mapping[str, str], home_of: Callable[[str], str | None]
) -> Service:
    """Read a unit file and, after it, its drop-ins.

    `manager` has HOME and USER of the systemd that runs it, which is what its specifiers mean; `~` and `$HOME` are
    those of `User=`.
    """
    starts: list[str] = []
    assigned: list[str] = []
    account = ""
    for name, value in (setting for text in texts for setting in _settings(text)):
        if name == "ExecStart":
            starts = [*starts, value] if value else []
        elif name == "Environment":
            assigned = [*assigned, value] if value else []
        elif name == "User":
            account = value
    own = {"USER": account} | ({"HOME": home} if account and (home := home_of(account)) else {})
    environ = {**manager, **(own if account else {}), **dict(_assignments(assigned))}
    return Service([f"ExecStart={_specified(start, unit, manager)}" for start in starts], environ)


def is_template(unit: str) -> bool:
    """Say whether this is the file of units that differ by what stands after the @."""
    return unit.endswith("@" + SUFFIX)


def tunnel_name(unit: str) -> str:
    """Return the name of a tunnel after its unit's; "" if nothing of it can be in a name."""
    return _UNUSUAL.sub("-", unit.removesuffix(SUFFIX)).strip("-.")[:_LONGEST_NAME]


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of [Service], continued lines joined, comments between them left out (systemd.syntax(7))."""
    section = "Service" if not re.search(r"^\s*\[", text, re.MULTILINE) else ""
    continued = ""
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped.startswith(("#", ";")):
            continue
        if stripped.endswith("\\"):
            continued += stripped[:-1] + " "
            continue
        whole, continued = continued + stripped, ""
        if whole.startswith("["):
            section = whole.strip("[]")
        elif section == "Service" and (setting := _SETTING.fullmatch(whole)):
            yield setting[1], setting[2].strip()


def _assignments(values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        try:
            words = shlex.split(value)
        except ValueError:  # a quote is not closed; systemd ignores such a setting, too
            continue
        for word in words:
            name, equals, content = word.partition("=")
            if equals:
                yield name, content


def _specified(start: str, unit: str, manager: Mapping[str, str]) -> str:
    known = {"h": manager.get("HOME"), "u": manager.get("USER"), "n": unit}
    return _SPECIFIER.sub(lambda found: known[found[1]] or found[0], start)
