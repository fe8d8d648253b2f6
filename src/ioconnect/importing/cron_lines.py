"""A crontab's jobs with the environment that each gets, and the same crontab with some of them disabled (crontab(5)).

Pure. Disabling puts a mark in front of a line; every other byte stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

MARK = b"# disabled by ioconnect import: "
_ASSIGNMENT = re.compile(r"""(?:"([^"]+)"|'([^']+)'|([A-Za-z_]\w*))\s*=\s*(.*)""")
_SYSTEM_JOB = re.compile(r"(?:@\w+|(?:\S+\s+){4}\S+)\s+(\S+)\s")


@dataclass(frozen=True, slots=True)
class Job:
    """One line that cron runs: `raw` as it stands without its end, and what is set where it runs."""

    raw: bytes
    text: str
    environ: Mapping[str, str]


def jobs(
    table: bytes, environ: Mapping[str, str], *, home_of: Callable[[str], str | None] | None = None
) -> Iterator[Job]:
    """Yield the jobs; with `home_of` those of a system crontab, which name the account after the times.

    `environ` is what cron starts with, the crontab's own assignments come on top of it.
    """
    assigned: dict[str, str] = {}
    for raw in (whole.removesuffix(b"\n") for whole in _whole_lines(table)):
        text = raw.decode("utf-8", "backslashreplace").strip()
        if not text or text.startswith("#"):
            continue
        assignment = _ASSIGNMENT.fullmatch(text)
        if assignment:
            assigned[assignment[1] or assignment[2] or assignment[3]] = _unquoted(assignment[4])
            continue
        base = environ if home_of is None else _of_account(text, home_of)
        yield Job(raw, text, {**base, **assigned})


def disabled(table: bytes, lines: Collection[bytes]) -> bytes:
    """Return the crontab with the mark in front of each of these lines, as often as it stands there."""
    return b"".join(MARK + whole if whole.removesuffix(b"\n") in lines else whole for whole in _whole_lines(table))


def count_disabled(table: bytes) -> int:
    """Return how many lines have been disabled."""
    return sum(whole.startswith(MARK) for whole in _whole_lines(table))


def _whole_lines(table: bytes) -> list[bytes]:
    """Split where cron does, at newlines only, and keep them."""
    return [whole for whole in re.split(rb"(?<=\n)", table) if whole]


def _of_account(text: str, home_of: Callable[[str], str | None]) -> dict[str, str]:
    job = _SYSTEM_JOB.match(text)
    account = job[1] if job else ""
    home = home_of(account) if account else None
    return {"USER": account, "LOGNAME": account} | ({"HOME": home} if home else {})


def _unquoted(value: str) -> str:
    value = value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
