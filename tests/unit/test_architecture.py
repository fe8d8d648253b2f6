"""docs/architecture.md is true: its floors are the walls', the files, functions and packages that it names exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.rigs.source_tree import SOURCES
from tests.unit.test_walls import FLOORS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = (REPOSITORY / "docs" / "architecture.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", DOCUMENT)  # files, and functions in them
LONGEST = 200  # lines


def section(title: str) -> list[str]:
    """Return the rows of the table in a section, without its head."""
    text = DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def test_the_floors_are_those_that_the_walls_hold() -> None:
    assert section("Floors") == [f"| {floor} | `{room}` | {job} |" for floor, room, job in FLOORS]


def files(path: str) -> list[str]:
    """Return the files of the package that a path may mean; one without its folder means any of that name."""
    return [file for file in SOURCES if file == path or file.endswith("/" + path)]


def test_every_file_that_is_named_exists() -> None:
    paths = {path for path, _ in NAMED}

    assert sorted(path for path in paths if not files(path) and not (REPOSITORY / path).exists()) == []


def test_every_function_that_is_named_exists() -> None:
    """`file.py:function` or `file.py:Class.method`."""
    functions = [(path, name) for path, name in NAMED if name]
    defined = {path: {each.name for file in files(path) for each in SOURCES[file].definitions} for path, _ in NAMED}

    assert functions
    assert [each for each in functions if not set(each[1].split(".")) <= defined[each[0]]] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.split(r"[\[<>=; ]", each)[0] for group in groups for each in group}
    given = {name.strip() for row in section("Dependencies") for name in row.split("|")[1].split(",")}

    assert given == wanted


def test_it_can_be_read_in_one_go() -> None:
    assert len(DOCUMENT.splitlines()) <= LONGEST
