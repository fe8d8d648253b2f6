"""The commands of a systemd service and their environment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.config.configuration import check_name
from ioconnect.importing import unit_files

MANAGER = {"HOME": "/root", "USER": "root"}
HOMES = {"me": "/home/me"}
UNIT = r"""
[Unit]
Description=ExecStart=none of this

[Service]
User=me
Environment="AUTOSSH_GATETIME=0" "KEY=/srv/my key"
Environment=OTHER=1
# ExecStart=/usr/bin/ssh -NR 9:z:9 jump
ExecStart=/usr/bin/autossh -M 0 -N \
# a comment between
  -R 58115:localhost:3306 \
  u@jump -i %h/.ssh/id -o "X=%u %n"
Restart=always

[Install]
WantedBy=multi-user.target
ExecStart=/bin/not/this
"""


def read(*texts: str) -> unit_files.ServiceUnit:
    return unit_files.read(texts, unit="old.service", manager=MANAGER, home_of=HOMES.get)


def test_continued_lines_are_one_and_comments_between_them_are_none() -> None:
    (start,) = read(UNIT).commands

    assert start.split() == [
        *("ExecStart=/usr/bin/autossh", "-M", "0", "-N", "-R", "58115:localhost:3306", "u@jump"),
        *("-i", "/root/.ssh/id", "-o", '"X=root', 'old.service"'),
    ]


def test_specifiers_are_the_managers_and_home_is_the_accounts() -> None:
    """systemd.unit(5): %h is the home of the user who runs the manager, whatever User= says."""
    service = read(UNIT)

    assert service.environ["HOME"] == "/home/me"
    assert service.environ["USER"] == "me"
    assert service.environ["KEY"] == "/srv/my key"
    assert service.environ["OTHER"] == "1"


def test_without_an_account_it_runs_as_the_manager() -> None:
    assert read("[Service]\nExecStart=ssh\n").environ == MANAGER


def test_a_drop_in_adds_and_an_empty_one_starts_afresh() -> None:
    drop_in = "[Service]\nExecStart=\nExecStart=/usr/bin/ssh -NR 2:b:2 u@jump\nEnvironment=\n"

    service = read(UNIT, drop_in)

    assert service.commands == ["ExecStart=/usr/bin/ssh -NR 2:b:2 u@jump"]
    assert "KEY" not in service.environ


def test_a_quote_that_is_not_closed_sets_nothing() -> None:
    assert read('[Service]\nEnvironment="A=1\nExecStart=x\n').environ == MANAGER


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("integrateio-reverse-tunnel.service", "integrateio-reverse-tunnel"),
        ("autossh@orders.service", "autossh-orders"),
        ("a b\\x2dc.service", "a-b-x2dc"),
        ("-.service", ""),
        (".service", ""),
        ("é.service", ""),
        ("x" * 100 + ".service", "x" * 64),
    ],
)
def test_a_tunnel_is_named_after_its_unit(unit: str, name: str) -> None:
    assert unit_files.tunnel_name(unit) == name


@given(st.text())
def test_a_name_is_one_or_none(unit: str) -> None:
    name = unit_files.tunnel_name(unit)

    assert name == "" or check_name(name)


@given(st.text(alphabet="[]Service=ExecStart\\\n\"'# %hunEnvironmentUser me;", max_size=200))
def test_whatever_is_in_it_is_no_accident(text: str) -> None:
    assert all(start.startswith("ExecStart=") for start in read(text).commands)
