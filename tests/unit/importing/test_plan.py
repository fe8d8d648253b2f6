"""Planned tunnels: names, conflicts, and what is configured already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.config import configuration, pasted
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Config, Tunnel
from ioconnect.errors import ConfigInvalid, Fault
from ioconnect.importing import plan, plan_table
from ioconnect.importing.source import FoundTunnel, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = Path("/ours/id_ed25519")
CRONTAB = Source(SourceKind.CRONTAB, "your crontab", line=b"@reboot ssh")
UNIT = Source(SourceKind.UNIT, "integrateio.service", unit="integrateio.service")


def line(port: int = 58115, target: str = "db:3306", jumphost: str = "jump", rest: str = "-p 50683") -> str:
    return f"ssh -NR {port}:{target} sshtunnel@{jumphost} {rest}"


def found(text: str, source: Source = CRONTAB) -> FoundTunnel:
    return FoundTunnel(pasted.parse(text), source, "/home/me")


def planned(
    *lines: FoundTunnel,
    known: Config | None = None,
    private_key_of: Callable[[FoundTunnel], Path | None] = lambda _: None,
) -> plan.Plan:
    return plan.make_plan(lines, known or Config(), own_key=OWN, private_key_of=private_key_of)


def names(of: plan.Plan) -> list[str]:
    return [one.tunnel.name for one in of.tunnels]


def test_a_unit_gives_its_name_and_a_crontab_the_port() -> None:
    assert names(planned(found(line(1)), found(line(2), UNIT))) == ["tunnel-1", "integrateio"]


def test_a_unit_of_several_tunnels_names_them_with_their_ports() -> None:
    assert names(planned(found(line(1), UNIT), found(line(2), UNIT))) == ["integrateio-1", "integrateio-2"]


def test_the_same_port_of_two_jumphosts_gets_a_number() -> None:
    assert names(planned(found(line(jumphost="a")), found(line(jumphost="b")))) == ["tunnel-58115", "tunnel-58115-2"]


def test_two_lines_for_one_tunnel_are_one() -> None:
    """A @reboot line and one every five minutes; each of them has to be disabled."""
    other = Source(SourceKind.CRONTAB, "your crontab", line=b"*/5 ssh")

    (one,) = planned(found(line()), found(line(jumphost="JUMP"), other), found(line(), UNIT)).tunnels

    assert one.sources == (CRONTAB, other, UNIT)
    assert one.tunnel == Tunnel("integrateio", HostPort("jump", 58115), HostPort("db", 3306))


def test_its_key_is_taken_unless_it_is_ours() -> None:
    keys = {1: Path("/home/me/.ssh/old"), 2: OWN}

    made = planned(found(line(1)), found(line(2)), private_key_of=lambda one: keys[one.tunnel.endpoint.port])

    assert [one.tunnel.identity for one in made.tunnels] == [keys[1], None]


def test_what_is_configured_already_stays_as_it_is() -> None:
    """Also its name, its own key and its other settings."""
    known = Tunnel(
        "orders", HostPort("Jump", 58115), HostPort("db", 3306), max_connections=3, identity=Path("/elsewhere")
    )
    before = Config(tunnels=(known,))

    made = planned(found(line(), UNIT), found(line(2)), known=before)

    assert [(one.tunnel.name, one.is_new) for one in made.tunnels] == [("orders", False), ("tunnel-2", True)]
    assert made.config.tunnels[0] is known
    assert planned(found(line(), UNIT), found(line(2)), known=made.config).config == made.config


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (line(target="db:5432"), "db:5432"),
        (line(rest="-p 22"), "SSH port 22"),
        (line(rest="-p 50683 -l me").replace("sshtunnel@", ""), "as me"),
    ],
)
def test_two_lines_that_differ_about_one_port_are_a_conflict(other: str, said: str) -> None:
    with pytest.raises(ConfigInvalid, match="jump:58115") as raised:
        planned(found(line()), found(other, UNIT))

    assert said in raised.value.message
    assert "integrateio.service" in raised.value.message


def test_every_conflict_is_named_at_once() -> None:
    known = Config(
        tunnels=(
            Tunnel("orders", HostPort("jump", 58115), HostPort("db", 1)),
            Tunnel("integrateio", HostPort("elsewhere", 2), HostPort("db", 1)),
        )
    )

    with pytest.raises(ConfigInvalid) as raised:
        planned(found(line()), found(line(3), UNIT), known=known)

    assert [fault.path for fault in raised.value.faults] == ["jump:58115", "integrateio"]
    assert "the tunnel orders" in raised.value.message


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["db:1", "db:2"]),
            st.sampled_from(["", "u.service", "v@x.service", "-.service", "x" * 80 + ".service"]),
        ),
        max_size=6,
    )
)
def test_a_plan_is_a_configuration_or_a_fault(lines: list[tuple[int, str, str, str]]) -> None:
    """Whatever is found: names that may be used, each once; and doing it twice adds nothing."""
    all_found = [
        found(line(port, target, jumphost), Source(SourceKind.UNIT, unit or "crontab", unit=unit))
        for port, jumphost, target, unit in lines
    ]
    try:
        made = planned(*all_found)
    except Fault:
        assert len({(port, jumphost) for port, jumphost, *_ in lines}) < len(
            {(port, jumphost, target) for port, jumphost, target, _ in lines}
        )
        return
    assert configuration.parse(configuration.document(made.config), source="test") == made.config
    assert planned(*all_found, known=made.config).config == made.config


def test_the_table_is_aligned_and_harmless() -> None:
    evil = Source(SourceKind.UNIT, "a\x1b[2J.service", unit="a\x1b[2J.service")
    made = planned(found(line(1)), found(line(22222, "database.example.com:3306"), evil))

    cells = plan_table.rows(made.tunnels)
    first, *others = plan_table.plain(cells).splitlines()

    assert first.split() == ["TUNNEL", "ENDPOINT", "TARGET"]
    assert [text.index("new") for text in others] == [others[0].index("new")] * 2
    notes = plan_table.notes(made.tunnels, dict.fromkeys(names(made), "none yet"))
    assert notes[0] == "tunnel-1: started by your crontab; key: ioconnect's own; host keys: none yet"
    assert "\x1b" not in plan_table.plain(cells) + "".join(notes)


def test_what_is_not_followed_is_named() -> None:
    made = planned(found(line(rest="-J bastion -D 1080")))

    assert plan_table.notes(made.tunnels, {"tunnel-58115": ""})[1] == "tunnel-58115: not taken over: -J, -D"
