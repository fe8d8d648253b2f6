"""Files written, commands run and rolled back, by programs that fail on request instead of systemctl and crontab."""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import queue
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rigs import ordinary_user, processes
from tests.rigs.customer import Customer

from ioconnect.errors import CannotCreate, SystemRefused, UsageFault
from ioconnect.installers import apply, machine, programs, user_crontab
from ioconnect.installers.service import Command, File, Installation, Kind


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """What the programs write down: a line each."""
    file = tmp_path / "journal"
    file.touch()
    return file


def note(journal: Path, word: str, *, code: int = 0) -> tuple[str, ...]:
    return ("sh", "-c", 'echo "$1" >>"$0"; echo "no $1 today" >&2; exit "$2"', str(journal), word, str(code))


def succeed_at(journal: Path, attempt: int, *, code: int) -> tuple[str, ...]:
    """A program that fails until it has been run so many times."""
    return (
        "sh",
        "-c",
        'echo x >>"$0"; [ "$(wc -l <"$0")" -ge "$1" ] || exit "$2"',
        str(journal),
        str(attempt),
        str(code),
    )


def installation(tmp_path: Path, journal: Path, *, start_code: int = 0, content: bytes = b"new") -> Installation:
    return Installation(
        kind=Kind.SYSTEMD,
        files=(File(tmp_path / "etc" / "unit", content),),
        folders=(tmp_path / "log",),
        reload=(Command(note(journal, "reread")),),
        enable=(Command(note(journal, "enable")),),
        start=(Command(note(journal, "start", code=start_code)),),
        restart=(Command(note(journal, "restart", code=start_code)),),
        disable=(Command(note(journal, "disable")),),
        cleanup=(Command(note(journal, "forget")),),
        log_command=("sh", "-c", "printf 'because\\033[31m of this\\n'"),
    )


def test_a_new_service_is_written_enabled_and_started(tmp_path: Path, journal: Path) -> None:
    assert apply.install_files(installation(tmp_path, journal), start=True) is True

    assert (tmp_path / "etc" / "unit").read_bytes() == b"new"
    assert (tmp_path / "etc" / "unit").stat().st_mode & 0o777 == 0o644
    assert journal.read_text().split() == ["reread", "enable", "restart"]


def test_the_same_again_changes_nothing(tmp_path: Path, journal: Path) -> None:
    apply.install_files(installation(tmp_path, journal), start=True)
    journal.write_text("")

    assert apply.install_files(installation(tmp_path, journal), start=True) is False
    assert journal.read_text().split() == ["enable", "start"]


def test_a_new_service_that_does_not_start_leaves_nothing(tmp_path: Path, journal: Path) -> None:
    with pytest.raises(SystemRefused) as refused:
        apply.install_files(installation(tmp_path, journal, start_code=1), start=True)

    assert "no restart today" in refused.value.message
    assert "because\\x1b[31m of this" in refused.value.message  # escaped: it goes to a terminal
    assert journal.read_text().split() == ["reread", "enable", "restart", "disable", "forget"]
    assert not (tmp_path / "etc" / "unit").exists()
    assert not (tmp_path / "log").exists()


def test_a_changed_service_that_does_not_start_is_what_it_was(tmp_path: Path, journal: Path) -> None:
    unit = tmp_path / "etc" / "unit"
    unit.parent.mkdir()
    unit.write_bytes(b"old")
    unit.chmod(0o600)

    with pytest.raises(SystemRefused):
        apply.install_files(installation(tmp_path, journal, start_code=1), start=True)

    assert unit.read_bytes() == b"old"
    assert unit.stat().st_mode & 0o777 == 0o600
    assert journal.read_text().split() == ["reread", "enable", "restart", "reread", "restart"]


def test_what_somebody_else_wrote_is_not_taken_away(tmp_path: Path, journal: Path) -> None:
    unit = tmp_path / "etc" / "unit"
    unit.parent.mkdir()
    unit.write_bytes(b"theirs")

    with pytest.raises(SystemRefused, match="was not written by"):
        apply.remove(installation(tmp_path, journal), is_ours=lambda content: b"ours" in content)

    assert (unit.read_bytes(), journal.read_text()) == (b"theirs", "")


def test_a_race_is_met_by_trying_again(journal: Path) -> None:
    apply.run_command(Command(succeed_at(journal, 3, code=5), retried_codes=(5, 37), retry_seconds=20))

    assert journal.read_text().count("x") == 3


