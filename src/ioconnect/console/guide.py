"""Links from hints to the troubleshooting guide.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioconnect.errors import ReasonCode

GUIDE = "docs/troubleshooting.md"  # has a section for every reason code, with the code as its anchor


def with_guide_link(hint: str, code: ReasonCode | None) -> str:
    """Return the hint with a link to the troubleshooting guide's section for `code`; without a code, unchanged."""
    if code is None:
        return hint
    joint = "; more" if hint and not hint.endswith((".", "!", "?", ")", '"')) else " More"
    return f"{hint}{joint}: {GUIDE}#{code.value}".lstrip()
