"""Parses the ExecStart= commands of a systemd service and their environment, with drop-ins (systemd.service(5)).

Pure.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioconnect.config import shell_words, text_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SUFFIX = ".service"
_SPECIFIER = re.compile(r"%([hun])")
_SETTING = re.compile(r"([A-Za-z]+)\s*=\s*(.*)")
_INVALID_IN_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_NAME = 64


@dataclass(slots=True)
class ServiceUnit:
    """A service's `commands`, as `pasted` parses them, and the environment of the account that runs them."""

    commands: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)


def read(
    texts: Sequence[str], *, unit: str, manager: Mapping[str, str], home_of: Callable[[str], str | None]
) -> ServiceUnit:
    """Parse a unit file and, after it, its drop-ins.

    `manager` has HOME and USER of the systemd instance that runs it, the values of its specifiers; `~` and `$HOME`
    are those of `User=`. Raises UsageFault for a file that exceeds a limit (`text_limits`).
    """
    commands: list[str] = []
    assigned: list[str] = []
    account = ""
    for name, value in (setting for text in texts for setting in _settings(text)):
        if name == "ExecStart":
            _add(commands, value)
        elif name == "Environment":
            _add(assigned, value)
        elif name == "User":
            account = value
    own = {"USER": account} | ({"HOME": home} if account and (home := home_of(account)) else {})
    environ = {**manager, **(own if account else {}), **dict(_assignments(assigned))}
    return ServiceUnit([f"ExecStart={_expand_specifiers(start, unit, manager)}" for start in commands], environ)


def _add(values: list[str], value: str) -> None:
    """Append a setting's value; an empty one resets the list (systemd.service(5))."""
    if value:
        values.append(value)
    else:
        values.clear()


def is_template(unit: str) -> bool:
    """Say whether this is a template unit, whose instances are named after the @ (systemd.unit(5))."""
    return unit.endswith("@" + SUFFIX)


def as_argument(unit: str) -> str:
    """Return the unit's name as part of a shell command line: its file may be named like an option."""
    quoted = shlex.quote(unit)
    return f"-- {quoted}" if unit.startswith("-") else quoted


def tunnel_name(unit: str) -> str:
    """Return a tunnel name made of the unit's name; "" if none of its characters are valid."""
    return _INVALID_IN_NAME.sub("-", unit.removesuffix(SUFFIX)).strip("-.")[:_MAX_NAME]


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of [Service], with continued lines joined, without comments (systemd.syntax(7))."""
    lines = text_limits.lines(text)
    section = "" if any(line.lstrip().startswith("[") for line in lines) else "Service"
    continued: list[str] = []
    for line in lines:
        stripped = line.strip()
        if stripped.startswith(("#", ";")):
            continue
        if stripped.endswith("\\"):
            continued.append(stripped[:-1])
            continue
        joined = text_limits.check_line(" ".join([*continued, stripped]))
        continued.clear()
        if joined.startswith("["):
            section = joined.strip("[]")
        elif section == "Service" and (setting := _SETTING.fullmatch(joined)):
            yield setting[1], setting[2].strip()


def _assignments(values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        try:
            words = shell_words.words(value)
        except ValueError:  # a quote is not closed; systemd ignores such a setting, too
            continue
        for word in words:
            name, equals, content = word.partition("=")
            if equals:
                yield name, content


def _expand_specifiers(start: str, unit: str, manager: Mapping[str, str]) -> str:
    known = {"h": manager.get("HOME"), "u": manager.get("USER"), "n": unit}
    return _SPECIFIER.sub(lambda found: known[found[1]] or found[0], start)
