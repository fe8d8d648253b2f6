"""Ten thousand agents lose one jumphost at the same moment; `tests.rigs.herd` says how it is simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.rigs.herd import Autossh, Ours, restart

if TYPE_CHECKING:
    from collections.abc import Callable


def test_ten_thousand_agents_are_back_within_two_minutes_of_a_restart(figure: Callable[[str], None]) -> None:
    ours, autossh = restart(Ours), restart(Autossh)
    figure(f"10 000 agents, ioconnect: {ours}")
    figure(f"10 000 agents, autossh: {autossh}")

    assert ours.all_back < 120, f"{ours}; autossh: {autossh}"
    assert ours.all_back < autossh.all_back / 5
    assert ours.half_back < autossh.half_back
