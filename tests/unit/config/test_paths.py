"""The paths of an installation, by environment, option and user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.rigs import ordinary_user

from ioconnect.config import paths
from ioconnect.config.paths import Paths, discover


def test_home_holds_everything() -> None:
    assert discover({"IOCONNECT_HOME": "/h"}) == Paths(
        config=Path("/h/config.toml"),
        identity=Path("/h/id_ed25519"),
        known_hosts=Path("/h/known_hosts"),
        state=Path("/h/state"),
        log=Path("/h/log/ioconnect.log"),
        control=(Path("/h/run/control.sock"),),
    )


def test_files_inside_have_the_contracts_names() -> None:
    found = discover({"IOCONNECT_HOME": "/h"})

    assert found.public_key == Path("/h/id_ed25519.pub")
    assert found.status == Path("/h/state/status.json")
    assert found.lock == Path("/h/state/agent.lock")


def test_a_relative_home_is_made_absolute() -> None:
    assert discover({"IOCONNECT_HOME": "h"}).state == Path.cwd() / "h" / "state"
    assert discover({"IOCONNECT_HOME": "~/h"}).state == Path.home() / "h" / "state"


def test_home_and_a_named_configuration_share_the_work() -> None:
    """The configuration is the named one, everything else is at home."""
    found = discover({"IOCONNECT_HOME": "/h"}, config=Path("/etc/x/c.toml"))

    assert found.config == Path("/etc/x/c.toml")
    assert found.identity == Path("/h/id_ed25519")
    assert found.known_hosts == Path("/h/known_hosts")
    assert found.state == Path("/h/state")


@pytest.mark.parametrize("named", [{"config": Path("c/my.toml")}, {"environ": {"IOCONNECT_CONFIG": "c/my.toml"}}])
def test_a_named_configuration_alone_has_its_key_and_pins_beside_it(named: dict[str, object]) -> None:
    plain = discover({})

    found = discover(named.get("environ", {}), config=named.get("config"))  # type: ignore[arg-type]

    beside = Path.cwd() / "c"
    assert (found.config, found.identity, found.known_hosts) == (
        beside / "my.toml",
        beside / "id_ed25519",
        beside / "known_hosts",
    )
    assert (found.state, found.log) == (plain.state, plain.log)


def test_the_option_goes_before_the_variable() -> None:
    assert discover({"IOCONNECT_CONFIG": "/a"}, config=Path("/b")).config == Path("/b")


def test_an_empty_variable_says_nothing() -> None:
    names = ("IOCONNECT_HOME", "IOCONNECT_CONFIG", "STATE_DIRECTORY", "LOGS_DIRECTORY", "CREDENTIALS_DIRECTORY")

    assert discover(dict.fromkeys(names, "")) == discover({})


def test_systemds_folders_are_taken_the_first_of_several() -> None:
    found = discover({"STATE_DIRECTORY": "/s/one:/s/two", "RUNTIME_DIRECTORY": "/r", "LOGS_DIRECTORY": "/l:/m"})

    assert found.state == Path("/s/one")
    assert found.log == Path("/l/ioconnect.log")
    assert found.config == discover({}).config


def test_a_unit_with_a_runtime_folder_only_has_its_state_there() -> None:
    assert discover({"RUNTIME_DIRECTORY": "/r"}).state == Path("/r")


def test_home_is_meant_for_us_and_systemds_folders_for_anybody() -> None:
    assert discover({"IOCONNECT_HOME": "/h", "STATE_DIRECTORY": "/s"}).state == Path("/h/state")


@pytest.mark.parametrize("home", [{}, {"IOCONNECT_HOME": "/h"}, {"IOCONNECT_CONFIG": "/c/c.toml"}])
def test_a_credential_is_the_identity_if_it_is_there(tmp_path: Path, home: dict[str, str]) -> None:
    environ = {**home, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert discover(environ) == discover(home)

    (tmp_path / "ssh-key").write_text("missing")
    assert discover(environ) == discover(home)
    (tmp_path / "ssh-key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n" + "A" * 400)

    found = discover(environ)
    assert (found.identity, found.credential) == (tmp_path / "ssh-key", True)
    (tmp_path / "..data").mkdir()
    (tmp_path / "ssh-key").rename(tmp_path / "..data" / "ssh-key")
    (tmp_path / "ssh-key").symlink_to("..data/ssh-key")  # as Kubernetes mounts a Secret
    assert discover(environ) == found
    assert found.known_hosts == discover(home).known_hosts


def test_roots_folders_are_the_sites() -> None:
    assert paths.site_paths() == Paths(
        config=Path("/etc/ioconnect/config.toml"),
        identity=Path("/etc/ioconnect/id_ed25519"),
        known_hosts=Path("/etc/ioconnect/known_hosts"),
        state=Path("/var/lib/ioconnect"),
        log=Path("/var/log/ioconnect/ioconnect.log"),
        control=(Path("/run/ioconnect/control.sock"),),
    )
    assert (discover({}) == paths.site_paths()) is (os.geteuid() == 0)


@pytest.mark.parametrize(
    ("platform", "folder"), [("darwin", "/var/run"), ("freebsd14", "/var/run"), ("linux", "/run")]
)
def test_roots_control_socket_is_in_a_folder_that_the_system_has(platform: str, folder: str) -> None:
    """Only Linux has a /run: on macOS nobody can make one, as / is read-only."""
    code = f"import sys; sys.platform = {platform!r}; from ioconnect.config import paths"
    code += "; print(paths.SITE_STATUS.parent, *paths.site_paths().control)"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.split() == [f"{folder}/ioconnect", f"{folder}/ioconnect/control.sock"]


def test_an_ordinary_user_has_folders_of_his_own() -> None:
    """As platformdirs knows them, in the process's own environment."""
    shown = ordinary_user.run(
        "import platformdirs, platformdirs.unix, platformdirs.macos; from ioconnect.config.paths import discover",
        "found = discover({})\nprint(found.config, found.state, found.log, sep='\\n')",
        environ={"HOME": "/home/me", "XDG_CONFIG_HOME": "/home/me/conf", "XDG_STATE_HOME": "/home/me/state"},
    )

    config, state, log = map(Path, shown.splitlines())
    assert config.name == "config.toml"
    assert config.parent.name == state.name == "ioconnect"
    assert log.name == "ioconnect.log"
    assert all(Path("/home/me") in path.parents for path in (config, state, log))