def test_only_a_known_race_is_tried_again(journal: Path) -> None:
    with pytest.raises(SystemRefused, match="code 6"):
        apply.run_command(Command(succeed_at(journal, 2, code=6), retried_codes=(5, 37), retry_seconds=20))

    assert journal.read_text().count("x") == 1


def test_patience_ends(journal: Path) -> None:
    with pytest.raises(SystemRefused, match="code 5"):
        apply.run_command(Command(succeed_at(journal, 1000, code=5), retried_codes=(5,), retry_seconds=0.5))

    assert journal.read_text().count("x") > 1


def test_a_tolerated_code_is_success_and_what_is_there_already_is_not_made(journal: Path) -> None:
    apply.run_command(Command(note(journal, "gone", code=3), accepted_codes=(3, 113)))
    apply.run_command(Command(note(journal, "never"), skip_if=("true",)))

    assert journal.read_text().split() == ["gone"]


def test_a_program_that_is_not_there_or_does_not_end_is_a_fault() -> None:
    with pytest.raises(SystemRefused, match="no ioconnect-no-such-program"):
        programs.run(("ioconnect-no-such-program",))
    with pytest.raises(SystemRefused, match=r"not done after 0\.2 s"):
        programs.run(("sleep", "60"), timeout=0.2)


def test_input_and_both_outputs_are_whole_whatever_their_size() -> None:
    """More than a pipe holds, and the program reads its input while it prints."""
    content = os.urandom(1 << 20)

    done = programs.run(("sh", "-c", "tee /dev/fd/2; exit 3"), stdin=content)

    assert (done.returncode, done.stdout == content, done.stderr == content) == (3, True, True)


def test_input_that_is_not_read_is_no_fault() -> None:
    assert programs.run(("true",), stdin=bytes(1 << 20)).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another account")
def test_a_program_of_another_account_gets_nothing_of_roots_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes may read it (proc_pid_environ(5))."""
    monkeypatch.setenv("https_proxy", "http://root:secret@proxy.example")

    shown = programs.run(("/usr/bin/env",), account="nobody", variables={"X": "1"})

    assert {line.partition(b"=")[0] for line in shown.stdout.splitlines()} == {b"PATH", b"LC_ALL", b"X"}


# Traces the process (PTRACE_SEIZE), and does not wait for it: its parent is not told that it has ended.
TRACE = """
import ctypes, sys
code = ctypes.CDLL(None, use_errno=True).ptrace(0x4206, int(sys.argv[1]), None, None)
print("traces" if code == 0 else "may not", flush=True)
sys.stdin.read()
"""


def processes_of(account: str, argv: tuple[str, ...]) -> list[int]:
    """Return the pids of the account's processes with these words."""
    line = "".join(f"{word}\0" for word in argv).encode()
    uid, found = pwd.getpwnam(account).pw_uid, list[int]()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == uid and (process / "cmdline").read_bytes() == line:
                found.append(int(process.name))
    return found


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="root's program of another account, traced")
def test_a_program_whose_end_its_account_hides_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the same account that traces it hides that it has ended (ptrace(2)), also after SIGKILL."""
    monkeypatch.setattr(programs, "KILL_TIMEOUT", 0.2)
    results = queue.SimpleQueue[object]()
    argv = ("/bin/sleep", str(10_000 + os.getpid()))

    def run() -> None:
        try:
            results.put(programs.run(argv, account="nobody", timeout=3))
        except SystemRefused as refused:
            results.put(refused)

    threading.Thread(target=run, daemon=True).start()
    found = processes.wait_until(lambda: processes_of("nobody", argv), what="it runs")
    trace = [sys.executable, "-c", TRACE, str(found[0])]  # as root: Yama may forbid the account to trace
    with subprocess.Popen(trace, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer:
        try:
            assert tracer.stdout is not None
            assert tracer.stdout.readline() == "traces\n"
            refused = results.get(timeout=20)

            assert isinstance(refused, SystemRefused)
            assert "was not done after 3 s" in refused.message
            assert [each.pid for each in programs._left] == found
        finally:
            tracer.kill()
    processes.wait_until(lambda: programs._left[0].poll() is not None, what="its end is seen")
    assert programs.run(("true",)).returncode == 0
    assert programs._left == []


SESSION_KEYRING = """
import ctypes, os
def keyctl(*words):
    number = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
    return ctypes.CDLL(None).syscall(*map(ctypes.c_long, (number, *words)))
