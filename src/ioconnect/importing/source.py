"""Where a tunnel of old is started from, and what was found there: records.

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


class Kind(Enum):
    """What starts it, which decides how it is disabled."""

    CRONTAB = "crontab"  # the user's own
    SYSTEM_CRONTAB = "system crontab"  # /etc/crontab, or a file in /etc/cron.d
    UNIT = "unit"
    USER_UNIT = "user unit"
    TEXT = "text"  # a file or standard input: who starts it is not known


@dataclass(frozen=True, slots=True)
class Origin:
    """One thing that starts a tunnel of old.

    `line` is a crontab's line as it stands there, without its end; `path` the file of a system crontab.
    """

    kind: Kind
    where: str
    unit: str = ""  # with its suffix, as systemctl takes it
    path: Path | None = None
    line: bytes = b""


@dataclass(frozen=True, slots=True)
class Found:
    """A tunnel and where it is started; `home` is the home folder of whoever runs it, if known."""

    tunnel: Pasted
    origin: Origin
    home: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was found; `unread` says what looks like a tunnel and cannot be read, or could not be looked at.

    `disabled` counts the lines that an earlier import has disabled.
    """

    found: tuple[Found, ...] = ()
    unread: tuple[Fault, ...] = ()
    disabled: int = 0

    def __add__(self, other: Reading) -> Reading:
        return Reading(self.found + other.found, self.unread + other.unread, self.disabled + other.disabled)
