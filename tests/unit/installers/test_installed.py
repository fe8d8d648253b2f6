"""What starts an agent that is a service and does not run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ioconnect.commands.run import agent
from ioconnect.config.paths import Paths, under
from ioconnect.custody import processes
from ioconnect.errors import SystemRefused
from ioconnect.installers import cron_jobs, installed
from ioconnect.installers.programs import Completed
from ioconnect.installers.service import UNIT_NAME, Kind
from ioconnect.status import snapshots
from ioconnect.status.records import Snapshot

UNIT = "[Service]\nExecStart=/opt/ioconnect --config {config} up\n"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """An installation whose system unit may be written to `units` in the same folder; nobody else's are seen."""
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(installed, "UNITS", tmp_path / "units")
    monkeypatch.setattr(installed, "DAEMONS", tmp_path / "daemons")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return under(tmp_path)


def install(paths: Paths, config: Path) -> None:
    (paths.config.parent / "units" / UNIT_NAME).write_text(UNIT.format(config=config))


def state_is(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    def properties(*_: object, **__: object) -> dict[str, str]:
        if state is None:
            raise SystemRefused("systemd does not answer")
        return {"ActiveState": state}

    monkeypatch.setattr(installed, "unit_properties", properties)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("failed", "has failed"),
        ("inactive", "is not running"),
        ("activating", "is being restarted"),
        (None, "is not"),
    ],
)
def test_an_installed_service_is_started_by_its_manager(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, state: str | None, said: str
) -> None:
    """`up --daemon` as root starts an agent whose files then block the unit."""
    install(paths, paths.config)
    state_is(monkeypatch, state)

    hint = installed.start_hint(paths, {})

    assert hint is not None
    assert hint.startswith(f"its service {UNIT_NAME} {said}")
    assert f"systemctl status {UNIT_NAME} says why" in hint
    assert f"{'' if os.geteuid() == 0 else 'sudo '}systemctl start {UNIT_NAME} starts it" in hint
    assert "up --daemon" not in hint


def test_a_service_of_another_installation_is_none(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    state_is(monkeypatch, "failed")
    assert installed.start_hint(paths, {}) is None

    install(paths, Path("/elsewhere/config.toml"))
    assert installed.start_hint(paths, {}) is None

    install(paths, Path(f"{paths.config}.old"))
    assert installed.start_hint(paths, {}) is None


def test_the_machines_service_is_also_for_who_has_no_configuration(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_is(monkeypatch, "failed")
    install(paths, Path("/etc/ioconnect/config.toml"))

    assert installed.start_hint(paths, {}) is not None
    assert installed.start_hint(paths, {"IOCONNECT_HOME": "/x"}) is None
    paths.config.write_text("")
    assert installed.start_hint(paths, {}) is None


def test_root_starts_no_agent_by_hand_beside_the_service(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files would be in the way of the service's account, which could not start any more."""
    install(paths, paths.config)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(SystemRefused) as refused:
        installed.refuse_second_agent_of_root(paths, {})

    assert refused.value.hint.startswith(f"Start the service: systemctl start {UNIT_NAME}.")


@pytest.mark.parametrize("case", ["the service itself", "not root", "another configuration"])
def test_who_may_start_an_agent(paths: Paths, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    install(paths, paths.config.with_name("other.toml") if case == "another configuration" else paths.config)
    monkeypatch.setattr(os, "geteuid", lambda: 1000 if case == "not root" else 0)
    if case == "the service itself":
        monkeypatch.setattr(installed, "unit_of", lambda _: (UNIT_NAME, Kind.SYSTEMD))

    installed.refuse_second_agent_of_root(paths, {})


@pytest.mark.parametrize("kind", [Kind.SYSTEMD, Kind.SYSTEMD_USER, None])
def test_what_follows_a_change_is_the_start_of_the_installed_service(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind | None
) -> None:
    """`up --daemon` beside it is refused to root, and for anybody would be in its way."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cron_jobs, "RECORDS", tmp_path / "records")
    if kind is not None:
        folder = {Kind.SYSTEMD: tmp_path / "units", Kind.SYSTEMD_USER: tmp_path / "user/systemd/user"}[kind]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / UNIT_NAME).write_text(UNIT.format(config=paths.config))

    expected = {
        Kind.SYSTEMD: f"systemctl start {UNIT_NAME}",
        Kind.SYSTEMD_USER: f"systemctl --user start {UNIT_NAME}",
    }
    assert agent.how_to_take_over(paths) == ("ioconnect up --daemon" if kind is None else expected[kind])


class Asked:
    """An account whose program says that its agent runs, with the pid of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.now = 1000.0
        snapshot = Snapshot(running=True, pid=os.getpid(), version="0", started_at=None, tunnels=())
        self._answer = json.dumps(snapshots.answer_to_json(snapshot)).encode()
        monkeypatch.setattr(installed, "run", self._run)
        monkeypatch.setattr(installed, "_answers", {})
        monkeypatch.setattr(installed.time, "monotonic", lambda: self.now)

    def _run(self, *_: object, timeout: float, **__: object) -> Completed:
        assert timeout == installed.ASK_TIMEOUT
        self.count += 1
        return Completed(0, self._answer, b"")


def test_who_polls_starts_the_program_of_the_account_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    other = installed.AgentOfAccount("nobody", os.getuid(), Kind.CRON, Path("/t"), ("/opt/ioconnect",))

    found = [installed._asked(other) for _ in range(8)]
    asked.now += installed.ASK_INTERVAL
    found.append(installed._asked(other))

    assert [each is not None and each.pid for each in found] == [os.getpid()] * 9
    assert asked.count == 2


@pytest.mark.parametrize("is_the_jobs", [True, False])
def test_the_agent_of_launchd_is_the_process_of_its_job(
    monkeypatch: pytest.MonkeyPatch, *, is_the_jobs: bool
) -> None:
    """There is no /proc on macOS."""
    Asked(monkeypatch)
    monkeypatch.setattr(processes, "owner", lambda _: None)
    monkeypatch.setattr(installed, "launchd_pid", lambda domain: os.getpid() if is_the_jobs else len(domain))
    other = installed.AgentOfAccount("nobody", 65534, Kind.LAUNCHD_DAEMON, Path("/p"), ("/opt/ioconnect",))

    found = installed._asked(other)

    assert (found is not None) is is_the_jobs
    assert found is None or found.manager.stop == f"launchctl bootout system/{installed.LABEL}"
