"""The command as a user or a script meets it: exit codes, what goes where, files that cannot be written."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user, processes
from tests.rigs.customer import Customer
from tests.rigs.terminals import CTRL_C, Terminal

from ioconnect import __version__
from ioconnect.keys import known_hosts, public_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = (
    *("setup", "keygen", "register", "pin", "import", "test", "up", "down", "status", "reload", "reconnect", "logs"),
    *("install-service", "uninstall-service", "doctor", "stub", "demo", "completion"),
)
CONFIG = 'schema = 1\n[tunnels.orders]\nendpoint = "127.0.0.1:40000"\ntarget = "localhost:3306"\nssh_port = 1\n'


@pytest.fixture
def customer(tmp_path: Path) -> Iterator[Customer]:
    machine = Customer(tmp_path / "home")
    yield machine
    machine.close()


@pytest.fixture
def configured(customer: Customer) -> Customer:
    (customer.home / "config.toml").write_text(CONFIG)
    return customer


def test_version(customer: Customer) -> None:
    assert customer.run("--version") == f"ioconnect {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_an_answer_with_examples(customer: Customer, command: str) -> None:
    shown = customer.run(command, "-h")

    assert shown.startswith(f"Usage: ioconnect {command}")
    assert "\nExamples:\n  " in shown
    assert customer.run(command, "--help") == shown


def test_help_lists_the_commands(customer: Customer) -> None:
    listed = re.findall(r"^  ([a-z-]+)  ", customer.run("--help").partition("Commands:")[2], re.MULTILINE)

    assert listed == sorted(listed, key=[*COMMANDS, *listed].index)
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("stauts",),
        ("status", "--jsn"),
        ("status", "--json", "--check"),
        ("status", "surplus"),
        ("up", "--wait", "soon"),
        ("up", "--wait", "-1"),
        ("logs", "-n", "-1"),
        ("completion", "powershell"),
        ("register", "--ssh-port", "0"),
        ("register", "--ssh-port", "65536"),
        ("register", "--ssh-port", "abc"),
        ("--config",),
        ("pin", "--fingerprint"),
    ],
)
def test_wrong_usage_is_64_with_a_line_and_a_hint(customer: Customer, arguments: tuple[str, ...]) -> None:
    done = customer.try_run(*arguments)

    assert done.returncode == 64
    assert done.stdout == ""
    assert re.fullmatch(r"error: .+\nhint: .+\n", done.stderr)


def test_a_misspelt_command_gets_the_nearest(customer: Customer) -> None:
    assert "did you mean status" in customer.try_run("stauts").stderr


@pytest.mark.parametrize("command", [("status",), ("pin",), ("up",), ("up", "--daemon"), ("reconnect",), ("down",)])
def test_without_a_configuration_it_says_what_to_do(customer: Customer, command: tuple[str, ...]) -> None:
    done = customer.try_run(*command)

    expected = {"status": 69, "reconnect": 69, "down": 0}.get(command[0], 78)
    assert done.returncode == expected
    assert "Traceback" not in done.stderr
    if expected == 78:
        assert "ioconnect register" in done.stderr


def test_every_fault_of_the_configuration_at_once(customer: Customer) -> None:
    """Each with its key path, the misspelt one with the nearest name."""
    (customer.home / "config.toml").write_text(
        'schema = 1\n[tunnels.orders]\nendpoint = "jump"\ntarget = "db:70000"\n'
        "ssh_prot = 50683\nmax_connections = true\n"
    )

    done = customer.try_run("up")

    assert done.returncode == 78
    for part in ("endpoint", "target", "ssh_prot: ", "did you mean ssh_port", "max_connections"):
        assert part in done.stderr, part


@pytest.mark.parametrize("command", [("pin", "ordres", "--yes"), ("up", "ordres"), ("up", "orders", "ordres")])
def test_a_name_that_is_not_there_gets_the_nearest(configured: Customer, command: tuple[str, ...]) -> None:
    done = configured.try_run(*command)

    assert done.returncode == 64
    assert done.stderr == 'error: no tunnel is called "ordres"\nhint: Did you mean orders?\n'


def test_global_options_stand_before_or_after_the_command(customer: Customer, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text(CONFIG)

    before = customer.run("--config", str(file), "-q", "status", "--json", expect=69)
    after = customer.run("status", "--json", "--config", str(file), "-q", expect=69)

    assert before == after
    assert '"orders"' in before


def test_config_alone_has_identity_and_pins_beside_it(tmp_path: Path) -> None:
    """Without IOCONNECT_HOME; HOME keeps state and log out of the tester's own."""
    machine = Customer(tmp_path / "home")
    del machine.environment["IOCONNECT_HOME"]
    machine.environment["HOME"] = str(tmp_path)
    file = tmp_path / "beside" / "config.toml"

    machine.run("keygen", "--config", str(file))

    assert sorted(entry.name for entry in file.parent.iterdir()) == ["id_ed25519", "id_ed25519.pub"]


