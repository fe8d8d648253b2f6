"""`register`: from options, from any pasted line, from a person; nothing half-written."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.rigs.customer import Customer
from tests.rigs.terminals import CTRL_D, Terminal

from ioconnect.config import configuration
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JUMPHOST = "virginia-tunnel.flydata.app"
SSH_LINE = (
    f"ssh -NR 58115:localhost:3306 sshtunnel@{JUMPHOST} -i ~/.ssh/integrateio_reverse -p 50683 "
    '-o "ExitOnForwardFailure yes" -o ServerAliveInterval=10 -o ServerAliveCountMax=1 -v'
)
ORDERS = Tunnel("orders", HostPort(JUMPHOST, 58115), HostPort("localhost", 3306))


@pytest.fixture
def customer(tmp_path: Path) -> Iterator[Customer]:
    machine = Customer(tmp_path / "home")
    machine.environment["HOME"] = str(tmp_path)
    yield machine
    machine.close()


def saved(customer: Customer) -> tuple[Tunnel, ...]:
    return configuration.load(customer.home / "config.toml").tunnels


def test_from_options(customer: Customer) -> None:
    """Makes the identity too, shows its public key and says what is next; the answer is only the name."""
    done = customer.try_run("register", "orders", "--endpoint", f"{JUMPHOST}:58115", "--to", "localhost:3306")

    assert (done.returncode, done.stdout) == (0, "orders\n")
    assert saved(customer) == (ORDERS,)
    assert f"\n{(customer.home / 'id_ed25519.pub').read_text()}" in done.stderr
    assert "ioconnect pin orders" in done.stderr
    assert (customer.home / "config.toml").stat().st_mode & 0o777 == 0o600


def test_what_is_pinned_already_is_not_to_be_pinned(customer: Customer) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVv8i9Ck0LVwb9LK0ZmyDFAHlZhZ8pVKxQk6Zm1yrDt"
    (customer.home / "known_hosts").write_text(f"[{JUMPHOST}]:50683 {key}\n")

    done = customer.try_run("register", "orders", "--endpoint", f"{JUMPHOST}:58115", "--to", "localhost:3306")

    assert "Next: ioconnect up --daemon.\n" in done.stderr


def test_every_option_is_saved(customer: Customer) -> None:
    options = ("--ssh-port", "22", "--ssh-user", "me", "--proxy", "socks5://proxy:1080")

    customer.run("register", "orders", "--endpoint", "[2001:db8::7]:58115", "--to", "[::1]:3306", *options)

    expected = Tunnel(
        "orders",
        HostPort("2001:db8::7", 58115),
        HostPort("::1", 3306),
        ssh_port=22,
        ssh_user="me",
        proxy="socks5://proxy:1080",
    )
    assert saved(customer) == (expected,)


@pytest.mark.parametrize("by", ["option", "stdin"])
def test_from_a_pasted_line(customer: Customer, by: str) -> None:
    """Its key is not on this machine, so ours is the one to hand over."""
    arguments = ("register", "--paste", SSH_LINE if by == "option" else "-")

    done = customer.try_run(*arguments, text_in=SSH_LINE + "\n" if by == "stdin" else None)

    assert (done.returncode, done.stdout) == (0, "default\n")
    assert [tunnel.identity for tunnel in saved(customer)] == [None]
    assert "integrateio_reverse" in done.stderr
    assert "not on this machine" in done.stderr
    assert (customer.home / "id_ed25519.pub").read_text() in done.stderr


def test_the_key_of_a_pasted_line_is_taken_if_it_is_there(customer: Customer, tmp_path: Path) -> None:
    """The vendor knows that one; none of ours is made."""
    key = tmp_path / ".ssh" / "integrateio_reverse"
    customer.run("keygen", "--file", str(key))

    done = customer.try_run("register", "--paste", SSH_LINE)

    assert [tunnel.identity for tunnel in saved(customer)] == [key]
    assert str(key) in done.stderr
    assert "warning" not in done.stderr
    assert not (customer.home / "id_ed25519").exists()


def test_a_taken_key_that_the_agent_would_refuse_is_warned_of(customer: Customer, tmp_path: Path) -> None:
    key = tmp_path / ".ssh" / "integrateio_reverse"
    customer.run("keygen", "--file", str(key))
    key.chmod(0o644)

    done = customer.try_run("register", "--paste", SSH_LINE)

    assert done.returncode == 0
    assert "warning: others can read" in done.stderr


def test_options_win_over_a_pasted_line(customer: Customer) -> None:
    customer.run("register", "--paste", SSH_LINE, "--to", "db7:5432", "--ssh-port", "443")

    (tunnel,) = saved(customer)
    assert (str(tunnel.target), tunnel.ssh_port, str(tunnel.endpoint)) == ("db7:5432", 443, f"{JUMPHOST}:58115")


def test_a_name_that_exists_is_changed_only_with_force(customer: Customer) -> None:
    """Saying the same again is no change."""
    first = ("register", "orders", "--endpoint", "jump:58115", "--to", "db:3306")
    customer.run(*first)
    before = (customer.home / "config.toml").read_bytes()

    refused = customer.try_run("register", "orders", "--endpoint", "jump:58116", "--to", "db:3306")
    again = customer.try_run(*first)

    assert refused.returncode == 64
    assert "exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert (again.returncode, again.stdout) == (0, "orders\n")
    assert (customer.home / "config.toml").read_bytes() == before

    customer.run("register", "orders", "--endpoint", "jump:58116", "--to", "db:3306", "--force")

    assert [str(tunnel.endpoint) for tunnel in saved(customer)] == ["jump:58116"]


def test_without_a_name_the_only_tunnel_is_meant(customer: Customer) -> None:
    customer.run("register", "orders", "--endpoint", "jump:58115", "--to", "db:3306")

    assert customer.run("register", "--endpoint", "jump:58115", "--to", "db:1", "--force") == "orders\n"
    assert [str(tunnel.target) for tunnel in saved(customer)] == ["db:1"]


def test_two_tunnels_with_one_endpoint_are_refused(customer: Customer) -> None:
    customer.run("register", "orders", "--endpoint", "jump:58115", "--to", "db:3306")
    before = (customer.home / "config.toml").read_bytes()

    done = customer.try_run("register", "stock", "--endpoint", "JUMP:58115", "--to", "db:5432")

    assert done.returncode == 78
    assert "orders has the endpoint" in done.stderr
    assert (customer.home / "config.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--endpoint", "jump", "--to", "db:1"), "--endpoint: must be host:port"),
        (("--endpoint", "jump:0", "--to", "db:1"), "from 1 to 65535"),
        (("--endpoint", "jump:65536", "--to", "db:1"), "from 1 to 65535"),
        (("--endpoint", "jump:abc", "--to", "db:1"), "from 1 to 65535"),
        (("--endpoint", "::1:58115", "--to", "db:1"), "brackets"),
        (("--endpoint", "jump:1", "--to", ":3306"), "--to: the host is empty"),
        (("--endpoint", "jump:1", "--to", "db:1", "--ssh-user", ""), "--ssh-user: the user name is empty"),
        (("--endpoint", "jump:1", "--to", "db:1", "--proxy", "ftp://u:secret@p:1"), "--proxy: must be"),
        (("or ders", "--endpoint", "jump:1", "--to", "db:1"), "or ders"),
        (("--endpoint", "jump:1"), "missing: --to HOST:PORT"),
        ((), "missing: --endpoint HOST:PORT and --to HOST:PORT"),
        (("--paste", "jump:58115"), "missing: --to HOST:PORT"),
        (("--paste", "select * from orders"), "select"),
        (("--paste", ""), "nothing was pasted"),
        (("--paste", "ssh -NR <allocated_port>:<your-db-host>:<your-db-port> sshtunnel@<jumphost>"), "placeholder"),
        (("--paste", "ssh -NR 1:a:1 -R 2:b:2 u@jump"), "2 tunnels"),
    ],
)
def test_bad_input_is_64_and_writes_nothing(customer: Customer, arguments: tuple[str, ...], said: str) -> None:
    done = customer.try_run("register", *arguments)

    assert done.returncode == 64
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert "secret" not in done.stderr
    assert done.stdout == ""
    assert list(customer.home.iterdir()) == []


def test_a_paste_that_is_not_text(customer: Customer, tmp_path: Path) -> None:
    file = tmp_path / "bytes"
    file.write_bytes(b"\xff\xfe\x1b[2J" * 1000)

    with file.open("rb") as stdin:
        done = subprocess.run(
            [*customer.command, "register", "--paste", "-"],
            env=customer.environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 64
    assert "\x1b" not in done.stderr


def test_a_broken_configuration_is_left_alone(customer: Customer) -> None:
    file = customer.home / "config.toml"
    file.write_text("schema = 1\n[tunnles]\n")

    done = customer.try_run("register", "--endpoint", "jump:58115", "--to", "db:3306")

    assert done.returncode == 78
    assert file.read_text() == "schema = 1\n[tunnles]\n"
    assert not (customer.home / "id_ed25519").exists()


def test_a_terminal_is_asked_for_what_is_missing(customer: Customer) -> None:
    """The key comes first: the UI wants it before it gives an endpoint. A wrong answer is asked again."""
    with Terminal([*customer.command, "register", "orders"], env=customer.environment, capture_stdout=True) as person:
        person.expect("ssh-ed25519 ")
        person.expect("Tunnel Endpoint")
        person.type("no endpoint")
        person.expect("error: ")
        person.expect("Tunnel Endpoint")
        person.type(f"{JUMPHOST}:58115")
        person.expect("Database")
        person.type("localhost")
        person.expect("error: database: must be host:port")
        person.expect("Database")
        person.type("localhost:3306")
        person.expect("Saved the tunnel orders")

        assert person.leave() == (0, "orders\n")
    assert saved(customer) == (ORDERS,)


def test_a_terminal_may_answer_with_a_whole_line(customer: Customer) -> None:
    with Terminal([*customer.command, "register", "orders"], env=customer.environment) as person:
        person.expect("Tunnel Endpoint")
        person.type(SSH_LINE)
        person.expect("Saved the tunnel orders")

        assert person.leave()[0] == 0
    assert saved(customer) == (ORDERS,)


def test_nobody_is_asked_for_what_would_be_refused(customer: Customer) -> None:
    customer.run("register", "orders", "--endpoint", "jump:58115", "--to", "db:3306")

    with Terminal([*customer.command, "register", "orders"], env=customer.environment) as person:
        person.expect("error: the tunnel orders exists already")
        assert person.leave()[0] == 64


def test_end_of_input_at_a_question_saves_nothing(customer: Customer) -> None:
    """The identity that was made and shown stays: it may have been pasted already."""
    with Terminal([*customer.command, "register"], env=customer.environment) as person:
        person.expect("Tunnel Endpoint")
        person.press(CTRL_D)

        assert person.leave()[0] == 130
    assert sorted(entry.name for entry in customer.home.iterdir()) == ["id_ed25519", "id_ed25519.pub"]


def test_what_is_registered_at_once_is_all_saved(customer: Customer) -> None:
    """Each reads the configuration, changes and replaces it while no other does."""
    customer.run("keygen")
    running = [
        subprocess.Popen(
            [*customer.command, "register", f"t{n}", "--endpoint", f"{JUMPHOST}:{50000 + n}", "--to", "db:3306"],
            env=customer.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(12)
    ]
    errors = [process.communicate(timeout=90)[1] for process in running]

    assert [process.returncode for process in running] == [0] * 12, errors
    assert {tunnel.name for tunnel in saved(customer)} == {f"t{n}" for n in range(12)}
    assert [file.name for file in customer.home.iterdir() if file.name.startswith(".")] == []


def test_a_password_in_the_proxy_option_is_warned_of_without_repeating_it(customer: Customer) -> None:
    """Whoever lists the processes sees it."""
    options = ("--endpoint", f"{JUMPHOST}:58115", "--to", "localhost:3306")

    done = customer.try_run("register", "orders", *options, "--proxy", "http://me:hunter2@proxy:3128")
    plain = customer.try_run("register", "stock", *options[2:], "--endpoint", "h:1", "--proxy", "http://me@proxy:1")

    assert (done.returncode, plain.returncode) == (0, 0)
    assert "warning: the password in --proxy was visible to every account" in done.stderr
    assert str(customer.home / "config.toml") in done.stderr
    assert "hunter2" not in done.stderr
    assert "warning" not in plain.stderr
