"""Parses a crontab's jobs with the environment of each, and disables some of them (crontab(5)).

Pure. A disabled line gets a mark in front; every other byte is preserved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config import text_limits
from ioconnect.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

MARK = b"# disabled by ioconnect import: "
_ASSIGNMENT = re.compile(r"""(?:"([^"]+)"|'([^']+)'|([A-Za-z_]\w*))\s*=\s*(.*)""")
_SYSTEM_JOB = re.compile(r"(?:@\w+|(?:\S+\s+){4}\S+)\s+(\S+)\s")


@dataclass(frozen=True, slots=True)
class Job:
    """One job: `raw` is its line without the newline, `text` the same decoded, `environ` the command's."""

    raw: bytes
    text: str
    environ: Mapping[str, str]


def jobs(
    content: bytes, environ: Mapping[str, str], *, home_of: Callable[[str], str | None] | None = None
) -> Iterator[Job]:
    """Yield the jobs; with `home_of` those of a system crontab, which have an account after the time fields.

    `environ` is cron's own environment, which the crontab's assignments extend. Raises UsageFault for a crontab that
    exceeds a limit (`text_limits`).
    """
    assigned: dict[str, str] = {}
    text_limits.lines(content.decode("latin-1"))
    for raw in (line.removesuffix(b"\n") for line in _split_lines(content)):
        text = raw.decode("utf-8", "backslashreplace").strip()
        if not text or text.startswith("#"):
            continue
        assignment = _ASSIGNMENT.fullmatch(text)
        if assignment:
            assigned[assignment[1] or assignment[2] or assignment[3]] = _unquoted(assignment[4])
            if len(assigned) > text_limits.MAX_VARIABLES:
                raise UsageFault(
                    f"the crontab has more than {text_limits.MAX_VARIABLES} variables",
                    hint=text_limits.HINT,
                )
            continue
        base = environ if home_of is None else _account_environ(text, home_of)
        yield Job(raw, text, {**base, **assigned})


def disable(content: bytes, lines: Collection[bytes]) -> bytes:
    """Return the crontab with the mark in front of each of these lines, also of repeated ones."""
    wanted = frozenset(lines)
    return b"".join(MARK + line if line.removesuffix(b"\n") in wanted else line for line in _split_lines(content))


def count_disabled(content: bytes) -> int:
    """Return the number of disabled lines."""
    return sum(line.startswith(MARK) for line in _split_lines(content))


def _split_lines(content: bytes) -> list[bytes]:
    """Split at newlines only, as cron does, and keep them."""
    return [line for line in re.split(rb"(?<=\n)", content) if line]


def _account_environ(text: str, home_of: Callable[[str], str | None]) -> dict[str, str]:
    job = _SYSTEM_JOB.match(text)
    account = job[1] if job else ""
    home = home_of(account) if account else None
    return {"USER": account, "LOGNAME": account} | ({"HOME": home} if home else {})


def _unquoted(value: str) -> str:
    value = value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