def test_quiet_says_only_what_failed(customer: Customer) -> None:
    made = customer.try_run("-q", "keygen")
    wrong = customer.try_run("-q", "pin")

    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("ssh-ed25519 ")
    assert wrong.stderr.startswith("error: ")


def test_keygen_keeps_the_key_that_is_there(customer: Customer) -> None:
    first = customer.run("keygen")
    again = customer.try_run("keygen")
    forced = customer.run("keygen", "--force", "--comment", "db7")

    assert first.endswith(" integrateio-reverse-tunnel\n")
    assert (again.returncode, again.stdout) == (0, first)
    assert "kept" in again.stderr
    assert forced != first
    assert forced.endswith(" db7\n")
    assert (customer.home / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (customer.home / "id_ed25519.pub").read_text() == forced


def test_keygen_names_a_file_on_one_line(customer: Customer) -> None:
    file = customer.home / "id\nerror: nothing was made"

    made, kept = (customer.try_run("keygen", "--file", str(file)) for _ in range(2))

    assert made.stderr.splitlines() == [f"Made the identity {customer.home}/id\\nerror: nothing was made"]
    assert kept.stderr.splitlines() == [
        f"The identity {customer.home}/id\\nerror: nothing was made is there already; kept."
    ]


def test_keygen_asks_for_a_passphrase_only_on_a_terminal(customer: Customer) -> None:
    assert customer.run("keygen", "--passphrase", expect=64) == ""
    assert not (customer.home / "id_ed25519").exists()


def test_two_passphrases_that_differ_make_no_key(customer: Customer) -> None:
    with Terminal([*customer.command, "keygen", "--passphrase"], env=customer.environment) as terminal:
        terminal.expect("Passphrase for the new key: ")
        terminal.type("correct horse")
        terminal.expect("The same again: ")
        terminal.type("battery staple")
        terminal.expect("the two passphrases differ")

        assert terminal.leave()[0] == 64
        assert "horse" not in terminal.seen
    assert not (customer.home / "id_ed25519").exists()


@pytest.mark.parametrize("damage", ["missing", "mode", "truncated"])
def test_an_identity_that_cannot_be_used_is_66(configured: Customer, damage: str) -> None:
    configured.run("keygen")
    key = configured.home / "id_ed25519"
    if damage == "missing":
        key.unlink()
    elif damage == "mode":
        key.chmod(0o644)
    else:
        key.write_bytes(key.read_bytes()[:100])

    done = configured.try_run("up", "--daemon")

    assert done.returncode == 66
    assert re.match(r"error: .+\nhint: .+\n", done.stderr)
    configured.run("status", "--check", expect=69)


@pytest.mark.parametrize("form", [("up",), ("up", "--daemon")])
def test_no_pin_is_78(configured: Customer, form: tuple[str, ...]) -> None:
    configured.run("keygen")

    done = configured.try_run(*form)

    assert done.returncode == 78
    assert "ioconnect pin orders" in done.stderr


def _files_of_16_bytes() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))


@pytest.mark.parametrize(
    "command", [("keygen",), ("register", "--endpoint", "jump:58115", "--to", "db:3306")], ids=["keygen", "register"]
)
def test_a_full_disk_leaves_nothing_half_written(customer: Customer, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*customer.command, *command],
        env=customer.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=_files_of_16_bytes,
    )

    assert done.returncode == 73
    assert done.stdout == ""
    assert "error: cannot write" in done.stderr
    assert list(customer.home.iterdir()) == []


@pytest.mark.parametrize("command", [["keygen"], ["register", "--endpoint", "jump:58115", "--to", "db:3306"]])
def test_a_home_that_is_read_only(command: list[str]) -> None:
    """As somebody who is not root, to whom folders are not read-only."""
    with ordinary_user.folder() as home:
        home.chmod(0o500)
        said = ordinary_user.run(
            "import sys; from ioconnect import cli\nfrom ioconnect.commands.configure import keygen, register\n"
            "from ioconnect.status import observe; from ioconnect.keys import private_keys\n"
            "from ioconnect.custody import files\n",
            f"sys.argv = ['ioconnect', *{command}]\nsys.stderr = sys.stdout\n"
            "try: cli.main()\nexcept SystemExit as leaving: print('left', int(leaving.code))\n",
            environ={"IOCONNECT_HOME": str(home)},
        )

    assert said.startswith("error: cannot write ")
    assert said.endswith("left 73\n")


def test_a_reader_that_leaves_is_no_fault(configured: Customer) -> None:
    (configured.home / "log").mkdir()
    (configured.home / "log" / "ioconnect.log").write_text("a line of the log\n" * 100_000)

    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            'set -- "$@"; { "$@" logs -n 100000; echo "left $?" >&2; } | head -n 1',
            "sh",
            *configured.command,
        ],
        env=configured.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "a line of the log\n"
    assert done.stderr == "left 0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_standard_output_on_a_full_disk_is_said(configured: Customer) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*configured.command, "status", "--json"],
            env=configured.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 71
    assert done.stderr.startswith("error: the system refused: No space left on device")
    assert "Exception ignored" not in done.stderr


