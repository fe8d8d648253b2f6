"""What the commands that tell the agent something answer in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ioconnect.commands.run import agent
from ioconnect.config.paths import under
from ioconnect.errors import Fault, SystemRefused
from ioconnect.status.snapshots import StatusDamaged

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("fault", [StatusDamaged("no status"), SystemRefused("no lock")])
def test_an_answer_that_is_not_understood_fails_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    def refuse(_paths: object) -> None:
        raise fault

    monkeypatch.setattr(agent, "observe", refuse)
    told = agent.document(agent.seen(under(tmp_path)), {"orders": "started"}, was_running=True)

    assert (told["agent"]["running"], told["agent"]["was_running"], told["tunnels"]) == (True, True, [])
