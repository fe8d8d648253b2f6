"""The last step of `setup` beside an agent whose lock file was removed: it is found, and no second one started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.rigs import pretend_agent

from ioconnect.commands.setup import service
from ioconnect.commands.setup.answers import Answers
from ioconnect.console.invocation import Invocation
from ioconnect.errors import SystemRefused
from ioconnect.installers.install import InstallResult
from ioconnect.installers.service import Kind
from ioconnect.installers.service_manager import manager_of
from ioconnect.status import control
from ioconnect.status.control import AgentSilent
from ioconnect.status.records import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rigs.pretend_agent import PretendAgent


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendAgent]:
    """An agent without its lock file, which nobody but `setup` started; no service is installed or asked."""
    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))
    monkeypatch.setattr(control, "TIMEOUT", 0.2)
    monkeypatch.setattr(service, "manager_of", lambda _pid: None)
    monkeypatch.setattr(service, "would_run_as_root", lambda _kind: False)  # then an account is named before
    with pretend_agent.running(tmp_path, version="0", started_at="then") as agent:
        agent.publish(Snapshot(running=True, pid=os.getpid(), version="0", started_at="then", tunnels=()))
        agent.paths.lock.unlink()
        yield agent


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the step did."""
    done: list[str] = []
    for name in ("check", "stop_agent", "start_agent", "reload_agent"):
        monkeypatch.setattr(service, name, lambda *_, name=name, **__: done.append(name))

    def install(*_: object, **__: object) -> InstallResult:
        done.append("install")
        return InstallResult(Kind.CRON, changed=True)

    monkeypatch.setattr(service, "install", install)
    return done


def refuse(error: object = None, **_: object) -> None:
    raise error if isinstance(error, BaseException) else SystemRefused("the account may not read it")


@pytest.mark.usefixtures("agent")
def test_one_that_was_started_by_hand_makes_room_for_the_service(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "is_installed", lambda _run_as: False)
    service.install_or_start(Invocation(), "orders", Answers(service=True))

    assert done == ["check", "stop_agent", "install", "reload_agent"]


@pytest.mark.usefixtures("agent")
def test_one_whose_process_is_not_known_makes_room_too(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In another pid namespace, for example; launchd's pid of a job that it does not run is 0, too."""
    monkeypatch.setattr(service, "is_installed", lambda _run_as: False)
    monkeypatch.setattr(service, "manager_of", manager_of)
    monkeypatch.setattr(service, "agent_pid", lambda _paths: 0)
    service.install_or_start(Invocation(), "orders", Answers(service=True))

    assert done == ["check", "stop_agent", "install", "reload_agent"]


@pytest.mark.usefixtures("agent")
def test_it_goes_on_where_the_service_is_refused(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "is_installed", lambda _run_as: False)
    monkeypatch.setattr(service, "check", refuse)

    with pytest.raises(SystemRefused, match="may not read"):
        service.install_or_start(Invocation(), "orders", Answers(service=True))

    assert done == []


@pytest.mark.parametrize("error", [SystemRefused("may not read"), KeyboardInterrupt()])
def test_it_is_started_again_where_the_installation_fails(
    agent: PretendAgent, done: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stop(*_: object) -> None:
        done.append("stop_agent")
        agent.end()

    monkeypatch.setattr(service, "is_installed", lambda _run_as: False)
    monkeypatch.setattr(service, "stop_agent", stop)
    monkeypatch.setattr(service, "install", lambda *_, **__: refuse(error))

    with pytest.raises(type(error)):
        service.install_or_start(Invocation(), "orders", Answers(service=True))

    assert done == ["check", "stop_agent", "start_agent"]


@pytest.mark.parametrize("is_installed", [True, False])
@pytest.mark.usefixtures("agent")
def test_one_that_runs_takes_the_tunnel_over(
    done: list[str], monkeypatch: pytest.MonkeyPatch, *, is_installed: bool
) -> None:
    monkeypatch.setattr(service, "is_installed", lambda _run_as: is_installed)
    service.install_or_start(Invocation(), "orders", Answers(service=False))

    assert done == ["reload_agent"]


@pytest.mark.parametrize("is_installed", [True, False])
def test_beside_one_that_does_not_answer_nothing_is_installed_or_started(
    agent: PretendAgent, done: list[str], monkeypatch: pytest.MonkeyPatch, *, is_installed: bool
) -> None:
    agent.is_frozen = True
    monkeypatch.setattr(service, "is_installed", lambda _run_as: is_installed)
    with pytest.raises(AgentSilent):
        service.install_or_start(Invocation(), "orders", Answers(service=not is_installed))

    assert set(done) <= {"check"}  # which changes nothing


@pytest.fixture
def no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Root on a machine with cron alone: whose crontab is read, as each has a block of ours."""
    read: list[str] = []
    monkeypatch.setenv("IOCONNECT_HOME", str(tmp_path))
    monkeypatch.setattr(service.machine, "default_kind", lambda: Kind.CRON)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def has_service(_: Kind, account: str | None) -> bool:
        read.append(str(account))
        return True

    monkeypatch.setattr(service, "has_service", has_service)
    return read


def test_the_block_of_roots_own_is_no_service_that_is_installed(no_systemd: list[str]) -> None:
    """Earlier versions wrote it; to start its agent was refused, as no account was named (64)."""
    assert service.needs_account(Answers())
    assert not service.is_installed()
    assert service.is_installed("nobody")
    assert no_systemd == ["nobody"]


@pytest.mark.usefixtures("no_systemd")
@pytest.mark.parametrize(
    ("named", "kind", "account"),
    [
        (None, Kind.CRON, "svc"),
        ("other", Kind.CRON, "other"),
        (None, Kind.SYSTEMD, None),
    ],
)
def test_the_account_of_the_installed_service_need_not_be_named_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, kind: Kind, account: str | None
) -> None:
    other = service.installed.AgentOfAccount("svc", 4711, kind, tmp_path, ("/opt/ioconnect",))
    monkeypatch.setattr(service.installed, "of_another_account", lambda *_: other)

    answers = service.with_installed_account(Invocation(), Answers(run_as=named))

    assert answers.run_as == account
    assert service.needs_account(answers) is (account is None)