def test_closed_standard_streams_do_not_matter(configured: Customer) -> None:
    done = processes.run(
        ["/bin/sh", "-c", '"$@" status <&- >&- 2>&-', "sh", *configured.command], env=configured.environment
    )

    assert done.returncode == 69


def test_an_answer_that_is_not_utf8_is_asked_again(customer: Customer) -> None:
    with Terminal([*customer.command, "register"], env=customer.environment) as terminal:
        terminal.expect("Tunnel Endpoint")
        terminal.type(b"jump\xff:58115".decode("utf-8", "surrogateescape"))
        terminal.expect("error: ")
        terminal.expect("Tunnel Endpoint")
        terminal.press(CTRL_C)

        assert terminal.leave()[0] == 130


def test_ctrl_c_at_a_question_is_130(customer: Customer) -> None:
    with Terminal([*customer.command, "register"], env=customer.environment) as terminal:
        terminal.expect("Tunnel Endpoint")
        terminal.press(CTRL_C)

        assert terminal.leave()[0] == 130
        assert "Traceback" not in terminal.seen
    assert not (customer.home / "config.toml").exists()


@pytest.mark.parametrize("form", [("up",), ("up", "--daemon")])
def test_ctrl_c_while_it_connects_is_130(configured: Customer, form: tuple[str, ...]) -> None:
    """In the foreground the agent ends; one in the background goes on, which is said."""
    configured.run("keygen")
    blob = public_keys.decode("ssh-ed25519", configured.run("keygen").split()[1])
    known_hosts.pin(configured.home / "known_hosts", "127.0.0.1", 1, [blob])  # nobody listens at port 1

    with Terminal([*configured.command, *form], env=configured.environment) as terminal:
        terminal.expect("orders")
        terminal.press(CTRL_C)

        assert terminal.leave()[0] == 130
        assert "Traceback" not in terminal.text
        assert ("goes on in the background" in terminal.text) == ("--daemon" in form)
    configured.run("status", "--check", expect=75 if "--daemon" in form else 69)


def test_no_control_characters_but_on_a_terminal(configured: Customer) -> None:
    plain = configured.try_run("status")
    with Terminal([*configured.command, "status"], env=configured.environment) as terminal:
        terminal.leave()
        coloured = terminal.seen
    with Terminal([*configured.command, "status"], env={**configured.environment, "NO_COLOR": "1"}) as terminal:
        terminal.leave()
        uncoloured = terminal.seen

    assert "\x1b" not in plain.stdout + plain.stderr + uncoloured
    assert "\x1b[" in coloured
    assert "orders" in uncoloured


def test_light_commands_do_not_load_what_they_do_not_need(configured: Customer) -> None:
    code = (
        "import sys; from ioconnect import cli; sys.argv[0] = 'ioconnect'\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "heavy = ('paramiko', 'cryptography', 'rich', 'keyring', 'tomli_w')\n"
        "print([module for module in heavy if module in sys.modules], file=sys.stderr)"
    )
    for command in (("--version",), ("status", "--json"), ("status", "--check"), ("status",), ("--help",)):
        done = processes.run([sys.executable, "-c", code, *command], env=configured.environment)
        assert done.stderr.endswith("[]\n"), (command, done.stderr)


@pytest.mark.alone
@pytest.mark.parametrize("command", [("--version",), ("status",)])
def test_it_starts_within_three_times_click(configured: Customer, command: tuple[str, ...], tmp_path: Path) -> None:
    """The least CPU time of turns taken in alternation: a busy machine only adds. Compiled, as pip installs it.

    The other half of a core that is shared adds a third, so there are enough turns for some to be undisturbed.
    """
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        processes.run([sys.executable, *arguments], env={**configured.environment, **compiled})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    seconds("-m", "ioconnect", *command)
    seconds("-c", "import click")
    ours, clicks = zip(
        *((seconds("-m", "ioconnect", *command), seconds("-c", "import click")) for _ in range(18)), strict=True
    )

    assert min(ours) / min(clicks) < 3


def test_a_bug_is_one_line_and_a_traceback_only_when_asked(configured: Customer, tmp_path: Path) -> None:
    """Planted from outside: a room that breaks when it is imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Broken:\n    def find_spec(self, name, *rest):\n"
        "        if name == 'ioconnect.commands.inspect.status': raise KeyError('planted')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    configured.environment["PYTHONPATH"] = str(tmp_path)

    short, long = configured.try_run("status"), configured.try_run("status", "-v")

    assert (short.returncode, long.returncode) == (70, 70)
    assert short.stderr.startswith("error: unexpected KeyError: 'planted'\nhint: This is a bug")
    assert "Traceback" not in short.stderr
    assert "Traceback" in long.stderr
