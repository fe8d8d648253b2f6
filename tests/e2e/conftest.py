"""A stub, a database and a customer's machine, as most tests need them; all of it ends with the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rigs import stub
from tests.rigs.agent_scene import AgentScene
from tests.rigs.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[stub.StubRig]:
    """A running stub."""
    with stub.running(tmp_path / "stub") as rig:
        yield rig


@pytest.fixture
def db() -> Iterator[Database]:
    """A database that speaks bytes."""
    with Database() as db:
        yield db


@pytest.fixture
def scene(tmp_path: Path, rig: stub.StubRig, db: Database) -> Iterator[AgentScene]:
    """A customer with the tunnel `orders`, ready to go up."""
    scene = AgentScene(tmp_path / "home", rig, db)
    yield scene
    scene.customer.close()


@pytest.fixture
def running(scene: AgentScene) -> AgentScene:
    """The same, up."""
    scene.customer.run("up", "--daemon")
    return scene
