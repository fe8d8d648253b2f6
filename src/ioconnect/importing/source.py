"""Records of the sources of old tunnels and of what was found in them.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.pasted import Pasted
    from ioconnect.errors import Fault


class SourceKind(Enum):
    """What starts the tunnel, which determines how it is disabled."""

    CRONTAB = "crontab"  # the user's own
    SYSTEM_CRONTAB = "system crontab"  # /etc/crontab, or a file in /etc/cron.d
    UNIT = "unit"
    USER_UNIT = "user unit"
    TEXT = "text"  # a file or standard input: what starts it is unknown


@dataclass(frozen=True, slots=True)
class Source:
    """Something that starts an old tunnel.

    `line` is a crontab's line without its newline, `path` the file of a system crontab.
    """

    kind: SourceKind
    location: str
    unit: str = ""  # with its suffix, as systemctl takes it
    path: Path | None = None
    line: bytes = b""


@dataclass(frozen=True, slots=True)
class FoundTunnel:
    """A tunnel and what starts it; `home` is the home folder of the account that runs it, if known."""

    tunnel: Pasted
    source: Source
    home: str | None = None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a search found; `faults` has the lines that cannot be parsed and the files that cannot be read.

    `disabled` counts the lines that an earlier import disabled.
    """

    found: tuple[FoundTunnel, ...] = ()
    faults: tuple[Fault, ...] = ()
    disabled: int = 0

    def __add__(self, other: ScanResult) -> ScanResult:
        return ScanResult(self.found + other.found, self.faults + other.faults, self.disabled + other.disabled)
