"""requirements.lock, with which the service is installed, is whole and agrees with pyproject.toml."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "requirements.lock").read_text()
ENTRIES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?!\S)")


def locked() -> dict[str, list[Requirement]]:
    """Return the requirements of the lock by name; one has several where Python's version decides."""
    found = defaultdict(list)
    for entry in ENTRIES:
        requirement = Requirement(entry.partition(" --hash=")[0])
        found[canonicalize_name(requirement.name)].append(requirement)
    return found


def version(requirement: Requirement) -> str:
    """Return the one version that a locked requirement allows."""
    (only,) = requirement.specifier
    assert only.operator == "=="
    return only.version


def test_every_requirement_has_hashes() -> None:
    """And nothing else: no index, no URL, no option that would let pip take something without one."""
    assert ENTRIES
    assert [entry for entry in ENTRIES if not HASH.search(entry)] == []
    assert [entry for entry in ENTRIES if "://" in entry or entry.startswith("-")] == []
    assert set(re.findall(r"--[\w-]+", " ".join(ENTRIES))) == {"--hash"}


def test_the_lock_agrees_with_the_project() -> None:
    """Each dependency in pyproject.toml is locked, in its range."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = locked()
    for wanted in map(Requirement, project["dependencies"]):
        versions = [version(pin) for pin in pins[canonicalize_name(wanted.name)]]
        assert versions, wanted
        assert all(wanted.specifier.contains(each) for each in versions), wanted


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