"""
OF_THIS_PROCESS = f"{SESSION_KEYRING}print(keyctl(0, -3, 0))"  # KEYCTL_GET_KEYRING_ID
# Joins one of its own, as pam_keyinit(8) has root's session do.
OF_BOTH = f"""{SESSION_KEYRING}
from ioconnect.installers import programs
if keyctl(1, 0) >= 0:
    theirs = programs.run(("/usr/bin/env", "python3", "-c", {OF_THIS_PROCESS!r}), account="nobody")
    print(keyctl(0, -3, 0), theirs.stdout.decode(), theirs.error_text if theirs.returncode else "")
"""


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root runs programs as another account")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="another number of keyctl(2)")
def test_a_program_of_another_account_has_a_session_keyring_of_its_own() -> None:
    """Root's, with the keys in it, would be the account's too (session-keyring(7))."""
    printed = subprocess.run([sys.executable, "-c", OF_BOTH], capture_output=True, text=True, check=True).stdout

    if not printed:
        pytest.skip("no keyrings here")
    ours, theirs = map(int, printed.split())
    assert theirs > 0
    assert theirs != ours


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another account")
def test_a_program_of_another_account_that_is_missing_says_so() -> None:
    done = programs.run(("/nowhere/at all",), account="nobody")

    assert (done.returncode, done.error_text) == (127, "cannot run /nowhere/at all: No such file or directory")


@pytest.mark.parametrize("where", ["", " >&2"])
def test_a_program_that_prints_without_end_is_ended(where: str) -> None:
    began = time.monotonic()
    with pytest.raises(SystemRefused, match=r"yes.* prints more than 16 MiB"):
        programs.run(("sh", "-c", f"exec yes{where}"))
    assert time.monotonic() - began < programs.TIMEOUT / 4


@pytest.fixture
def fake_crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in front of the PATH, whose `crontab` is the test's to write."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def write_crontab(folder: Path, body: str) -> None:
    program = folder / "crontab"
    program.write_text(f"#!/bin/sh\ncd '{folder}'\n{body}")
    program.chmod(0o755)


HONEST = """\
case "$1" in
-l) if [ -e table ]; then cat table; else echo "no crontab for you" >&2; exit 1; fi ;;
-) cat >table ;;
-r) rm table ;;
esac
"""


def test_a_crontab_that_changes_meanwhile_is_not_written(fake_crontab: Path) -> None:
    """It reads differently each time, as while somebody else saves it."""
    write_crontab(fake_crontab, 'case "$1" in -l) echo x >>reads; cat reads;; *) echo written >wrote;; esac')

    with pytest.raises(SystemRefused, match="somebody else"):
        user_crontab.edit(lambda table: table + b"more\n")

    assert not (fake_crontab / "wrote").exists()


def test_a_crontab_that_cannot_be_read_is_not_written(fake_crontab: Path) -> None:
    write_crontab(fake_crontab, 'case "$1" in -l) echo "permission denied" >&2; exit 1;; *) echo >wrote;; esac')

    with pytest.raises(SystemRefused, match="permission denied"):
        user_crontab.edit(lambda table: table + b"more\n")

    assert not (fake_crontab / "wrote").exists()


def test_a_crontab_that_is_too_large_is_not_written(fake_crontab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as `crontab -l` prints it nor as an editor gets it."""
    monkeypatch.setattr(programs, "MAX_OUTPUT", 1000)
    monkeypatch.setattr(user_crontab, "MAX_OUTPUT", 1000)
    listed = "yes | head -n 501"
    edited = 'yes | head -n 501 >copy; sh -c "$EDITOR copy"'
    for first, second in ((listed, "echo never"), (r"printf '\\r\\n'", edited)):
        write_crontab(fake_crontab, f'case "$1" in -l) {first};; -e) {second};; *) echo >wrote;; esac')

        with pytest.raises(SystemRefused, match=r"prints more than|read exactly: it is larger than 1000 bytes"):
            user_crontab.edit(lambda table: table + b"more\n")

    assert not (fake_crontab / "wrote").exists()


