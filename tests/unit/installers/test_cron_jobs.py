"""The agents that cron starts as other accounts, which root's own would stand in the way of."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ioconnect.config.paths import Paths, under
from ioconnect.errors import SystemRefused
from ioconnect.installers import cron_jobs, crontab, installed, launchd
from ioconnect.installers.service import Service

NOBODY = 65534


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Root's configuration, on a machine with crontabs in `spool`, /etc/crontab and /etc/cron.d, and no service."""
    for name in ("spool", "cron.d"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(cron_jobs, "SPOOLS", (tmp_path / "missing", tmp_path / "spool"))
    monkeypatch.setattr(cron_jobs, "SYSTEM_TABLES", (tmp_path / "crontab", tmp_path / "cron.d"))
    for name in ("UNITS", "DAEMONS"):
        monkeypatch.setattr(installed, name, tmp_path / "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return under(tmp_path / "50% of R&D")


def block(paths: Paths) -> bytes:
    service = Service(program=("/opt/ioconnect",), config=paths.config, home=Path("/"), log=paths.log)
    return b"@daily true\n" + crontab.block(replace(service, run_as="nobody"))


LINES = {
    "spool/root": [
        "*/5 * * * * /usr/sbin/runuser -u nobody -- ioconnect --config {} up --daemon",
        "@reboot sudo -n --user=nobody ioconnect --config {} up --daemon >/dev/null 2>&1",
        "@reboot su -s /bin/sh nobody -c 'ioconnect --config {} up --daemon'",
    ],
    "crontab": ["  */5 * * * * nobody ioconnect --config={} up --daemon"],
    "cron.d/ioconnect": ["@reboot nobody env X=1 ioconnect --config {} up"],
    "spool/nobody": ["@reboot ioconnect --config {} up --daemon"],
}


@pytest.mark.parametrize(("table", "line"), [(table, line) for table, lines in LINES.items() for line in lines])
def test_root_starts_no_agent_beside_a_line_of_cron(paths: Paths, tmp_path: Path, table: str, line: str) -> None:
    paths = under(tmp_path / "plain")
    (tmp_path / table).write_text(f"# a remark\nMAILTO=root\n\n{line.format(paths.config)}\n")

    with pytest.raises(SystemRefused, match=f"{tmp_path / table} has the agent of this configuration run as nobody"):
        installed.refuse_second_agent_of_root(paths, {})
    assert installed.account(paths, {}) == NOBODY


def test_nor_beside_the_block_of_an_account(paths: Paths, tmp_path: Path) -> None:
    """With a path that cron and the shell have in another form."""
    (tmp_path / "spool" / "nobody").write_bytes(block(paths))

    with pytest.raises(SystemRefused) as refused:
        installed.refuse_second_agent_of_root(paths, {})

    assert "ioconnect uninstall-service --kind cron --run-as nobody" in refused.value.hint


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("spool/nobody", "#@reboot ioconnect --config {} up --daemon"),
        ("spool/nobody", "@reboot ioconnect --config {}.old up --daemon"),
        ("spool/nobody", "@reboot ioconnect --config {} status"),
        ("spool/nobody", "@reboot"),
        ("spool/nobody", ""),
        ("spool/no-such-account", "@reboot ioconnect --config {} up --daemon"),
        ("cron.d/x", "@reboot root ioconnect --config {} up --daemon"),
        ("spool/root", "@reboot ioconnect --config {} up --daemon"),
    ],
)
def test_what_is_no_agent_of_another_account(paths: Paths, tmp_path: Path, table: str, line: str) -> None:
    paths = under(tmp_path / "plain")
    (tmp_path / table).write_text(line.format(paths.config))

    installed.refuse_second_agent_of_root(paths, {})


def test_who_is_not_root_reads_no_crontab(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spool" / "nobody").write_bytes(block(paths))
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
