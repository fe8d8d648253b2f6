"""No text tells to install by name what is on no package index: whoever registered it would be root."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    "*.md",
    "Dockerfile",
    "Makefile",
    "*.yaml",
    "run",
    "docs/*.md",
    "man/*",
    "completions/*",
    "src/**/*.py",
    ".ci/*",
)
INSTALL = re.compile(r"\b(?:pip3?|pipx|uv tool|uv pip)(?:\s+-\S+)*\s+(?:install|upgrade|run|inject)\s+([^`\n]*)")
VALUES = ("--find-links", "--python", "-r", "--requirement", "-c", "--index-url")  # options whose next word is theirs


def by_name(line: str) -> list[str]:
    """Return the words of the line's pip commands that are neither options nor paths."""
    found = []
    for command in INSTALL.finditer(line):
        words = re.split(r"[;&|#()]| {2,}", command[1])[0].split()
        takes_value = False
        for word in words:
            name = word.strip("\"'.,:”“")
            if not takes_value and name and not word.startswith("-") and not re.search(r"[/$]|\.whl$", name):
                found.append(name)
            takes_value = word in VALUES
    return found if "--no-index" not in line else []


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("pip install ioconnect", ["ioconnect"]),
        ("sudo /opt/ioconnect/bin/pip install --upgrade ioconnect[dev]`", ["ioconnect[dev]"]),
        ("pipx install ioconnect==1", ["ioconnect==1"]),
        ("pipx install .   # in this checkout", []),
        ("pip install ./ioconnect-*.whl", []),
        ("pip install --require-hashes -r requirements.lock", []),
    ],
)
def test_a_name_is_told_from_a_path(line: str, names: list[str]) -> None:
    assert by_name(line) == names


def test_no_text_installs_by_name() -> None:
    files = sorted({file for pattern in TEXTS for file in ROOT.glob(pattern) if file.is_file()})
    texts = {file: file.read_text("utf-8", "replace") for file in files}
    lines = [(file, line) for file, text in texts.items() for line in text.replace("\\\n", " ").splitlines()]

    assert len(files) > 200
    assert [f"{file.relative_to(ROOT)}: {line}" for file, line in lines if by_name(line)] == []
