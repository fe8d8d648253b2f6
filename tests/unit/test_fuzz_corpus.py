"""The fuzz targets without an engine: seeds are taken, and what was found once is not found again."""

from __future__ import annotations

import pytest
from tests.fuzz import registry
from tests.fuzz.inputs import LONG, stretched
from tests.fuzz.target import CORPUS, MAX_CPU, Finding, Target, check, check_growth, corpus


@pytest.mark.parametrize("name", registry.NAMES)
def test_seeds_and_findings(name: str) -> None:
    """No crash and no hang; and a target that took no seed at all would try nothing."""
    target = registry.load(name)
    found = [check(target, data) for data in corpus(target)]
    taken = [check(target, seed) for seed in target.seeds]

    assert any(taken)
    assert len(found) == len(corpus(target))


def test_every_target_is_registered_and_every_finding_belongs_to_one() -> None:
    for module in registry.MODULES:
        names = registry.MODULES[module]
        assert [registry.load(name).name for name in names] == list(names)

    assert {folder.name for folder in CORPUS.iterdir()} <= set(registry.NAMES)


def _target(run: object) -> Target:
    return Target("x", run, (b"seed",), (b"word",))  # type: ignore[arg-type]


def test_a_crash_a_hang_and_growth_are_findings() -> None:
    """The instrument itself: each kind is noticed, and what does nothing of it is none."""
    kept: list[bytes] = []

    def crashes(data: bytes) -> bool:
        return bool(data[100])

    def hangs(_data: bytes) -> bool:
        while True:
            pass

    def grows(data: bytes) -> bool:
        kept.append(bytes(len(data) + (1 << 17)))
        return True

    with pytest.raises(Finding, match="crash: IndexError"):
        check(_target(crashes), b"short")
    with pytest.raises(Finding, match=r"hang: more than 0\.05 s"):
        check(_target(hangs), b"", cpu=0.05)
    with pytest.raises(Finding, match="growth: "):
        check_growth(_target(grows), [b"a"])
    check_growth(_target(bool), [b"a"])
    assert check(_target(bool), b"a", cpu=MAX_CPU)


def test_long_inputs_are_made_of_what_is_known() -> None:
    inputs = list(stretched(_target(bool)))

    assert any(data.startswith(b"wordword") for data in inputs)
    assert any(data.startswith(b"word  ") and data.endswith(b"  ;") for data in inputs)
    assert any(data.startswith(b"seed\n\n") and data.endswith(b"\n\nseed") for data in inputs)
    assert all(60_000 < len(data) <= LONG for data in inputs)
