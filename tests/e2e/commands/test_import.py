"""`import` as a customer runs it: the old tunnels found, made ours, disabled with consent, and nothing lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.rigs.old_tunnels import OldTunnels
from tests.rigs.stub import make_key
from tests.rigs.terminals import CTRL_D, Terminal

from ioconnect.config import configuration
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Tunnel
from ioconnect.errors import Fault
from ioconnect.importing import cron_lines, find, old_processes, plan
from ioconnect.importing.search_paths import SearchPaths
from ioconnect.keys import known_hosts, public_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

JUMPHOST = "virginia-tunnel.flydata.app"
OPTIONS = '-p 50683 -o "ExitOnForwardFailure yes" -o ServerAliveInterval=10 -o ServerAliveCountMax=1'
REST = f"58115:localhost:3306 sshtunnel@{JUMPHOST} -i ~/.ssh/integrateio_reverse {OPTIONS}"
AT_BOOT = f"@reboot AUTOSSH_GATETIME=0 autossh -M 0 -f -N -R {REST}"
CRONTAB = (
    b"# my crontab, caf\xe9\n"
    b"MAILTO=dba@example.com\n\n"
    b"17 *\t* * * run-parts 100\\% \n" + AT_BOOT.encode() + b"\n"
    b"#@reboot autossh -M 0 -R 1:a:1 u@elsewhere\n"
)
UNIT = f"""[Unit]
Description=Integrate.io Reverse SSH Tunnel
After=network-online.target

[Service]
Type=simple
User=nobody
ExecStart=/usr/bin/autossh -M 0 -N -R 58116:db:5432 sshtunnel@{JUMPHOST} \\
  -i KEY {OPTIONS}
Environment="AUTOSSH_GATETIME=0"
Restart=always

