"""What a test says of an agent that has another configuration, key or pin, or does not answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ioconnect.checks import agent_drift
from ioconnect.checks.agent_state import outcomes
from ioconnect.checks.results import CheckId
from ioconnect.config.configuration import HostPort, Tunnel
from ioconnect.errors import AgentUnresponsive, ExitCode, ReasonCode
from ioconnect.status.control import AgentSilent
from ioconnect.status.records import Silence, Snapshot, State, TunnelStatus, Warning_

TUNNEL = Tunnel("orders", HostPort("jump.example", 58115), HostPort("localhost", 3306), ssh_port=22)
STATUS = TunnelStatus(
    *("orders", State.CONNECTED, "2026-11-22T10:00:00Z", None, "jump.example:22", 58115, "localhost:3306"),
    host_key="SHA256:host",
    identity="SHA256:key",
)
CONFIG = Path("/etc/ioconnect/config.toml")
SNAPSHOT = Snapshot(True, 4711, "0", None, (STATUS,), config=str(CONFIG))


def test_the_same_configuration_key_and_pins_are_no_finding() -> None:
    assert agent_drift.config_finding(TUNNEL, STATUS, SNAPSHOT, CONFIG) is None
    assert agent_drift.identity_finding("orders", "SHA256:key", STATUS) is None
    assert agent_drift.host_key_finding(("SHA256:host",), STATUS) is None
    answers = outcomes(STATUS, 4711)
    assert agent_drift.still_valid(answers, STATUS, TUNNEL, config=False, key=False, pin=False) == answers


def test_what_the_address_does_not_show_is_told_by_the_agents_own_warning() -> None:
    status = replace(STATUS, warnings=(Warning_("config_changed", "changed", "reload"),))
    found = agent_drift.config_finding(TUNNEL, status, SNAPSHOT, CONFIG)
    assert found is not None
    assert (found.warning, "reload" in found.hint) == (True, True)


def test_another_configuration_is_named() -> None:
    other = replace(SNAPSHOT, config="/srv/other.toml")
    assert agent_drift.config_finding(TUNNEL, STATUS, other, CONFIG) is None, "the tunnel is the same"
    found = agent_drift.config_finding(replace(TUNNEL, target=HostPort("db", 1)), STATUS, other, CONFIG)
    assert found is not None
    assert "/srv/other.toml" in found.hint


def test_changed_pins_that_still_hold_the_host_key_are_a_warning() -> None:
    status = replace(STATUS, warnings=(Warning_("pins_changed", "the pins changed", "later"),))
    found = agent_drift.host_key_finding(("SHA256:new", "SHA256:host"), status)
    assert found is not None
    assert found.warning


def test_only_what_depends_on_a_change_is_tried_again() -> None:
    answers = outcomes(STATUS, 4711)

    def lost(tunnel: Tunnel = TUNNEL, *, config: bool = False, key: bool = False, pin: bool = False) -> set[str]:
        left = agent_drift.still_valid(answers, STATUS, tunnel, config=config, key=key, pin=pin)
        return {check.value for check in set(answers) - set(left)}

    assert lost(key=True) == {"auth"}
    assert lost(pin=True) == {"host_key"}
    assert lost(replace(TUNNEL, ssh_user="x"), config=True) == {"dns", "tcp", "host_key", "auth"}
    moved = replace(TUNNEL, endpoint=HostPort("jump.example", 58116))
    assert lost(moved, config=True) == {"dns", "tcp", "host_key", "auth", "forward"}


def test_an_agent_that_does_not_answer_is_a_failure() -> None:
    """Nobody knows whether it carries anything, whatever it wrote last; the fault is that of `status` then."""
    silent = AgentSilent(4711, Silence("its control socket is gone", "Look."))
    fault = agent_drift.silent(silent)[CheckId.FORWARD]
    assert isinstance(fault, AgentUnresponsive)
    assert isinstance(silent, AgentUnresponsive)
    assert (fault.code, fault.exit_code) == (ReasonCode.AGENT_SILENT, ExitCode.UNAVAILABLE)
    assert "the agent (pid 4711) does not answer: its control socket is gone" in fault.message
    assert fault.hint == "Look."