def test_a_crontab_that_did_not_take_it_is_reported(fake_crontab: Path) -> None:
    write_crontab(fake_crontab, 'case "$1" in -l) echo same;; *) cat >/dev/null;; esac')

    with pytest.raises(SystemRefused, match="does not hold what was written"):
        user_crontab.edit(lambda table: table + b"more\n")


def test_no_crontab_becomes_one_and_none_again(fake_crontab: Path) -> None:
    write_crontab(fake_crontab, HONEST)

    assert user_crontab.edit(lambda _: b"@daily true\n") is True
    assert (fake_crontab / "table").read_bytes() == b"@daily true\n"
    assert user_crontab.edit(lambda table: table) is False
    assert user_crontab.edit(lambda _: b"") is True
    assert not (fake_crontab / "table").exists()


def test_a_folder_for_the_services_account_is_not_a_link_to_one_of_roots(tmp_path: Path, journal: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives folders away")
    theirs, etc = tmp_path / "theirs", tmp_path / "roots"
    theirs.mkdir()
    etc.mkdir()
    os.chown(theirs, ordinary_user.NOBODY, ordinary_user.NOBODY)
    (theirs / "link").symlink_to(etc)
    for folder, refused in ((theirs / "link" / "log", True), (theirs / "log", False), (tmp_path / "log", False)):
        service = replace(installation(tmp_path, journal), folders=(folder,))
        if refused:
            with pytest.raises(CannotCreate, match="is a link"):
                apply.install_files(service, start=False, account="nobody")
        else:
            apply.install_files(service, start=False, account="nobody")
            assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (ordinary_user.NOBODY, 0o700)

    assert list(etc.iterdir()) == []
    assert etc.stat().st_uid == 0


def test_a_program_has_a_session_of_its_own_and_no_terminal_of_ours() -> None:
    """One that runs as another account could type into root's terminal (TIOCSTI)."""
    ours = ("sh", "-c", 'cut -d" " -f6 /proc/self/stat; echo $$; (: </dev/tty) 2>/dev/null && echo terminal')

    session, pid, *terminal = programs.run(ours).stdout.decode().split()

    assert (session, terminal) == (pid, [])
    assert b"".join(programs.output_lines(ours, ended=lambda _: None)).split()[0] != str(os.getsid(0)).encode()


@pytest.mark.parametrize("kind", ["cron", "systemd", "launchd-daemon", "systemd-user"])
@pytest.mark.parametrize(("home", "run_as", "code"), [("/tmp/a\n* * * * * root id", None, 71), ("/tmp", "a\nb", 64)])
def test_no_line_of_a_services_file_comes_from_a_newline(
    tmp_path: Path, kind: str, home: str, run_as: str | None, code: int
) -> None:
    """Neither by HOME nor by --run-as."""
    customer = Customer(tmp_path / "home", HOME=home)
    account = () if run_as is None else ("--run-as", run_as)
    if kind == "systemd-user" and run_as is not None:
        account = ("--run-as", f"{run_as} c")

    done = customer.try_run("install-service", "--kind", kind, "--print", *account)

    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize("name", ["-Hhost", "", "a b", "a\tb", "a:b", "a/b", "a;b", "a'b", "a%b", "\u202ea"])
def test_what_is_no_accounts_name_is_refused(name: str) -> None:
    with pytest.raises(UsageFault, match="not the name of an account"):
        machine.check_account_name(name)


@pytest.mark.parametrize("name", [None, "svc", "_svc", "svc-2.x", "host$", "DOM\\user", "u@dom", "jürgen", "61234"])
def test_accounts_names(name: str | None) -> None:
    machine.check_account_name(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another account")
def test_a_program_runs_as_an_account_without_runuser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the account's groups and none of root's, also from a folder that is closed to it."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.chdir(closed)
    monkeypatch.setenv("PATH", "/nowhere")
    expected = pwd.getpwnam("nobody")
    argv = ("/usr/bin/env", "-i", "/bin/sh", "-c", "echo $(/usr/bin/id -u) $(/usr/bin/id -G) $(pwd)")

    done = programs.run(argv, account="nobody")

    uid, *groups, folder = done.stdout.decode().splitlines()[0].split()
    assert (int(uid), {int(group) for group in groups}) == (
        expected.pw_uid,
        set(os.getgrouplist("nobody", expected.pw_gid)),
    )
    assert folder == "/"
