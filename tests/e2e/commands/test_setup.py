"""`setup` on a terminal, from nothing to a tunnel that runs; interrupted at every step, and from a script."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.greeter import Greeter, answers_through
from tests.rigs.terminals import CTRL_C, CTRL_D, Terminal

from ioconnect.commands.setup.listening_sockets import DATABASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rigs.stub import StubRig

PASTE = "Paste the Tunnel Endpoint"
DATABASE = "HOST:PORT)"
TRUST = "Is this what Integrate.io told you?"
AGAIN = "try again?"
SERVICE = "Keep it running from every start on"
BOOTED = Path("/run/systemd/system")  # sd_booted(3)


@pytest.fixture
def database() -> Iterator[Greeter]:
    with Greeter() as service:
        yield service


@pytest.fixture
def customer(tmp_path: Path, rig: StubRig) -> Iterator[Customer]:  # noqa: ARG001  the agent ends before the jumphost
    machine = Customer(tmp_path / "home", PATH=_path(tmp_path))
    yield machine
    machine.close()


def _path(folder: Path) -> str:
    """Return a PATH with a clipboard that keeps what it gets in a file, and a cron without a crontab of ours."""
    programs = folder / "bin"
    programs.mkdir()
    for name, script in (
        ("xclip", f'exec cat >"{folder}/clipboard"'),
        ("crontab", "echo no crontab for us >&2; exit 1"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ssh_line(rig: StubRig, database: Greeter) -> str:
    """Return what the UI shows."""
    return f"ssh -NR {rig.listen_port}:localhost:{database.port} {rig.user}@{rig.host} -p {rig.port}"


def all_answers(rig: StubRig, database: Greeter) -> tuple[str, ...]:
    where = ("--endpoint", f"{rig.host}:{rig.listen_port}", "--ssh-port", str(rig.port))
    return (*where, "--to", f"localhost:{database.port}", "--fingerprint", rig.fingerprint, "--no-service")


def public_key(customer: Customer) -> str:
    return (customer.home / "id_ed25519.pub").read_text()


def at_terminal(customer: Customer, *options: str, **environment: str) -> Terminal:
    return Terminal([*customer.command, "setup", *options], env={**customer.environment, **environment})


def test_from_nothing_to_a_running_tunnel(customer: Customer, rig: StubRig, database: Greeter) -> None:
    """The key is handed over while setup waits, as somebody does who has the UI open beside it."""
    with at_terminal(customer) as person:
        person.expect('for the field "Your SSH Public Key"')
        person.expect("integrateio-reverse-tunnel")
        person.expect(PASTE)
        assert public_key(customer) in person.text
        rig.authorize(public_key(customer), rig.listen_port)
        person.type(ssh_line(rig, database))
        person.expect(f"saved the tunnel default: {rig.host}:{rig.listen_port} leads to localhost:{database.port}")
        person.expect(rig.fingerprint)
        person.expect(TRUST)
        person.type("yes")
        person.expect("forward")
        person.expect(SERVICE)
        person.type("n")
        code, _ = person.leave(deadline=40)

    assert code == 0, person.text
    assert "the tunnel default is connected" in person.text
    assert customer.tunnel()["state"] == "connected"
    assert answers_through(rig.listen_port)


def test_interrupted_at_every_step_it_goes_on_from_there(customer: Customer, rig: StubRig, database: Greeter) -> None:
    """What was done is not asked again; the SSH port, said once, is kept with the endpoint."""

    def interrupted_at(question: str, *answers: tuple[str, str], options: tuple[str, ...] = ()) -> str:
        with at_terminal(customer, *options) as person:
            for asked, answer in answers:
                person.expect(asked)
                person.type(answer)
            person.expect(question)
            person.press(CTRL_C)
            code, _ = person.leave()
        assert code == 130, person.text
        assert "goes on from here: ioconnect setup default" in person.text
        assert "Traceback" not in person.text
        return person.text

    interrupted_at(PASTE)
    key = public_key(customer)
    endpoint = f"{rig.host}:{rig.listen_port}"
    to_database = interrupted_at("atabase as seen", (PASTE, endpoint), options=("--ssh-port", str(rig.port)))
    to_pin = interrupted_at(TRUST, ("atabase as seen", f"localhost:{database.port}"))
    to_test = interrupted_at(AGAIN, (TRUST, "yes"))
    rig.authorize(key, rig.listen_port)
    to_service = interrupted_at(SERVICE)
    with at_terminal(customer) as person:
        person.expect(SERVICE)
        person.type("no")
        code, _ = person.leave()

    assert (code, customer.tunnel()["state"], public_key(customer)) == (0, "connected", key), person.text
    assert key in to_database
    assert f"{endpoint}  (from last time" in to_pin
    assert "auth_refused" in to_test
    assert PASTE not in to_pin + to_test + to_service + person.text
    assert TRUST not in to_service + person.text
    assert not (customer.home / "state" / "setup.json").exists()


def test_what_fails_can_be_mended_meanwhile(customer: Customer, rig: StubRig, database: Greeter) -> None:
    """Nobody has saved the key in the UI yet; then somebody does."""
    with at_terminal(customer, *all_answers(rig, database)) as person:
        person.expect("auth_refused")
        person.expect(AGAIN)
        rig.authorize(public_key(customer), rig.listen_port)
        person.type("")
        code, _ = person.leave(deadline=40)

    assert (code, customer.tunnel()["state"]) == (0, "connected"), person.text


def test_given_all_answers_it_asks_nothing(customer: Customer, rig: StubRig, database: Greeter) -> None:
    """And repeated, as a provisioning script does, it finds all of it done."""
    rig.authorize(customer.run("keygen"), rig.listen_port)

    first = customer.try_run("setup", "orders", *all_answers(rig, database), text_in="")
    pid = customer.agent_pid()
    second = customer.try_run("setup", "orders", *all_answers(rig, database), text_in="")

    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert (second.returncode, second.stdout) == (0, ""), second.stderr
    assert "\x1b" not in first.stderr
    assert customer.agent_pid() == pid
    assert answers_through(rig.listen_port)


def test_without_a_start_nothing_runs(customer: Customer, rig: StubRig, database: Greeter) -> None:
    rig.authorize(customer.run("keygen"), rig.listen_port)

    customer.run("setup", *all_answers(rig, database), "--no-start")

    assert not customer.status()["agent"]["running"]


def test_a_second_tunnel_joins_the_agent_that_runs(customer: Customer, rig: StubRig, database: Greeter) -> None:
    other_port = processes.free_port()
    rig.authorize(customer.run("keygen"), rig.listen_port, other_port)
    answers = all_answers(rig, database)
    customer.run("setup", "orders", *answers)
    pid = customer.agent_pid()

    customer.run("setup", "stock", *answers, "--endpoint", f"{rig.host}:{other_port}")

    assert customer.wait_for("connected", "stock")
    assert customer.agent_pid() == pid


def test_missing_answers_are_named_together_where_nobody_can_be_asked(customer: Customer) -> None:
    """Nothing is done before: not even a key is made."""
    done = customer.try_run("setup", text_in="")

    assert done.returncode == 64
    for option in ("--endpoint", "--to", "--fingerprint", "--service"):
        assert option in done.stderr
    assert list(customer.home.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("--endpoint", "nonsense"), ("--to", "db:70000"), ("--paste", "ssh me@jump"), ("--fingerprint", "MD5:00")],
)
def test_an_answer_that_cannot_be_read_is_refused_before_anything_is_done(
    customer: Customer, rig: StubRig, database: Greeter, option: str, value: str
) -> None:
    done = customer.try_run("setup", *all_answers(rig, database), option, value, text_in="")

    assert done.returncode == 64, done.stderr
    assert list(customer.home.iterdir()) == []


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the service of an ordinary user is that user's own")


@pytest.fixture
def root(customer: Customer) -> Customer:
    """The same without systemd, as in a container."""
    if BOOTED.is_dir():
        hidden = f'mount -t tmpfs tmpfs {BOOTED.parent} && exec "$0" "$@"'
        customer.command = ["unshare", "--mount", "sh", "-c", hidden, *customer.command]
    return customer


@AS_ROOT
@pytest.mark.parametrize(
    ("options", "said"), [((), "--run-as ACCOUNT"), (("--run-as", "no-such"), "there is no account no-such")]
)
def test_root_without_systemd_is_asked_for_an_account_before_anything_is_done(
    root: Customer, rig: StubRig, database: Greeter, options: tuple[str, ...], said: str
) -> None:
    """Not after key, tunnel, pin and test: a service that runs as root is not installed."""
    done = root.try_run("setup", *all_answers(rig, database), "--service", *options, text_in="")

    assert (done.returncode, said in done.stderr) == (64, True), done.stderr
    assert list(root.home.iterdir()) == []


@AS_ROOT
def test_an_account_that_cannot_run_the_service_is_told_why(root: Customer, rig: StubRig, database: Greeter) -> None:
    """Mended, or given up; nothing is installed for it meanwhile, and nothing runs as root."""
    rig.authorize(root.run("keygen"), rig.listen_port)
    with at_terminal(root, *all_answers(rig, database)[:-1], "--service") as person:
        person.expect("Name an account of this machine for it: ")
        person.type("no-such")
        person.expect("there is no account no-such")
        person.type("nobody")
        person.expect("the account nobody may not read")
        person.expect(AGAIN)
        person.type("")
        person.expect(AGAIN)
        person.type("n")
        code, _ = person.leave()

    assert code == 71, person.text
    assert not root.status()["agent"]["running"]


@AS_ROOT
@pytest.mark.parametrize(
    ("account", "said", "is_same_agent"),
    [("nobody", "the account nobody may not read", True), ("root", "the crontab cannot be changed", False)],
)
def test_an_agent_that_runs_still_does_after_a_service_is_refused(
    root: Customer, rig: StubRig, database: Greeter, account: str, said: str, *, is_same_agent: bool
) -> None:
    """Its tunnel was down then: it was stopped before anything was examined."""
    rig.authorize(root.run("keygen"), rig.listen_port)
    answers = all_answers(rig, database)[:-1]
    root.run("setup", *answers, "--no-service", text_in="")
    before = root.agent_pid()

    done = root.try_run("setup", *answers, "--service", "--run-as", account, text_in="")

    assert (done.returncode, said in done.stderr) == (71, True), done.stderr
    assert (root.agent_pid() == before) is is_same_agent
    assert ("Stopped the agent" in done.stderr) is not is_same_agent
    assert root.tunnel()["state"] == "connected"


def test_a_failed_test_ends_a_script_with_its_code(customer: Customer, rig: StubRig, database: Greeter) -> None:
    """The key is not registered: no service is made of that, and no agent."""
    done = customer.try_run("setup", *all_answers(rig, database), text_in="")

    assert done.returncode == 77
    assert "auth_refused" in done.stderr
    assert not customer.status()["agent"]["running"]


def test_a_wrong_fingerprint_pins_nothing(customer: Customer, rig: StubRig, database: Greeter) -> None:
    wrong = "SHA256:" + base64.b64encode(bytes(32)).decode().rstrip("=")

    done = customer.try_run("setup", *all_answers(rig, database), "--fingerprint", wrong, text_in="")

    assert done.returncode == 76
    assert not (customer.home / "known_hosts").exists()


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--to", "elsewhere:3306", "target"), ("--endpoint", "jump:1", "endpoint"), ("--proxy", "none", "proxy")],
)
def test_a_tunnel_that_exists_is_not_changed(
    customer: Customer, rig: StubRig, option: str, value: str, named: str
) -> None:
    customer.run("register", "--endpoint", f"{rig.host}:{rig.listen_port}", "--to", "localhost:3306")
    before = (customer.home / "config.toml").read_bytes()

    done = customer.try_run("setup", option, value, text_in="")

    assert done.returncode == 64
    assert f"with another {named}" in done.stderr
    assert (customer.home / "config.toml").read_bytes() == before


def test_of_several_tunnels_one_must_be_named(customer: Customer) -> None:
    for name, port in (("orders", "1"), ("stock", "2")):
        customer.run("register", name, "--endpoint", f"jump:{port}", "--to", "db:3306")

    done = customer.try_run("setup", "--no-service", text_in="")

    assert done.returncode == 64
    assert "orders, stock" in done.stderr


def test_a_bad_answer_is_asked_again(customer: Customer) -> None:
    """End of input is Ctrl-C by another name."""
    with at_terminal(customer) as person:
        person.expect(PASTE)
        person.type("the line from the page")
        person.expect("error:")
        person.expect(PASTE)
        person.press(CTRL_D)
        code, _ = person.leave()

    assert code == 130
    assert "goes on from here" in person.text


def test_a_unit_pasted_as_a_whole_is_one_answer(customer: Customer, rig: StubRig, database: Greeter) -> None:
    """None of its lines answers the question after it."""
    command = ssh_line(rig, database).replace(" -NR", " \\\n  -NR")
    unit = f"[Unit]\nDescription=yes\n[Service]\nExecStart=/usr/bin/{command}\nRestart=always\n[Install]\nyes"
    with at_terminal(customer) as person:
        person.expect(PASTE)
        person.type(unit)
        person.expect("saved the tunnel default")
        person.expect(TRUST)
        person.press(CTRL_C)
        code, _ = person.leave()

    assert code == 130
    assert not (customer.home / "known_hosts").exists()


def test_a_database_that_listens_here_is_offered(customer: Customer) -> None:
    """By its number; others may listen on this machine, too."""
    with contextlib.ExitStack() as ends:
        service = _on_the_port_of(ends, "SQL Server", "Oracle", "MongoDB")
        with at_terminal(customer) as person:
            person.expect(PASTE)
            person.type("jump:58115")
            person.expect("Which is it?")
            person.expect(DATABASE)
            number = next(line.split()[0] for line in person.text.splitlines() if f"localhost:{service.port}" in line)
            person.type("99999999999999999999")
            person.expect("error:")
            person.type(number)
            person.expect(f"leads to localhost:{service.port}")
            person.press(CTRL_C)
            person.leave()


def _on_the_port_of(ends: contextlib.ExitStack, *kinds: str) -> Greeter:
    """Start a service where one of these databases usually listens."""
    for port, kind in DATABASES.items():
        if kind in kinds and not processes.listens(port):
            with contextlib.suppress(OSError):  # somebody was faster
                return ends.enter_context(Greeter(port))
    pytest.skip("every port that would do is taken")


def test_the_key_is_on_the_clipboard(customer: Customer, tmp_path: Path) -> None:
    with at_terminal(customer, DISPLAY=":7") as person:
        person.expect("copied to the clipboard")
        person.expect(PASTE)
        person.press(CTRL_C)
        person.leave()

    assert (tmp_path / "clipboard").read_text() == public_key(customer).strip()


def test_over_ssh_the_terminal_is_asked_to_copy_the_key(customer: Customer) -> None:
    with at_terminal(customer, SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22") as person:
        person.expect("sent to your terminal's clipboard")
        person.expect(PASTE)
        person.press(CTRL_C)
        person.leave()

    sent = person.seen.partition("\x1b]52;c;")[2].partition("\a")[0]
    assert base64.b64decode(sent).decode() == public_key(customer).strip()


def test_without_colours_no_control_character_is_sent(customer: Customer) -> None:
    with at_terminal(customer, SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22", NO_COLOR="1") as person:
        person.expect(PASTE)
        person.press(CTRL_C)
        person.leave()

    assert "\x1b" not in person.seen


def test_a_draft_that_is_damaged_is_forgotten(customer: Customer) -> None:
    (customer.home / "state").mkdir()
    for damaged in ("{", "[" * 100_000, json.dumps({"schema": 1, "name": "default", "endpoint": 7})):
        (customer.home / "state" / "setup.json").write_text(damaged)
        with at_terminal(customer) as person:
            person.expect(PASTE)
            person.press(CTRL_C)
            code, _ = person.leave()
        assert code == 130