[Install]
WantedBy=multi-user.target
"""
SERVICE = "integrateio-reverse-tunnel.service"
WORDS = ("-M", "0", "-N", "-R", "58115:localhost:3306", f"sshtunnel@{JUMPHOST}", "-o", "ExitOnForwardFailure yes")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OldTunnels]:
    machine = OldTunnels(tmp_path)
    yield machine
    machine.close()


@pytest.fixture
def old(machine: OldTunnels) -> OldTunnels:
    """The vendor's tunnel in the user's crontab, with its key."""
    machine.crontab = CRONTAB
    make_key(old_key(machine))
    return machine


def old_key(machine: OldTunnels) -> Path:
    key = machine.root / "home" / ".ssh" / "integrateio_reverse"
    key.parent.mkdir(mode=0o700, exist_ok=True)
    return key


def tunnels(machine: OldTunnels) -> tuple[Tunnel, ...]:
    return configuration.load(machine.home / "config.toml", or_empty=True).tunnels


def host_key(path: Path) -> str:
    return public_keys.encode(make_key(path).blob)


def test_the_vendors_line_in_the_crontab(old: OldTunnels) -> None:
    done = old.try_run("import", "--yes")

    assert (done.returncode, done.stdout) == (0, "tunnel-58115\n")
    assert tunnels(old) == (
        Tunnel("tunnel-58115", HostPort(JUMPHOST, 58115), HostPort("localhost", 3306), identity=old_key(old)),
    )
    assert old.crontab == CRONTAB
    assert "ioconnect pin tunnel-58115" in done.stderr


def test_what_is_left_running_is_warned_of(old: OldTunnels) -> None:
    """Two agents that fight for one port are what this is to prevent."""
    pid = old.start(*WORDS, program="autossh")

    done = old.try_run("import", "--yes")

    assert "two agents would fight for" in done.stderr
    assert f"autossh (pid {pid}) still holds it" in done.stderr
    assert "your crontab starts it again" in done.stderr
    assert f"kill {pid}" in done.stderr
    assert old.runs(pid)


def test_the_old_one_is_disabled_on_demand(old: OldTunnels) -> None:
    """One mark in the crontab, its processes stopped; how to undo it is said, and works."""
    pids = [old.start(*WORDS, program=program) for program in ("ssh", "autossh")]
    other = old.start("-N", "-R", "58116:localhost:3306", f"sshtunnel@{JUMPHOST}")

    done = old.try_run("import", "--yes", "--disable-old")

    assert done.returncode == 0
    assert old.crontab == CRONTAB.replace(AT_BOOT.encode(), cron_lines.MARK + AT_BOOT.encode())
    assert [old.runs(pid) for pid in (*pids, other)] == [False, False, True]
    assert "two agents" not in done.stderr
    backup = re.search(r"the crontab as it was is in (\S+)", done.stderr)
    assert backup is not None
    copy = old.home / "before-import" / backup[1].rpartition("/")[2]
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (CRONTAB, 0o600)


@pytest.mark.parametrize("more", [(), ("--disable-old",)])
def test_running_it_again_changes_nothing(old: OldTunnels, more: tuple[str, ...]) -> None:
    old.unit(SERVICE, UNIT)
    old.run("import", "--yes", *more)
    before = old.snapshot()

    again = old.try_run("import", "--yes", *more)

    assert (again.returncode, again.stdout) == (0, "" if more else "tunnel-58115\nintegrateio-reverse-tunnel\n")
    assert ("imported already" in again.stderr) is not bool(more)
    assert old.snapshot() == before


def test_a_unit_that_somebody_gave_up_stays_out(machine: OldTunnels) -> None:
    """Unless it is named."""
    machine.unit(SERVICE, UNIT)
    (machine.root / "state" / "system" / f"{SERVICE}.enabled").unlink()

    done = machine.try_run("import", "--yes")

    assert (done.returncode, done.stdout) == (0, "")
    assert f"{SERVICE} is neither enabled nor running" in done.stderr
    assert machine.run("import", str(machine.root / "system" / SERVICE), "--yes") == "integrateio-reverse-tunnel\n"


def test_nothing_but_what_is_disabled_is_nothing(old: OldTunnels) -> None:
    old.run("import", "--yes", "--disable-old")

    done = old.try_run("import")

    assert (done.returncode, done.stdout) == (0, "")
    assert "1 lines were disabled" in done.stderr


def test_disabling_can_be_made_up_for_later(old: OldTunnels) -> None:
    """Nobody has to be asked again for what is imported already."""
    old.run("import", "--yes")

    done = old.try_run("import", "--disable-old")

    assert done.returncode == 0
    assert cron_lines.MARK in old.crontab


def test_a_dry_run_prints_the_names_and_writes_nothing(old: OldTunnels) -> None:
    old.unit(SERVICE, UNIT)
    pid = old.start(*WORDS)
    before = old.snapshot()

    done = old.try_run("import", "--dry-run", "--disable-old")

    assert old.snapshot() == before
    assert old.runs(pid)
    assert done.stdout == old.run("import", "--yes")


def test_without_a_terminal_it_wants_consent(old: OldTunnels) -> None:
    before = old.snapshot()

    done = old.try_run("import")

    assert (done.returncode, done.stdout) == (64, "")
    assert "58115" in done.stderr
    assert "--yes" in done.stderr
    assert old.snapshot() == before


def test_a_unit_is_stopped_and_disabled_by_systemctl(machine: OldTunnels) -> None:
    """Its file stays where it is."""
    key = old_key(machine)
    make_key(key)
    machine.unit(SERVICE, UNIT.replace("KEY", str(key)))
    pid = machine.start(*(word.replace("58115:localhost:3306", "58116:db:5432") for word in WORDS), unit=SERVICE)

    done = machine.try_run("import", "--yes", "--disable-old")

    assert (done.returncode, done.stdout) == (0, "integrateio-reverse-tunnel\n")
    assert not machine.runs(pid)
    assert f"disable --now -- {SERVICE}" in (machine.root / "systemctl.log").read_text().splitlines()
    assert f"systemctl enable --now {SERVICE}" in done.stderr
    assert (machine.root / "system" / SERVICE).exists()
    assert [tunnel.identity for tunnel in tunnels(machine)] == [key]


def test_a_unit_that_stays_keeps_its_process(machine: OldTunnels) -> None:
    """systemd would only start it again."""
    machine.unit(SERVICE, UNIT)
    pid = machine.start(*(word.replace("58115:localhost:3306", "58116:db:5432") for word in WORDS), unit=SERVICE)
    (machine.root / "read-only").touch()

    done = machine.try_run("import", "--yes", "--disable-old")

    assert done.returncode == 71
    assert done.stdout == "integrateio-reverse-tunnel\n"
    assert "Access denied" in done.stderr
    assert "two agents" in done.stderr
    assert machine.runs(pid)


def test_a_user_unit_is_the_users_systemds(machine: OldTunnels) -> None:
    machine.unit("mine.service", UNIT.replace("User=nobody\n", ""), scope="user")

    done = machine.try_run("import", "--yes", "--disable-old")

    assert done.stdout == "mine\n"
    assert "--user disable --now -- mine.service" in (machine.root / "systemctl.log").read_text().splitlines()


def test_the_systems_crontabs(machine: OldTunnels) -> None:
    """They name an account; their mode stays."""
    file = machine.root / "cron.d" / "tunnel"
    text = f"SHELL=/bin/sh\n@reboot root /usr/bin/ssh -NR {REST}\n"
    file.write_text(text)
    file.chmod(0o644)
    (machine.root / "crontab.system").write_text("17 * * * * root run-parts /etc/cron.hourly\n")
    (machine.root / "cron.d" / ".placeholder").write_text(text)

    done = machine.try_run("import", "--yes", "--disable-old")

    assert (done.returncode, done.stdout) == (0, "tunnel-58115\n")
    assert file.read_text() == text.replace("@reboot", f"{cron_lines.MARK.decode()}@reboot")
    assert file.stat().st_mode & 0o777 == 0o644
    assert str(file) in done.stderr


def test_a_template_and_a_masked_unit(machine: OldTunnels) -> None:
    machine.unit("tunnel@.service", UNIT.replace("58116", "%i"))
    (machine.root / "system" / "gone.service").symlink_to("/dev/null")
    (machine.root / "system" / "multi-user.target.wants").mkdir()

    done = machine.try_run("import")

    assert (done.returncode, done.stdout) == (0, "")
    assert "template" in done.stderr
    assert "systemctl cat tunnel@INSTANCE.service" in done.stderr


def test_a_drop_in_counts(machine: OldTunnels) -> None:
    machine.unit(SERVICE, UNIT)
    folder = machine.root / "system" / f"{SERVICE}.d"
    folder.mkdir()
    (folder / "override.conf").write_text(f"[Service]\nExecStart=\nExecStart=/usr/bin/ssh -NR 7:db:7 u@{JUMPHOST}\n")

    machine.run("import", "--yes")

    assert [tunnel.listen_port for tunnel in tunnels(machine)] == [7]


@pytest.mark.parametrize("file", [".ssh/known_hosts", ".ssh/special"])
def test_host_keys_come_from_the_file_that_its_ssh_read(old: OldTunnels, tmp_path: Path, file: str) -> None:
    key = host_key(tmp_path / "host")
    old.known_hosts(f"[{JUMPHOST}]:50683 {key}", file=file)
    if file != ".ssh/known_hosts":
        old.crontab = CRONTAB.replace(b"-p 50683", f"-p 50683 -o UserKnownHostsFile=~/{file}".encode())

    done = old.try_run("import", "--yes")

    assert (old.home / "known_hosts").read_text() == f"[{JUMPHOST}]:50683 {key}\n"
    assert "Pinned" in done.stderr
    assert "ioconnect pin" not in done.stderr


def test_a_pin_of_ours_is_never_replaced(old: OldTunnels, tmp_path: Path) -> None:
    ours, theirs = host_key(tmp_path / "ours-host"), host_key(tmp_path / "their-host")
    (old.home / "known_hosts").write_text(f"[{JUMPHOST}]:50683 {ours}\n")
    old.known_hosts(f"[{JUMPHOST}]:50683 {theirs}")

    done = old.try_run("import", "--yes")

    assert known_hosts.load(old.home / "known_hosts").blobs_for(JUMPHOST, 50683) == (
        public_keys.decode(*ours.split()),
    )
    assert "pinned already" in done.stderr


def test_a_key_that_is_not_here_is_replaced_by_ours(machine: OldTunnels) -> None:
    machine.crontab = CRONTAB

    done = machine.try_run("import", "--yes")

    assert [tunnel.identity for tunnel in tunnels(machine)] == [None]
    assert (machine.home / "id_ed25519.pub").read_text() in done.stderr


def test_a_line_without_a_key_signs_in_with_the_default_one(machine: OldTunnels) -> None:
    key = old_key(machine).with_name("id_ed25519")
    make_key(key)
    machine.crontab = f"@reboot ssh -NR 1:db:1 u@{JUMPHOST}\n".encode()

    machine.run("import", "--yes")

    assert [tunnel.identity for tunnel in tunnels(machine)] == [key]


def test_a_key_that_the_agent_would_refuse_is_warned_of(old: OldTunnels) -> None:
    old_key(old).chmod(0o644)

    assert "others can read the private key" in old.try_run("import", "--yes").stderr


def test_a_conflict_writes_nothing(old: OldTunnels) -> None:
    """And names both sides."""
    old.run("register", "orders", "--endpoint", f"{JUMPHOST}:58115", "--to", "db:1")
    before = old.snapshot()

    done = old.try_run("import", "--yes", "--disable-old")

    assert (done.returncode, done.stdout) == (78, "")
    assert "the tunnel orders" in done.stderr
    assert "your crontab" in done.stderr
    assert old.snapshot() == before


def test_what_cannot_be_read_does_not_hide_the_rest(old: OldTunnels) -> None:
    old.crontab = CRONTAB + f"@reboot ssh -NR 99999:db:1 u@{JUMPHOST}\n".encode()
    old.unit("odd.service", "[Service]\nExecStart=/usr/bin/ssh -NR 'x:y:1 u@h\n")

    done = old.try_run("import", "--yes")

    assert done.stdout == "tunnel-58115\n"
    assert "your crontab: the port must be a number" in done.stderr
    assert "odd.service: a quote is not closed" in done.stderr


def test_a_crontab_that_cannot_be_changed(old: OldTunnels) -> None:
    (old.root / "read-only").touch()

    done = old.try_run("import", "--yes", "--disable-old")

    assert (done.returncode, done.stdout) == (71, "tunnel-58115\n")
    assert "the crontab cannot be changed: cannot write" in done.stderr
    assert old.crontab == CRONTAB


def test_a_machine_without_any(machine: OldTunnels) -> None:
    done = machine.try_run("import")

    assert (done.returncode, done.stdout) == (0, "")
    assert "Found no tunnel" in done.stderr


def test_files_and_standard_input(machine: OldTunnels) -> None:
    """A script, and a unit that is not installed: named after its file."""
    script, unit = machine.root / "tunnel.sh", machine.root / "sent by mail.service"
    script.write_text(f"#!/bin/sh\n# keeps it up\nwhile true; do\n  ssh -NR {REST}\n  sleep 5\ndone\n")
    unit.write_text(UNIT)
    text = f"ssh -NR 1:a:1 u@{JUMPHOST}\nssh -NR 2:b:2 -R 3:c:3 u@{JUMPHOST}\n"

    done = machine.try_run("import", str(script), str(unit), "-", "--yes", text_in=text)

    assert done.stdout.split() == ["tunnel-58115", "sent-by-mail", "tunnel-1", "tunnel-2", "tunnel-3"]
    assert f"nothing starts what stands in {script}" in done.stderr


def test_a_file_of_cron_d_can_be_disabled_by_its_name(machine: OldTunnels) -> None:
    file = machine.root / "cron.d" / "tunnel"
    file.write_text(f"@reboot root ssh -NR {REST}\n")

    machine.run("import", str(file), "--yes", "--disable-old")

    assert file.read_bytes().startswith(cron_lines.MARK)
    assert machine.run("import", str(file)) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select * from orders", "neither an ssh or autossh command"),
        ("ssh -NR 58115:db sshtunnel@jump", "-R must be PORT:HOST:HOSTPORT"),
        ("ssh -NR <allocated_port>:db:1 u@jump", "placeholder"),
        (f"{JUMPHOST}:58115", "no database"),
        (f"ssh -NR 1:a:1 u@{JUMPHOST}\nssh -NR 1:b:1 u@{JUMPHOST}", "leads to b:1"),
        ("", "nothing was pasted"),
        ("\x1b[2J\x00 ssh -NR x:y:z", "\\x1b[2J"),
    ],
)
def test_bad_input_writes_nothing(machine: OldTunnels, text: str, said: str) -> None:
    done = machine.try_run("import", "-", "--yes", text_in=text)

    assert done.returncode in (64, 78)
    assert said in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""
    assert list(machine.home.iterdir()) == []


def test_files_that_are_none(machine: OldTunnels) -> None:
    missing = machine.try_run("import", str(machine.root / "missing"))
    folder = machine.try_run("import", str(machine.root))

    assert (missing.returncode, folder.returncode) == (64, 64)
    assert "No such file" in missing.stderr


def test_a_person_is_asked_step_by_step(old: OldTunnels) -> None:
    pid = old.start(*WORDS, program="autossh")
    with Terminal([*old.command, "import"], env=old.environment, capture_stdout=True) as person:
        person.expect("tunnel-58115")
        person.expect("Import this? (yes or no)")
        person.type("yes")
        person.expect("Saved tunnel-58115")
        person.expect("@reboot AUTOSSH_GATETIME=0")
        person.expect("Disable this line in your crontab? (yes or no)")
        person.type("yes")
        person.expect("To undo it: crontab -e")
        person.expect(f"autossh (pid {pid})? (yes or no)")
        person.type("yes")
        person.expect(f"Stopped autossh (pid {pid})")

        assert person.leave() == (0, "tunnel-58115\n")
    assert old.crontab.count(cron_lines.MARK) == 1
    assert not old.runs(pid)


def test_a_person_may_say_no_to_each_step(old: OldTunnels) -> None:
    pid = old.start(*WORDS, program="autossh")
    with Terminal([*old.command, "import"], env=old.environment) as person:
        person.expect("Import this?")
        person.type("yes")
        person.expect("Disable this line")
        person.type("no")
        person.expect("Stop what holds")
        person.type("n")
        person.expect("two agents would fight")

        assert person.leave()[0] == 0
    assert old.crontab == CRONTAB
    assert old.runs(pid)


@pytest.mark.parametrize("answer", ["no\n", CTRL_D])
def test_no_at_the_first_question_writes_nothing(old: OldTunnels, answer: str) -> None:
    before = old.snapshot()
    with Terminal([*old.command, "import"], env=old.environment) as person:
        person.expect("Import this?")
        person.press(answer)

        assert person.leave()[0] == (130 if answer == CTRL_D else 64)
    assert old.snapshot() == before


def test_processes_are_found_by_ps_too(machine: OldTunnels) -> None:
    """Where there is no /proc; it does not show where a word ends."""
    pid = machine.start(*WORDS, program="autossh")
    others = [
        machine.start(*(word.replace("58115", "5811") for word in WORDS)),
        machine.start(*(word.replace(JUMPHOST, "elsewhere") for word in WORDS)),
        machine.start(*WORDS, program="sshd"),
    ]
    tunnel = Tunnel("x", HostPort(JUMPHOST.upper(), 58115), HostPort("localhost", 3306))

    for processes in (machine.root / "nowhere", Path("/proc")):
        assert [process.pid for process in old_processes.processes_of(tunnel, processes)] == [pid]
    assert all(map(machine.runs, others))


def test_a_unit_with_a_hostile_name_is_shown_harmless(machine: OldTunnels) -> None:
    machine.unit("a\x1b[2Jb.service", UNIT)

    done = machine.try_run("import", "--yes", "--disable-old")

    assert done.stdout == "a-2Jb\n"
    assert "\x1b" not in done.stderr


PIECES = st.sampled_from(
    [
        *("ssh", " -R", " -NR ", "58115:localhost:3306", " u@jump", " -i", " ~/k", "'", '"', "\\", "\n", " -o "),
        *(
            "@reboot ",
            "* * * * * root ",
            "ExecStart=",
            "[Service]\n",
            "HOME=",
            "%h",
            "$",
            "\x00",
            "é",
            "\r",
            "#",
            " ",
        ),
    ]
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=200), st.lists(PIECES, max_size=25).map(lambda parts: "".join(parts).encode())
    )
)
@pytest.mark.parametrize("name", ["cron.d/x", "system/x.service", "x.sh"])
def test_whatever_is_in_a_file_is_no_accident(tmp_path: Path, name: str, content: bytes) -> None:
    """A clear error or tunnels, never anything else."""
    search = SearchPaths(tmp_path, tmp_path / "user", tmp_path / "crontab", tmp_path / "cron.d", tmp_path / "system")
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)

    try:
        reading = find.in_file(file, search, {})
        made = plan.make_plan(
            reading.found, configuration.Config(), own_key=tmp_path / "own", private_key_of=lambda _: None
        )
    except Fault:
        return
    assert configuration.parse(configuration.document(made.config), source="test") == made.config


def test_a_unit_that_is_named_like_an_option_is_a_unit(machine: OldTunnels) -> None:
    """`systemctl disable --now -Hhost.service` would act on another host."""
    unit = "-Hhost.example.service"
    machine.unit(unit, UNIT)

    done = machine.try_run("import", "--yes", "--disable-old")

    commands = (machine.root / "systemctl.log").read_text().splitlines()
    assert f"disable --now -- {unit}" in commands
    assert [line for line in commands if unit in line and f"-- {unit}" not in line] == []
    assert f"systemctl enable -- {unit}" in done.stderr
    assert not (machine.root / "state" / "system" / f"{unit}.enabled").exists()


def test_a_pid_that_became_anothers_is_not_signalled(machine: OldTunnels, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is looked at again once its pid cannot be reused any more."""
    bystander = machine.start("sleeps", program="sshd")
    old = old_processes.Process(bystander, "ssh", ("ssh", *WORDS))
    looks = iter([(old,), (), ()])
    monkeypatch.setattr(old_processes, "processes_of", lambda *_: next(looks))

    old_processes.stop(Tunnel("x", HostPort(JUMPHOST, 58115), HostPort("localhost", 3306)), Path("/proc"))

    assert machine.runs(bystander)
