"""The agents that cron starts as other accounts, which root's own would stand in the way of."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ioconnect.config.paths import Paths, under
from ioconnect.doctor import services
from ioconnect.errors import CannotCreate, SystemRefused
from ioconnect.installers import apply, cron_jobs, crontab, install, installed, launchd, user_crontab
from ioconnect.installers.service import Service
from ioconnect.installers.service_description import ServiceDescription
from ioconnect.status.records import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the crontabs of accounts")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Root's configuration, on a machine with crontabs in `spool`, root's records in `records`, and no service."""
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(cron_jobs, "SPOOLS", (tmp_path / "missing", tmp_path / "spool"))
    monkeypatch.setattr(cron_jobs, "RECORDS", tmp_path / "records")
    for name in ("UNITS", "DAEMONS"):
        monkeypatch.setattr(installed, name, tmp_path / "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return under(tmp_path / "50% of R&D")


def service_of(paths: Paths, account: str = "nobody") -> Service:
    service = Service(program=("/opt/ioconnect",), config=paths.config, home=Path("/"), log=paths.log)
    return replace(service, run_as=account)


@pytest.fixture
def table(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The crontab of nobody, in which root has installed the agent between lines that are not UTF-8."""
    table = tmp_path / "spool" / "nobody"
    table.write_bytes(b"@daily echo caf\xe9")

    def edit(change: Callable[[bytes], bytes], account: str | None) -> bool:
        before = read(account)
        table.with_name(str(account)).write_bytes(change(before))
        return change(before) != before

    def read(account: str | None = None) -> bytes:
        file = table.with_name(str(account))
        return file.read_bytes() if file.exists() else b""

    monkeypatch.setattr(user_crontab, "edit", edit)
    monkeypatch.setattr(user_crontab, "read", read)
    cron_jobs.install(service_of(paths), start=False)
    with table.open("ab") as file:
        file.write(b"@weekly echo \xff\n")
    os.chown(table, NOBODY, NOBODY)
    return table


def assert_none(paths: Paths) -> None:
    installed.refuse_second_agent_of_root(paths, {})
    assert installed.account(paths, {}) is None


@root_only
def test_root_starts_no_agent_beside_one_that_it_installed_for_cron(paths: Paths, table: Path) -> None:
    """With a path that cron and the shell have in another form."""
    with pytest.raises(SystemRefused, match=f"{table} has the agent of this configuration run as nobody") as refused:
        installed.refuse_second_agent_of_root(paths, {})

    assert "ioconnect uninstall-service --kind cron --run-as nobody" in refused.value.hint
    assert installed.account(paths, {}) == NOBODY
    assert_none(under(paths.config.parent.parent))


@root_only
@pytest.mark.parametrize(
    "spoil",
    [
        lambda table, _: table.unlink(),
        lambda table, _: table.write_bytes(b""),
        lambda table, _: table.write_bytes(table.read_bytes().replace(b"/opt/", b"/tmp/")),
        lambda table, _: table.write_bytes(table.read_bytes().replace(b"# BEGIN", b"x # BEGIN")),
        lambda table, _: (table.rename(table.with_name("x")), table.symlink_to("x")),
        lambda table, _: (table.unlink(), os.mkfifo(table)),
        lambda table, _: table.write_bytes(table.read_bytes() + bytes(apply.MAX_FILE)),
        lambda _, record: record.unlink(),
        lambda _, record: os.chown(record, NOBODY, NOBODY),
        lambda _, record: record.chmod(0o666),
        lambda _, record: os.chown(record.parent, NOBODY, NOBODY),
        lambda _, record: record.rename(record.with_name("no-such-account")),
    ],
)
def test_what_proves_no_agent(
    paths: Paths, table: Path, tmp_path: Path, spoil: Callable[[Path, Path], object]
) -> None:
    os.chown(table.parent, NOBODY, NOBODY)
    assert installed.account(paths, {}) == NOBODY
    spoil(table, tmp_path / "records" / "nobody")

    assert_none(paths)


@root_only
@pytest.mark.parametrize("recorded", [False, True])
def test_no_account_tells_root_that_it_runs_the_agent(paths: Paths, table: Path, *, recorded: bool) -> None:
    """Neither by a line, nor by a block, of its own; nor by one that root installed for another configuration."""
    other = under(paths.config.parent.parent / "other")
    if not recorded:
        cron_jobs.forget("nobody")
    line = f"NOTE=x x x x x {other.config} up z\n@reboot ioconnect --config {other.config} up --daemon\n"
    table.write_bytes(line.encode() + table.read_bytes() + crontab.block(service_of(other)))

    assert_none(other)


@root_only
def test_a_crontab_of_many_words_is_read_at_once(paths: Paths, table: Path) -> None:
    block = crontab.block(service_of(paths))
    for text in (b"x " * (apply.MAX_FILE // 2 - 500), (block[:-2] * 10_000)[: apply.MAX_FILE - 1000]):
        table.write_bytes(text + f"{paths.config} up\n".encode())
        began = time.monotonic()
        assert_none(paths)
        assert time.monotonic() - began < 2


@root_only
def test_an_agent_of_roots_is_not_in_its_own_way(paths: Paths, table: Path) -> None:
    assert install.uninstall(install.Kind.CRON, run_as="nobody").changed
    assert list(cron_jobs.RECORDS.iterdir()) == []
    cron_jobs.install(service_of(paths, "root"), start=False)

    installed.refuse_second_agent_of_root(paths, {})

    assert table.with_name("root").exists()
    assert installed.account(paths, {}) == 0


@root_only
def test_an_installation_that_fails_leaves_the_record_of_the_one_before(
    paths: Paths, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise SystemRefused("it does not start")

    monkeypatch.setattr(apply, "run_command", fail)
    other = under(paths.config.parent.parent / "other")

    with pytest.raises(SystemRefused):
        cron_jobs.install(service_of(other), start=True)

    assert_none(other)
    assert [job.table for job in cron_jobs.of(paths.config)] == [table]


@root_only
@pytest.mark.parametrize("start", [False, True])
def test_what_cannot_be_recorded_is_neither_installed_nor_started(
    paths: Paths, table: Path, monkeypatch: pytest.MonkeyPatch, *, start: bool
) -> None:
    """An agent that was started goes on without cron, and root knows nothing of it."""
    monkeypatch.setattr(apply, "run_command", lambda _: pytest.fail("it is started"))
    (cron_jobs.RECORDS / "nobody").unlink()
    (cron_jobs.RECORDS / "nobody").mkdir()
    before = table.read_bytes()

    with pytest.raises(CannotCreate):
        cron_jobs.install(service_of(under(paths.config.parent.parent / "other")), start=start)

    assert table.read_bytes() == before


@root_only
def test_the_line_that_ends_an_agent_has_what_it_was_installed_with(paths: Paths, table: Path) -> None:
    """Without IOCONNECT_HOME `down` looks for it in the account's home."""
    service = replace(service_of(paths), environment=(("IOCONNECT_HOME", "/srv/a b"),))
    cron_jobs.install(service, start=False)
    line = f"-u nobody -- env 'IOCONNECT_HOME=/srv/a b' /opt/ioconnect --config '{paths.config}'"

    look = install._messages(None, install.Kind.CRON, service, changed=True, start=True)[1]
    removed = install.uninstall(install.Kind.CRON, run_as="nobody").messages

    assert look.endswith(f"{line} status")
    assert f"{line} down ends it." in removed[1]
    assert crontab.block_in(table.read_bytes()) is None


@root_only
def test_without_a_copy_the_line_has_this_configuration(
    paths: Paths, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update from a version that kept none."""
    cron_jobs.forget("nobody")
    monkeypatch.setenv("IOCONNECT_HOME", "/srv/a")

    removed = install.uninstall(install.Kind.CRON, run_as="nobody", config=paths.config).messages

    assert "-- env IOCONNECT_HOME=/srv/a " in removed[1]
    assert f" --config '{paths.config}' down ends it." in removed[1]
    assert table.exists()


@pytest.mark.parametrize("folder", ["crontabs", "tabs", "."])
def test_where_a_systems_crontabs_are(folder: str) -> None:
    """Of Debian, SUSE and Red Hat."""
    assert Path("/var/spool/cron", folder) in cron_jobs.SPOOLS


def roots_block_starts(paths: Paths, table: Path) -> None:
    """Write into root's crontab what earlier versions did by default."""
    block = crontab.block(replace(service_of(paths), run_as=None))
    table.with_name("None").write_bytes(b"@daily x\n" + block)  # the fixture's name for the crontab of who runs it


@root_only
@pytest.mark.parametrize("kind", list(install.Kind))
def test_no_second_agent_is_installed_beside_one_of_another_account(
    paths: Paths, table: Path, kind: install.Kind
) -> None:
    """It would find the port busy, and was said to run."""
    with pytest.raises(SystemRefused, match="as nobody already") as refused:
        install._refuse_beside_cron(kind, service_of(paths, "daemon"))

    assert "uninstall-service --kind cron --run-as nobody; " in refused.value.hint
    assert refused.value.hint.endswith(" down")
    install._refuse_beside_cron(kind, service_of(under(paths.config.parent.parent / "other"), "daemon"))
    install._refuse_beside_cron(install.Kind.CRON, service_of(paths))
    assert table.exists()


@root_only
def test_no_second_agent_is_installed_beside_that_of_roots_crontab(paths: Paths, table: Path) -> None:
    """Earlier versions put it there by default where there is no systemd."""
    cron_jobs.forget("nobody")
    roots_block_starts(paths, table)

    with pytest.raises(SystemRefused, match="root's crontab starts") as refused:
        install._refuse_beside_cron(install.Kind.CRON, service_of(paths, "daemon"))

    assert refused.value.hint.endswith("ioconnect uninstall-service --kind cron; ioconnect down")
    install._refuse_beside_cron(install.Kind.CRON, service_of(under(paths.config.parent.parent / "other")))
    install._refuse_beside_cron(install.Kind.CRON, service_of(paths, "root"))


@root_only
@pytest.mark.parametrize(
    "call",
    [
        lambda config: install.check(install.Kind.CRON, run_as="daemon", config=config),
        lambda config: install.install(install.Kind.CRON, run_as="daemon", config=config),
        lambda config: install.install(install.Kind.CRON, run_as="daemon", config=config, print_only=True),
    ],
)
def test_setup_install_service_and_its_print_say_so(
    paths: Paths, table: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Path], install.InstallResult]
) -> None:
    before = table.read_bytes()
    description = ServiceDescription(service_of(paths, "daemon"), paths, None)
    monkeypatch.setattr(install, "describe", lambda *_, **__: description)

    try:
        said = " ".join(call(paths.config).messages)
    except SystemRefused as refused:
        said = refused.message

    assert "cron starts the agent of this configuration as nobody already" in said
    assert (table.read_bytes(), table.with_name("daemon").exists()) == (before, False)


@root_only
@pytest.mark.parametrize(("of_agent", "is_refused"), [(0, True), (None, True), (NOBODY, False)])
def test_an_agent_that_was_started_by_hand_is_refused_unless_it_is_the_accounts(
    paths: Paths, table: Path, monkeypatch: pytest.MonkeyPatch, of_agent: int | None, *, is_refused: bool
) -> None:
    table.unlink()
    description = ServiceDescription(service_of(paths), paths, None)
    snapshot = Snapshot(running=True, pid=1, version="0", started_at=None, tunnels=(), account=of_agent)
    monkeypatch.setattr(install, "describe", lambda *_, **__: description)
    monkeypatch.setattr(install, "observe", lambda _: snapshot)
    monkeypatch.setattr(apply, "run_command", lambda _: None)

    if is_refused:
        with pytest.raises(SystemRefused, match="an agent runs already"):
            install.install(install.Kind.CRON, run_as="nobody", config=paths.config)
    else:
        assert install.install(install.Kind.CRON, run_as="nobody", config=paths.config).changed
        assert install.install(install.Kind.CRON, run_as="nobody", config=paths.config).changed is False


@root_only
@pytest.mark.parametrize("of_nobody", [False, True])
def test_doctor_tells_of_an_agent_of_roots_and_of_two(
    paths: Paths, table: Path, monkeypatch: pytest.MonkeyPatch, *, of_nobody: bool
) -> None:
    roots_block_starts(paths, table)
    monkeypatch.setattr(services, "_kinds", lambda: (install.Kind.CRON,))
    if not of_nobody:
        cron_jobs.forget("nobody")

    found = [fact.detail for fact in services.services(paths) if fact.hint]

    assert any("cron starts the agent as root" in each for each in found)
    assert any(each == "several are installed: cron for nobody, cron" for each in found) is of_nobody


def test_who_is_not_root_reads_no_crontab(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron_jobs, "of", lambda _: pytest.fail("it is read"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    installed.refuse_second_agent_of_root(paths, {})


@pytest.mark.parametrize(("user", "uid"), [("nobody", NOBODY), ("4711", 4711), (None, None)])
def test_the_account_of_the_installed_unit(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str | None, uid: int | None
) -> None:
    monkeypatch.setattr(installed, "UNITS", tmp_path)
    line = f"User={user}" if user else "DynamicUser=yes"
    words = installed.quoted_argument(str(paths.config))
    (tmp_path / installed.UNIT_NAME).write_text(f"[Service]\nExecStart=/x --config {words} up\n{line}\n")

    assert installed.account(paths, {}) == uid


def test_the_account_of_the_installed_daemon(tmp_path: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "DAEMONS", tmp_path)
    plain = under(paths.config.parent.parent / "plain")
    service = Service(program=("/x",), config=plain.config, home=Path("/"), log=plain.log, run_as="nobody")
    (tmp_path / f"{installed.LABEL}.plist").write_bytes(launchd.plist(service, installed.Kind.LAUNCHD_DAEMON))

    assert installed.account(plain, {}) == NOBODY
