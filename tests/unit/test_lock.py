"""The locks, with which the service is installed and its wheel is built, are whole and agree with pyproject.toml."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("requirements.lock", "requirements-build.lock")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?!\S)")


def entries(name: str) -> list[str]:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def locked(name: str = NAMES[0]) -> dict[str, list[Requirement]]:
    """Return the requirements of the lock by name; one has several where Python's version decides."""
    found = defaultdict(list)
    for entry in entries(name):
        requirement = Requirement(entry.partition(" --hash=")[0])
        found[canonicalize_name(requirement.name)].append(requirement)
    return found


def version(requirement: Requirement) -> str:
    """Return the one version that a locked requirement allows."""
    (only,) = requirement.specifier
    assert only.operator == "=="
    return only.version


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_has_hashes(name: str) -> None:
    """And nothing else: no index, no URL, no option that would let pip take something without one."""
    found = entries(name)
    assert found
    assert [entry for entry in found if not HASH.search(entry)] == []
    assert [entry for entry in found if "://" in entry or entry.startswith("-")] == []
    assert set(re.findall(r"--[\w-]+", " ".join(found))) == {"--hash"}


@pytest.mark.parametrize("name", NAMES)
def test_the_lock_agrees_with_the_project(name: str) -> None:
    """Each dependency in pyproject.toml is locked, in its range."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    is_build = name == NAMES[1]
    pins = locked(name)
    for wanted in map(
        Requirement, project["build-system"]["requires"] if is_build else project["project"]["dependencies"]
    ):
        versions = [version(pin) for pin in pins[canonicalize_name(wanted.name)]]
        assert versions, wanted
        assert all(wanted.specifier.contains(each) for each in versions), wanted


@pytest.mark.parametrize("file", ["Dockerfile", "docs/services.md"])
def test_what_is_told_to_install_is_wheels_with_hashes(file: str) -> None:
    """By the locks; ioconnect's own wheel is built with what its lock names."""
    text = (ROOT / file).read_text()
    commands = re.findall(r"bin/pip ((?:install|wheel) [^`\n&]*)", text.replace("\\\n", " "))

    by_lock = [command for command in commands if " -r " in command]
    assert [command.split(" -r ")[1].split()[0] for command in by_lock] == [*NAMES[::-1]]
    assert all("--only-binary=:all: --require-hashes" in command for command in by_lock)
    assert all("--no-deps" in command for command in commands if command not in by_lock)
    assert [
        command for command in commands if command.startswith("wheel") and "--no-build-isolation" not in command
    ] == []


def test_what_the_dependencies_depend_on_is_locked_too() -> None:
    """As far as this Python needs it: with --require-hashes pip refuses a package that is missing."""
    pins, seen, left = locked(), set(), ["ioconnect"]
    while left:
        name = left.pop()
        seen.add(name)
        for wanted in map(Requirement, requires(name) or ()):
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            needed = canonicalize_name(wanted.name)
            here = [pin for pin in pins[needed] if pin.marker is None or pin.marker.evaluate()]
            assert len(here) == 1, f"{name} needs {wanted}"
            if needed not in seen:
                left.append(needed)

    assert len(seen) > len(pins) // 2
