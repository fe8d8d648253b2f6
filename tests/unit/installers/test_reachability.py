"""A program or configuration that is hidden from the service is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioconnect.config.addresses import HostPort, SocketPath
from ioconnect.config.configuration import Config, Tunnel
from ioconnect.errors import SystemRefused
from ioconnect.installers import reachability
from ioconnect.installers.service import Kind
from ioconnect.installers.service_manager import unit_of


@pytest.mark.parametrize("path", ["/home/alice/venv/bin/python", "/root/.local/bin/ioconnect", "/run/user/1000/x"])
def test_a_program_in_a_home_folder_is_refused(path: str) -> None:
    with pytest.raises(SystemRefused, match=path) as refused:
        reachability.refuse_hidden_program([Path("/opt/x"), Path(path)], sees_home=False)

    assert "/opt/ioconnect" in refused.value.hint
    reachability.refuse_hidden_program([Path(path)], sees_home=True)


@pytest.mark.parametrize("sees_home", [True, False])
def test_a_program_in_a_temporary_folder_is_always_refused(*, sees_home: bool) -> None:
    with pytest.raises(SystemRefused, match="/tmp/elsewhere"):
        reachability.refuse_hidden_program([Path("/tmp/elsewhere/bin/python")], sees_home=sees_home)


@pytest.mark.parametrize("path", ["/opt/ioconnect", "/homes/x", "/usr/home/x", "/srv/root/x"])
def test_other_places_are_fine(path: str) -> None:
    reachability.refuse_hidden_program([Path(path)], sees_home=False)
    reachability.refuse_hidden_configuration(Path(path), sees_home=False)


def test_a_configuration_in_a_home_folder_is_refused() -> None:
    with pytest.raises(SystemRefused, match=r"config\.toml") as refused:
        reachability.refuse_hidden_configuration(Path("/root/x/config.toml"), sees_home=False)

    assert "/etc/ioconnect" in refused.value.hint


@pytest.mark.parametrize("word", ["a\nb", "a\x1bb", "a\udcffb", "a\x00b"])
def test_a_word_that_no_file_can_hold_is_refused(word: str) -> None:
    with pytest.raises(SystemRefused):
        reachability.check_printable(["/fine", word])


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/ioconnect.service\n", ("ioconnect.service", Kind.SYSTEMD)),
        ("12:pids:/x\n1:name=systemd:/system.slice/ioconnect.service\n0::/\n", ("ioconnect.service", Kind.SYSTEMD)),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ioconnect.service\n",
            ("ioconnect.service", Kind.SYSTEMD_USER),
        ),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-1.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_a_control_group_tells_the_unit(cgroup: str, unit: tuple[str, Kind] | None) -> None:
    assert unit_of(cgroup) == unit


@pytest.mark.parametrize(
    ("path", "sees_home", "is_hidden"),
    [
        ("/tmp/mysql.sock", False, True),
        ("/tmp/mysql.sock", True, True),
        ("/home/ann/db.sock", False, True),
        ("/home/ann/db.sock", True, False),
        ("/run/user/1000/db.sock", False, True),
        ("/run/mysqld/mysqld.sock", False, False),
    ],
)
def test_sockets_that_the_service_does_not_see(path: str, *, sees_home: bool, is_hidden: bool) -> None:
    targets = (HostPort("localhost", 3306), SocketPath(path))
    tunnels = tuple(Tunnel(f"t{at}", HostPort("jump.test", at + 1), each) for at, each in enumerate(targets))

    assert reachability.hidden_sockets(Config(tunnels=tunnels), sees_home=sees_home) == [path] * is_hidden
