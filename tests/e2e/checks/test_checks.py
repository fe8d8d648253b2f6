"""`ioconnect test` against the stand-in jumphost: all well, and every fault by its own name in the first failure."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes, stub
from tests.rigs.customer import Customer
from tests.rigs.handshakes import black_hole, mysql, silence
from tests.rigs.proxies import Scripted, read_head
from tests.rigs.terminals import CTRL_C, Terminal

from ioconnect.checks import runner
from ioconnect.checks.results import CheckStatus, exit_code_of
from ioconnect.errors import ExitCode, ReasonCode

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ioconnect.checks.results import CheckId, CheckResult

CHECKS = ["config", "identity", "target", "dns", "tcp", "host_key", "auth", "forward"]
WORST = 30.0  # seconds for the whole, against any server


class World:
    """A customer's machine with one tunnel, a jumphost that knows its key, and a database that greets."""

    def __init__(self, home: Path, rig: stub.StubRig, database: int) -> None:
        self.rig = rig
        self.customer = Customer(home)
        self.port = rig.listen_port
        self.settings: dict[str, str | int] = {
            "endpoint": f"127.0.0.1:{self.port}",
            "target": f"127.0.0.1:{database}",
            "ssh_port": rig.port,
        }
        for name in ("client_ed25519", "client_ed25519.pub"):
            there = home / name.replace("client_", "id_")
            there.write_bytes((rig.folder / name).read_bytes())
            there.chmod(0o600)
        self.pin(rig.host_key_line)
        self.configure()

    def pin(self, key: str, port: int | None = None) -> None:
        (self.customer.home / "known_hosts").write_text(f"[127.0.0.1]:{port or self.rig.port} {key}\n")

    def configure(self, **changes: str | int) -> None:
        self.settings |= changes
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in self.settings.items()]
        (self.customer.home / "config.toml").write_text("schema = 1\n[tunnels.orders]\n" + "".join(lines))

    def test(self, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Run `test --json`; return its code and its checks by id."""
        done = self.customer.try_run("test", "--json", *arguments)
        answer = json.loads(done.stdout)
        assert set(answer) == {"schema", "checks", "ok"}
        assert answer["schema"] == 1
        assert answer["ok"] is (done.returncode == 0)
        for check in answer["checks"]:
            assert set(check) == {"id", "status", "detail", "reason", "hint", "ms"}
        assert [check["id"] for check in answer["checks"]] == CHECKS
        return done.returncode, {check["id"]: check for check in answer["checks"]}


@pytest.fixture
def database() -> Iterator[int]:
    server = Scripted(mysql("8.0.36"))
    yield server.port
    server.stop()


@pytest.fixture
def world(tmp_path: Path, database: int) -> Iterator[World]:
    with stub.running(tmp_path / "jumphost") as rig:
        made = World(tmp_path / "home", rig, database)
        yield made
        made.customer.close()


def statuses(checks: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: check["status"] for name, check in checks.items()}


def test_all_well_and_nothing_is_held(world: World) -> None:
    code, checks = world.test()

    assert (code, statuses(checks)) == (0, dict.fromkeys(CHECKS, "pass"))
    assert checks["target"]["detail"].startswith("MySQL 8.0.36 at 127.0.0.1:")
    assert world.rig.fingerprint in checks["host_key"]["detail"]
    assert checks["forward"]["detail"].startswith("Tunnel is open")
    counters = world.rig.ledger.counters
    assert (counters.connections, counters.signatures, counters.forwards_granted) == (1, 1, 1)
    world.rig.wait_for(lambda: not world.rig.jumphost.sessions())
    assert not world.rig.jumphost.listens_on(world.port)
    assert list(world.rig.ledger.violations) == []


# --- faults planted by hand: what, where the first failure is, why


def stop_database(world: World) -> None:
    world.configure(target=f"127.0.0.1:{processes.free_port()}")


def swap_host_key(world: World) -> None:
    world.rig.faults.swap_host_key()


def forget_pin(world: World) -> None:
    (world.customer.home / "known_hosts").unlink()


def revoke(world: World) -> None:
    world.rig.faults.revoke(world.rig.public)


def hold_port(world: World) -> None:
    world.rig.faults.hold_port(world.port)


def forbid_forward(world: World) -> None:
    world.rig.faults.refuse_forward("not_permitted")


def misspell_name(world: World) -> None:
    world.configure(endpoint=f"no-such-jumphost.invalid:{world.port}")


def close_ssh_port(world: World) -> None:
    world.configure(ssh_port=processes.free_port())


def turn_away(world: World) -> None:
    world.rig.faults.turn_away(b"Exceeded MaxStartups\r\n")


def punish(world: World) -> None:
    world.rig.faults.turn_away(b"Not allowed at this time\r\n")


def lose_identity(world: World) -> None:
    (world.customer.home / "id_ed25519").unlink()


def open_identity(world: World) -> None:
    (world.customer.home / "id_ed25519").chmod(0o644)


def break_config(world: World) -> None:
    world.configure(ssh_prot=22)


def break_proxy(world: World) -> None:
    world.configure(proxy=f"http://127.0.0.1:{processes.free_port()}")


FAULTS = [
    (stop_database, "target", ReasonCode.TARGET_UNREACHABLE),
    (swap_host_key, "host_key", ReasonCode.HOST_KEY_CHANGED),
    (forget_pin, "host_key", ReasonCode.HOST_KEY_UNPINNED),
    (revoke, "auth", ReasonCode.AUTH_REFUSED),
    (hold_port, "forward", ReasonCode.PORT_BUSY),
    (forbid_forward, "forward", ReasonCode.FORWARD_NOT_PERMITTED),
    (misspell_name, "dns", ReasonCode.DNS_FAILED),
    (close_ssh_port, "tcp", ReasonCode.UNREACHABLE),
    (turn_away, "host_key", ReasonCode.TOO_MANY_CONNECTIONS),
    (punish, "host_key", ReasonCode.PENALIZED),
    (lose_identity, "identity", ReasonCode.IDENTITY_MISSING),
    (open_identity, "identity", ReasonCode.IDENTITY_UNREADABLE),
    (break_config, "config", ReasonCode.CONFIG_INVALID),
    (break_proxy, "tcp", ReasonCode.UNREACHABLE),
]


@pytest.mark.parametrize(("plant", "place", "reason"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_fault_is_named_by_the_first_failure(
    world: World, plant: Callable[[World], None], place: str, reason: ReasonCode
) -> None:
    """In words, with what to do about it; the exit code is that fault's; what does not hang on it is still tried."""
    plant(world)

    code, checks = world.test()

    failures = [check for check in checks.values() if check["status"] == "fail"]
    assert [(check["id"], check["reason"]) for check in failures] == [(place, reason.value)]
    assert code == exit_code_of(reason)
    assert failures[0]["detail"]
    assert failures[0]["hint"]
    for check in checks.values():
        assert (check["reason"] is None) is (check["status"] != "fail")


def test_a_database_that_is_down_stops_nothing_else(world: World) -> None:
    stop_database(world)

    code, checks = world.test()

    assert code == ExitCode.UNAVAILABLE
    assert statuses(checks) == {**dict.fromkeys(CHECKS, "pass"), "target": "fail"}


def test_without_an_identity_the_host_key_is_still_compared(world: World) -> None:
    """Whoever has lost the key learns in the same pass whether the jumphost is the right one."""
    lose_identity(world)

    code, checks = world.test()

    assert code == ExitCode.NO_INPUT
    skipped = {"identity": "fail", "auth": "skip", "forward": "skip"}
    assert statuses(checks) == {**dict.fromkeys(CHECKS, "pass"), **skipped}
    assert (world.rig.ledger.counters.connections, world.rig.ledger.counters.auth_requests) == (1, 0)

    world.rig.faults.swap_host_key()
    assert world.test()[1]["host_key"]["reason"] == "host_key_changed"


def test_a_wrong_host_key_sees_no_sign_in(world: World) -> None:
    old = world.rig.fingerprint
    swap_host_key(world)

    _, checks = world.test()

    assert old in checks["host_key"]["detail"]
    assert world.rig.fingerprint in checks["host_key"]["detail"]
    assert world.rig.ledger.counters.auth_requests == 0


def test_a_proxy_that_refuses(world: World) -> None:
    def forbid(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    proxy = Scripted(forbid)
    world.configure(proxy=f"http://somebody:hunter2@127.0.0.1:{proxy.port}")
    try:
        code, checks = world.test()
    finally:
        proxy.stop()

    assert (code, checks["tcp"]["reason"]) == (69, "proxy_refused")
    assert "port 443 only" in checks["tcp"]["hint"]
    assert checks["dns"]["status"] == "pass"
    assert statuses(checks)["host_key"] == "skip"
    assert "hunter2" not in json.dumps(checks)


def test_a_closed_port_asks_whether_443_is_open(world: World) -> None:
    close_ssh_port(world)

    hint = world.test()[1]["tcp"]["hint"]

    assert "Please allow outgoing TCP connections from this machine to 127.0.0.1, port" in hint
    assert "Port 443 of the same host does" in hint


class Silent:
    """A listener to checks that prints nothing."""

    def began(self, check: CheckId) -> None:
        """See CheckListener."""

    def done(self, check: CheckResult) -> None:
        """See CheckListener."""


def drip(connection: socket.socket) -> None:
    """Send a byte now and then, for ever."""
    connection.settimeout(0.3)
    while True:
        connection.sendall(b"A")
        with contextlib.suppress(TimeoutError):
            if not connection.recv(4096):
                return


@pytest.mark.parametrize("drips", [False, True])
def test_a_jumphost_without_a_banner_is_told_at_the_sign_ins_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch, *, drips: bool
) -> None:
    """As the next two at full length, which are long; without the command, whose deadline is a constant."""
    monkeypatch.setattr(runner, "AUTH_TIMEOUT", (0.5, 1.0))
    jumphost = Scripted(drip if drips else silence)
    world.configure(ssh_port=jumphost.port)
    world.pin(world.rig.host_key_line, jumphost.port)
    began = time.monotonic()
    try:
        report = runner.run_checks(None, world.customer.paths, {}, Silent())
    finally:
        jumphost.stop()

    assert 0.9 < time.monotonic() - began < 6.0
    checks = {check.id.value: check for check in report.checks}
    assert (report.exit_code, checks["host_key"].reason) == (ExitCode.UNAVAILABLE, ReasonCode.BANNER_TIMEOUT)
    assert [name for name in CHECKS if checks[name].status is CheckStatus.SKIP] == ["auth", "forward"]
    assert checks["target"].status is CheckStatus.PASS


@pytest.mark.long
def test_a_jumphost_that_accepts_and_says_nothing(world: World) -> None:
    """It fails at host_key, in time, and what can be known without it is known."""
    world.rig.faults.banner_silence()
    began = time.monotonic()

    code, checks = world.test()

    assert time.monotonic() - began < WORST
    assert (code, checks["host_key"]["reason"]) == (69, "banner_timeout")
    assert [name for name in CHECKS if checks[name]["status"] == "skip"] == ["auth", "forward"]


@pytest.mark.long
def test_a_byte_now_and_then_buys_no_more_time(world: World) -> None:
    """From the jumphost and from the database at once: the worst that both can do."""
    jumphost, database = Scripted(drip), Scripted(drip)
    world.configure(ssh_port=jumphost.port, target=f"127.0.0.1:{database.port}")
    began = time.monotonic()
    try:
        code, checks = world.test()
    finally:
        jumphost.stop()
        database.stop()

    assert time.monotonic() - began < WORST
    assert (code, checks["host_key"]["reason"]) == (69, "banner_timeout")
    assert checks["target"]["status"] == "pass"


def test_two_black_holes(world: World) -> None:
    """Both are told from a refusal, in time."""
    began = time.monotonic()
    with black_hole() as jumphost, black_hole() as database:
        world.configure(ssh_port=jumphost, target=f"127.0.0.1:{database}")
        code, checks = world.test()

    assert time.monotonic() - began < WORST
    assert code == ExitCode.UNAVAILABLE
    assert "no answer from the database" in checks["target"]["detail"]
    assert "no answer from 127.0.0.1 within" in checks["tcp"]["detail"]
    assert statuses(checks)["host_key"] == "skip"


def test_beside_a_running_agent_its_state_is_read(world: World) -> None:
    """And the jumphost sees not one more connection."""
    world.customer.run("up", "--daemon")
    before = world.rig.ledger.counters.connections

    code, checks = world.test()

    assert (code, statuses(checks)) == (0, dict.fromkeys(CHECKS, "pass"))
    assert f"the running agent (pid {world.customer.agent_pid()})" in checks["forward"]["detail"]
    assert world.rig.ledger.counters.connections == before
    world.customer.wait_for("connected", "orders")


def test_a_changed_endpoint_is_tried_for_itself_beside_a_running_agent(world: World) -> None:
    """Not answered with the agent's old state: the agent has another endpoint, and the new one leads nowhere."""
    world.customer.run("up", "--daemon")
    world.configure(ssh_port=processes.free_port())

    code, checks = world.test()

    assert code == ExitCode.UNAVAILABLE
    assert (checks["config"]["status"], checks["tcp"]["status"]) == ("warn", "fail")
    assert f"127.0.0.1:{world.rig.port}" in checks["config"]["detail"]
    assert "reload" in checks["config"]["hint"]


def test_a_changed_target_is_told_and_tried_beside_a_running_agent(world: World) -> None:
    world.customer.run("up", "--daemon")
    before = world.settings["target"]
    world.configure(target=f"127.0.0.1:{processes.free_port()}")

    code, checks = world.test()

    assert code == ExitCode.UNAVAILABLE
    assert (checks["config"]["status"], checks["target"]["status"]) == ("warn", "fail")
    assert str(before) in checks["config"]["detail"]
    assert checks["forward"]["status"] == "pass", "the port is the agent's, and it holds it"
    world.customer.wait_for("connected", "orders")


def test_a_replaced_key_is_told_and_signs_in_for_itself_beside_a_running_agent(world: World) -> None:
    world.customer.run("up", "--daemon")
    world.customer.run("keygen", "--force")

    code, checks = world.test()

    assert code == ExitCode.NO_PERMISSION
    assert (checks["identity"]["status"], checks["auth"]["reason"]) == ("warn", "auth_refused")
    assert "the running agent signed in with SHA256:" in checks["identity"]["detail"]
    world.customer.wait_for("connected", "orders")


def test_a_replaced_key_that_is_registered_is_a_warning(world: World) -> None:
    world.customer.run("up", "--daemon")
    world.rig.authorize(world.customer.run("keygen", "--force"), world.port)

    code, checks = world.test()

    assert code == 0
    expected = {**dict.fromkeys(CHECKS, "pass"), "identity": "warn"}
    assert statuses(checks) == expected
    world.customer.wait_for("connected", "orders")


def test_a_pin_that_no_longer_holds_the_agents_host_key_fails_beside_a_running_agent(world: World) -> None:
    world.customer.run("up", "--daemon")
    other = (world.customer.home / "id_ed25519.pub").read_text().rsplit(" ", 1)[0]
    world.pin(other)

    code, checks = world.test()

    assert (code, checks["host_key"]["reason"]) == (ExitCode.PROTOCOL, "host_key_changed")


def test_a_pin_that_was_removed_fails_beside_a_running_agent(world: World) -> None:
    world.customer.run("up", "--daemon")
    forget_pin(world)

    code, checks = world.test()

    assert (code, checks["host_key"]["reason"]) == (ExitCode.CONFIG, "host_key_unpinned")


def test_a_running_agent_that_waits_says_why(world: World) -> None:
    hold_port(world)
    world.customer.run("up", "--daemon", "--wait", "1", expect=75)
    world.customer.wait_for("standby", "orders")
    before = world.rig.ledger.counters.connections

    code, checks = world.test()

    assert world.rig.ledger.counters.connections == before
    assert (code, checks["forward"]["reason"]) == (75, "port_busy")
    assert "the running agent (pid" in checks["forward"]["detail"]
    assert [checks[name]["status"] for name in ("tcp", "host_key", "auth")] == ["pass"] * 3


def test_lines_for_a_pipe(world: World) -> None:
    """A line for each check in their order, no control characters, a link to the guide after each hint."""
    revoke(world)

    done = world.customer.try_run("test", "orders")

    assert done.returncode == ExitCode.NO_PERMISSION
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == CHECKS
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [*["pass"] * 6, "fail", "skip"]
    assert "(auth_refused)" in done.stdout
    assert lines[7].endswith("More: docs/troubleshooting.md#auth_refused")
    assert done.stdout.replace("\n", "").isprintable()
    assert done.stderr == "Failed: auth.\n"


def test_every_commands_hints_lead_to_the_guide(world: World) -> None:
    """Said by the daemon's child, by the command itself, and by the table."""
    forget_pin(world)
    for command in (("up", "--daemon"), ("up",)):
        said = world.customer.try_run(*command)
        assert (said.returncode, said.stderr.endswith("docs/troubleshooting.md#host_key_unpinned\n")) == (78, True)
    world.pin(world.rig.host_key_line)
    hold_port(world)

    waiting = world.customer.try_run("up", "--daemon", "--wait", "1")

    assert (waiting.returncode, "docs/troubleshooting.md#port_busy" in waiting.stderr) == (75, True)
    assert "docs/troubleshooting.md#port_busy" in world.customer.try_run("status").stdout


def test_on_a_terminal_the_first_red_line_names_the_fault(world: World) -> None:
    stop_database(world)
    environment = {key: value for key, value in world.customer.environment.items() if key != "NO_COLOR"}
    with Terminal([*world.customer.command, "test"], env=environment) as person:
        code, _ = person.leave(deadline=40)

    assert code == ExitCode.UNAVAILABLE
    red = person.seen.index("\x1b[1;31m")
    assert person.seen[red:].index("nothing listens on 127.0.0.1:") < person.seen[red:].index("host_key")
    assert "✓ config" in person.text
    assert "✗ target" in person.text


def test_ctrl_c_leaves_nothing_behind(world: World) -> None:
    """In the middle of a sign-in: the terminal has its cursor again, and the jumphost its connection."""
    world.rig.faults.banner_silence()
    with Terminal([*world.customer.command, "test"], env=world.customer.environment) as person:
        person.expect("✓ tcp")
        world.rig.wait_for(lambda: world.rig.ledger.counters.connections == 1)
        person.press(CTRL_C)
        code, _ = person.leave()

    assert code == ExitCode.INTERRUPTED, person.text
    assert "Traceback" not in person.text
    assert person.seen.rindex("\x1b[?25h") > person.seen.rindex("\x1b[?25l")


def test_a_name_that_is_not_there_is_a_usage_error(world: World) -> None:
    assert world.customer.try_run("test", "ordres").returncode == ExitCode.USAGE