def test_the_control_socket_of_an_ordinary_user_outlives_a_log_out() -> None:
    """In the runtime folder if there is one, and always in the state folder: a cron job has no XDG_RUNTIME_DIR."""
    shown = ordinary_user.run(
        "import platformdirs, platformdirs.unix, platformdirs.macos; from ioconnect.config.paths import discover",
        "print(*discover({}).control)\nprint(*discover({'XDG_RUNTIME_DIR': '/run/user/7'}).control)\n"
        "print(*discover({'RUNTIME_DIRECTORY': '/r', 'STATE_DIRECTORY': '/s'}).control)\n",
        environ={"HOME": "/home/me", "XDG_STATE_HOME": "/home/me/state"},
    )

    without, signed_in, service = (line.split() for line in shown.splitlines())
    assert without == ["/home/me/state/ioconnect/run/control.sock"]
    assert signed_in == ["/run/user/7/ioconnect/control.sock", *without]
    assert service == ["/r/control.sock", "/s/run/control.sock"]


def test_a_named_configuration_has_no_control_socket_of_its_own() -> None:
    """The lock does not depend on it either: there is one agent per state folder."""
    assert discover({}, config=Path("/c/my.toml")).control == discover({}).control
    assert discover({"IOCONNECT_HOME": "/h"}, config=Path("/c/my.toml")).control == (Path("/h/run/control.sock"),)


NAMELESS = 61234  # a dynamic user of systemd, where no libnss-systemd gives it a name (P1)


def nameless(code: str, **environ: str) -> str:
    """Return what `code` prints as an account that is a number only: no name, no home, no HOME."""
    imports = "import encodings.idna, platformdirs, platformdirs.unix, platformdirs.macos\n"
    return ordinary_user.run(
        imports, code, environ={"PATH": "/usr/bin:/bin", **environ}, uid=NAMELESS, only_environ=True
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
class TestAnAccountWithoutANameOrAHome:
    def test_a_service_has_all_its_paths(self) -> None:
        shown = nameless(
            "from pathlib import Path\nfrom ioconnect.config.paths import discover\n"
            "found = discover({'STATE_DIRECTORY': '/s', 'RUNTIME_DIRECTORY': '/r'}, config=Path('/c/c.toml'))\n"
            "print(found.config, found.identity, found.known_hosts, found.state, *found.control, sep='\\n')"
        )

        assert shown.splitlines() == [
            *("/c/c.toml", "/c/id_ed25519", "/c/known_hosts", "/s", "/r/control.sock", "/s/run/control.sock"),
        ]

    def test_without_a_service_its_home_is_the_root_folder(self) -> None:
        shown = nameless(
            "from ioconnect.config.paths import absolute, discover, home_folder\n"
            "found = discover({})\nprint(found.config, found.state, found.log, home_folder(), sep='\\n')"
        )

        assert shown.splitlines() == [
            "/.config/ioconnect/config.toml",
            "/.local/state/ioconnect",
            "/.local/state/ioconnect/log/ioconnect.log",
            "/",
        ]

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (["up"], 66),
            (["status"], 69),
            (["reload"], 69),
            (["down"], 0),
            (["logs"], 0),
            (["test"], 66),
            (["doctor"], 66),
            (["keygen"], 73),
        ],
    )
    def test_every_command_leaves_with_a_code_of_its_own(self, words: list[str], code: int) -> None:
        """70 would be a bug, and for the service a loop of restarts."""
        with ordinary_user.folder() as folder:
            os.chown(folder, NAMELESS, NAMELESS)
            config = folder / "c.toml"
            config.write_text(
                'schema = 1\n[tunnels.orders]\nendpoint = "127.0.0.1:9"\ntarget = "127.0.0.1:9"\nssh_port = 9\n'
            )
            argv = [] if words == ["keygen"] else ["--config", str(config)]
            shown = nameless(
                f"import sys\nsys.argv = {['ioconnect', *argv, *words]!r}\nfrom ioconnect.cli import main\n"
                "try:\n    main()\nexcept SystemExit as left:\n    print('left with', int(left.code or 0))\n",
                STATE_DIRECTORY=str(folder),
            )

        assert shown.splitlines()[-1] == f"left with {code}"
