"""Every reason code has a section in the troubleshooting guide, and every hint on screen links to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ioconnect import errors
from ioconnect.checks.results import exit_code_of
from ioconnect.console.guide import GUIDE, with_guide_link
from ioconnect.errors import ReasonCode

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / GUIDE).read_text()
# A heading that is nothing but the code has the code as its anchor, on GitHub and in every other renderer.
SECTIONS = {
    code: " ".join(text.split())
    for code, text in re.findall(r"^## ([a-z_]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
}


@pytest.mark.parametrize("code", ReasonCode)
def test_every_reason_has_its_section(code: ReasonCode) -> None:
    """What it means, how to see it, what to do; and the exit code that belongs to it."""
    section = SECTIONS[code.value]

    parts = re.fullmatch(
        r"\*\*What it means\.\*\* (.*) \*\*How to see it\.\*\* (.*) \*\*What to do\.\*\* (.*)", section
    )
    assert parts is not None
    assert all(len(part) > 40 for part in parts.groups())
    assert f"exit code {int(exit_code_of(code))}" in section
    for hint in ("", "Do this.", "Run: ioconnect pin"):
        assert with_guide_link(hint, code).startswith(hint)
        assert with_guide_link(hint, code).endswith(f"ore: {GUIDE}#{code.value}")


def test_the_guide_has_no_section_for_a_reason_that_is_none() -> None:
    assert set(SECTIONS) - {code.value for code in ReasonCode} == set()


def test_what_the_guide_links_to_is_there() -> None:
    for path in re.findall(r"\]\(([^)#]+)", TEXT):
        assert path.startswith("https://") or (ROOT / "docs" / path).exists(), path
    for anchor in re.findall(r"\]\(#([^)]+)\)", TEXT):
        assert anchor in SECTIONS, anchor


def test_the_exit_codes_of_the_classes_and_of_the_reasons_agree() -> None:
    faults = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, errors.Fault)]

    assert {fault.code for fault in faults if fault.code} == set(ReasonCode)
    assert all(exit_code_of(fault.code) is fault.exit_code for fault in faults if fault.code)
