"""Reads the log of an agent that systemd runs: the journal's entries of its unit, by journalctl(1)."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.errors import SystemRefused
from ioconnect.escape import escaped
from ioconnect.installers.installed import service_for
from ioconnect.installers.programs import Completed, output_lines
from ioconnect.installers.service import UNIT_NAME, Kind
from ioconnect.installers.service_manager import unit_of, unit_properties
from ioconnect.status.log_filter import LogFilter, written
from ioconnect.status.observe import agent_pid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ioconnect.config.paths import Paths

MAX_LINE = 10_000  # characters shown
IDENTIFIER = "ioconnect"  # SyslogIdentifier= of the unit; systemd's own lines have another
_PRIORITIES = {"debug": "debug", "info": "info", "warning": "warning", "error": "err"}  # journalctl's names
_LEVELS = {0: "CRITICAL", 1: "CRITICAL", 2: "CRITICAL", 3: "ERROR", 4: "WARNING", 5: "INFO", 6: "INFO"}
_HIDDEN = (b"insufficient permissions", b"not seeing messages", b"Permission denied")
_FIELDS = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal, and its place."""

    line: str
    cursor: str
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one unit."""

    unit: str
    kind: Kind

    def last_lines(self, count: int, wanted: LogFilter) -> list[str]:
        """Return the last `count` wanted lines, as the agent writes them to its file. Raises SystemRefused."""
        return [entry.line for entry in self._last(count, wanted)]

    def follow(self, count: int, wanted: LogFilter) -> Iterator[str]:
        """Yield the last `count` wanted lines and then every new one, without an end. Raises SystemRefused."""
        newest = next(self._entries(wanted, "--reverse", "--lines=1"), None)
        yield from self.last_lines(count, wanted)
        after = ("--no-tail", f"--after-cursor={newest.cursor}") if newest else ("--no-tail", "--since=now")
        yield from (entry.line for entry in self._entries(wanted, "--follow", *after) if entry.is_wanted)

    def _last(self, count: int, wanted: LogFilter) -> list[JournalEntry]:
        since = () if wanted.since is None else (f"--since=@{wanted.since:.6f}",)
        entries = (entry for entry in self._entries(wanted, "--reverse", *since) if entry.is_wanted)
        return list(islice(entries, count))[::-1] if count else []

    def _entries(self, wanted: LogFilter, *options: str) -> Iterator[JournalEntry]:
        """Yield entries of the wanted level, as journalctl gives them. Raises SystemRefused if it gives none."""
        seen, ends = False, list[Completed]()
        for text in output_lines((*self._command(wanted), *options), ended=ends.append):
            entry = _entry(text, wanted)
            if entry is not None:
                seen = True
                yield entry
        if not seen:
            _check(ends[0], self.unit)

    def _command(self, wanted: LogFilter) -> tuple[str, ...]:
        user = ("--user",) if self.kind is Kind.SYSTEMD_USER else ()
        level = () if wanted.level == "debug" else (f"--priority={_PRIORITIES[wanted.level]}",)
        return ("journalctl", *user, f"--unit={self.unit}", "--output=json", f"--output-fields={_FIELDS}", *level)


def journal_of(paths: Paths, environ: Mapping[str, str]) -> Journal | None:
    """Return the journal that has this agent's log; None if it logs to a file.

    That of the unit which runs the agent, though it may not answer; while none runs, that of an installed unit that
    these paths can refer to.
    """
    pid = agent_pid(paths)
    if pid is not None:
        return _unit_with_main_pid(pid)
    with contextlib.suppress(RuntimeError):  # an account without a home
        found = service_for(paths, environ)
        if found is not None and found[0] in (Kind.SYSTEMD, Kind.SYSTEMD_USER):
            return Journal(UNIT_NAME, found[0])
    return None


def _unit_with_main_pid(pid: int) -> Journal | None:
    with contextlib.suppress(OSError, SystemRefused):
        found = unit_of(Path(f"/proc/{pid}/cgroup").read_text(errors="replace"))
        if found is not None and unit_properties(*found, "MainPID")["MainPID"] == str(pid):
            return Journal(*found)
    return None


def _entry(text: bytes, wanted: LogFilter) -> JournalEntry | None:
    """Return the entry in a line of journalctl's JSON; None for another line, such as `-- No entries --`."""
    try:
        fields = json.loads(text)
        moment = int(fields["__REALTIME_TIMESTAMP"]) / 1_000_000
        message = fields.get("MESSAGE") or ""
        if isinstance(message, list):  # not UTF-8: its bytes
            message = bytes(message).decode("utf-8", "backslashreplace")
        time, level = written(moment), _LEVELS.get(int(fields.get("PRIORITY") or 6), "DEBUG")
        origin = fields.get("SYSLOG_IDENTIFIER")
        message = str(message) if origin == IDENTIFIER else f"{origin}: {message}"
        line = escaped(f"{time} {level} {message}", limit=MAX_LINE)
        return JournalEntry(line, str(fields["__CURSOR"]), wanted.takes(time, level, message))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, OSError):
        return None


def _check(end: Completed, unit: str) -> None:
    """Raise SystemRefused if journalctl showed nothing for a reason of its own."""
    if any(word in end.stderr for word in _HIDDEN):
        raise SystemRefused(
            f"you may not read the journal of {unit}",
            hint="Use sudo ioconnect logs, or join a group that may: sudo usermod -aG systemd-journal YOU",
        )
    if end.returncode:
        raise SystemRefused(f"journalctl failed: {end.error_text or f'code {end.returncode}'}")
