"""The largest text, line and counts that the parsers of pasted text, crontabs and unit files take.

Pure. Each of these parsers takes a time that is linear in the text, and refuses what exceeds a limit.
"""

from __future__ import annotations

from ioconnect.config.addresses import quoted
from ioconnect.errors import UsageFault

MAX_TEXT = 1 << 20  # characters
MAX_LINES = 10_000
MAX_LINE = 1 << 15  # characters of a command, continued lines joined; Linux takes 128 KiB in one argument (execve(2))
MAX_TUNNELS = 1000  # in one text
MAX_VARIABLES = 256  # of one crontab
HINT = "Take the lines of the tunnels alone, like: ssh -NR 58115:localhost:3306 sshtunnel@virginia-tunnel.flydata.app"


def lines(text: str) -> list[str]:
    """Split at newlines. Raises UsageFault for a text with too many characters or lines."""
    if len(text) > MAX_TEXT:
        raise UsageFault(f"the text is longer than {MAX_TEXT} characters", hint=HINT)
    found = text.split("\n")
    if len(found) > MAX_LINES:
        raise UsageFault(f"the text has more than {MAX_LINES} lines", hint=HINT)
    return found


def check_line(line: str) -> str:
    """Return the line. Raises UsageFault if it is too long."""
    if len(line) > MAX_LINE:
        raise UsageFault(f"a line is longer than {MAX_LINE} characters: {quoted(line)}", hint=HINT)
    return line
