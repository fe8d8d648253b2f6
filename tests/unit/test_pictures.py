"""The pictures show what the commands ask and say now; `./run python -m scripts.pictures` draws them anew."""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path

import pytest
from tests.rigs.source_tree import SOURCES

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
# The beginning of what is asked, and of what is told beside it, in setup.svg.
ASKED = [
    "Paste the Tunnel Endpoint",
    "Is this what Integrate.io told you?",
    "Keep it running",
    "Fetching the host key",
]


def shown(name: str) -> str:
    """Return a picture's text; a line that was wrapped is one."""
    text = (PICTURES / f"{name}.svg").read_text()
    lines = re.findall(r"<text[^>]*>(.*?)</text>", text, re.DOTALL)
    return " ".join(" ".join(html.unescape(line) for line in lines).split())


def texts(beginning: str) -> list[str]:
    """Return patterns of the texts in the source that begin so; what is filled in is any text."""
    files = [source.text for source in SOURCES.values() if beginning in source.text]
    nodes = [node for text in files for node in ast.walk(ast.parse(text))]
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in nodes:
        parts = node.values if isinstance(node, ast.JoinedStr) else [] if id(node) in inner else [node]
        written = [part.value if isinstance(part, ast.Constant) else None for part in parts]
        if written and isinstance(written[0], str) and written[0].startswith(beginning):
            found.append("".join(".+?" if part is None else re.escape(str(part)) for part in written))
    return found


@pytest.mark.parametrize("beginning", ASKED)
def test_what_is_asked_is_in_the_picture(beginning: str) -> None:
    found = texts(beginning)

    assert found
    assert any(re.search(pattern, shown("setup")) for pattern in found), found


def test_each_check_is_in_the_pictures() -> None:
    names = ["config", "identity", "target", "dns", "tcp", "host_key", "auth", "forward"]

    for picture in ("setup", "test"):
        assert [name for name in names if not re.search(rf"[✓✗-] {name} ", shown(picture))] == []
