"""A path in a command that somebody is told to run is quoted: a blank in it would make two words of it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest
from tests.rigs.source_tree import SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = {"path", "file", "folder", "closed", "identity", "key", "config"}  # what a path is called here
COMMAND = re.compile(r"(\b(chmod|chown|setfacl|rm|rmdir|fuser|systemd-creds|ssh-keygen)|\{removal\})\s[^;:,()`]*$")


def unquoted(text: str) -> Iterator[str]:
    """Yield the paths in commands of a file's formatted strings that are not quoted."""
    for string in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.JoinedStr)):
        before = ""
        for part in string.values:
            if isinstance(part, ast.FormattedValue):
                written = ast.unparse(part.value)
                if written.rpartition(".")[2] in PATHS and COMMAND.search(before):
                    yield written
                before += f"{{{written}}}"
            else:
                before += ast.literal_eval(part)


@pytest.mark.parametrize("file", SOURCES)
def test_a_path_in_a_command_is_quoted(file: str) -> None:
    assert list(unquoted(SOURCES[file].text)) == []


def test_the_reader_sees_them() -> None:
    text = '''f"Run: chmod 600 {path}"; f"(sudo chown {account} {self.file}) {path}"; f"chmod 0 {quote(str(path))}"'''

    assert list(unquoted(text)) == ["path", "self.file"]
