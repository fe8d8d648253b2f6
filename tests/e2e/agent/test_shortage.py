"""Out of descriptors or threads: what needs one fails and comes back, and nothing else notices."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.agent_session import LooseSession
from tests.rigs.database import pull
from tests.rigs.scripted_jumphost import CLOSE, DATA, Client, ScriptedJumphost, data_message

from ioconnect.agent.tunnel.events import Closed, Granted, Lost, SignedIn
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings
from ioconnect.ssh.connection import forwarded_connection
from ioconnect.ssh.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.agent_scene import AgentScene
    from tests.rigs.database import Database
    from tests.rigs.stub import StubRig

SHORT = "Too many open files"


def without_further_descriptors(pid: int) -> int:
    """Return the limit under which an agent has the descriptors of its start, and no session can have any."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return min(int(each.name) for each in descriptors if "eventpoll" in str(each.readlink()))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def set_limit(pid: int, soft: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_an_agent_without_descriptors_says_so_and_comes_back(scene: AgentScene) -> None:
    names = {"orders", "stock", "more"}
    for name in names - {"orders"}:
        scene.add(name)
    scene.customer.run("up", "--daemon")
    pid = scene.customer.agent_pid()
    plenty = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    assert plenty == resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    set_limit(pid, without_further_descriptors(pid))

    with contextlib.ExitStack() as pipelines:  # the first ones may find a descriptor, and keep it

        def is_refused() -> bool:
            pipelines.enter_context(socket.create_connection(("127.0.0.1", scene.port)))
            reason = scene.customer.tunnel("orders")["target_state"]["reason"]
            return bool(reason) and SHORT in reason["message"]

        processes.wait_until(is_refused, what="one is refused")
        tunnel = scene.customer.tunnel("orders")
        assert tunnel["state"] == "connected"
        assert tunnel["connections"]["failed"] > 0
    scene.rig.faults.drop()
    for name in names:

        def says_why(name: str = name) -> bool:
            reason = scene.customer.tunnel(name)["reason"]
            return bool(reason) and SHORT in reason["message"] and "LimitNOFILE" in reason["hint"]

        processes.wait_until(says_why, what=f"{name} says what it lacks", instead=scene.customer.status)

    set_limit(pid, plenty)
    for name in names:
        scene.customer.wait_for("connected", name)
    assert pull(scene.port, 100_000)[0] == 100_000
    assert scene.customer.agent_pid() == pid
    assert "Traceback" not in scene.customer.log_text()


@pytest.mark.parametrize("which", ["dial", "tunnel"])
def test_a_session_whose_thread_cannot_start_reports_once_and_leaves_nothing(
    tmp_path: Path, rig: StubRig, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(which):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = open_descriptors()
    for number in range(20):
        loose = LooseSession(tmp_path / str(number), rig.port, known_hosts=rig.known_hosts_line)
        if which == "dial":
            with pytest.raises(RuntimeError, match="can't start"):
                loose.session.start()
        else:
            loose.session.start()
            fault = loose.reports.take(Lost).fault
            assert "can't start new thread" in fault.message
            assert "TasksMax" in fault.hint
        loose.reports.nothing_but_counters()
    rig.wait_for(lambda: not rig.jumphost.sessions())
    processes.wait_until(lambda: open_descriptors() <= before, what="every descriptor is closed")


@pytest.mark.parametrize("place", ["socketpair", "transport"])
def test_whatever_is_raised_on_the_dials_thread_is_reported_once(
    tmp_path: Path, rig: StubRig, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    from ioconnect.agent.session import connect  # noqa: PLC0415  paramiko

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) if place == "socketpair" else MemoryError

    if place == "socketpair":
        monkeypatch.setattr(connect.socket, "socketpair", fail)
    else:
        monkeypatch.setattr(connect, "ClientTransport", fail)
    loose = LooseSession(tmp_path / "one", rig.port, known_hosts=rig.known_hosts_line)
    loose.session.start()

    lost = loose.reports.take(Lost)
    assert lost.fault.disposition.value == "retry"
    assert ("LimitNOFILE" if place == "socketpair" else "MemoryMax") in lost.fault.hint
    loose.reports.nothing_but_counters()


def test_a_connection_that_the_kernel_does_not_watch_ends_alone(
    tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """epoll_ctl(2): ENOSPC, at the user's max_user_watches."""
    watch: Callable[..., None] = Loop.watch
    is_short = False

    def short(loop: Loop, fd: int, mask: int, call: Callable[[int], None]) -> None:
        if is_short and getattr(call, "__func__", None) is forwarded_connection.Connection.ready:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        watch(loop, fd, mask, call)

    monkeypatch.setattr(Loop, "watch", short)
    jumphost = ScriptedJumphost()
    client = Client(tmp_path, jumphost, HostPort("127.0.0.1", db.port))
    try:
        client.connected()
        good = jumphost.open(1)
        is_short = True
        jumphost.open(2)
        assert jumphost.next(CLOSE)[0] == CLOSE
        is_short = False
        jumphost.send(data_message(good, b"E" + bytes(8)))
        jumphost.send(data_message(good, b"still here"))
        assert jumphost.next(DATA)[1][8:] == b"still here"
    finally:
        client.leave()
        jumphost.close()


def test_a_keepalive_beyond_what_the_kernel_counts_to_connects(tmp_path: Path, rig: StubRig) -> None:
    """TCP_USER_TIMEOUT is an int of milliseconds; the configuration permits a day a million times."""
    patient = AgentSettings(keepalive_interval=86_400, keepalive_count_max=1_000_000)
    loose = LooseSession(tmp_path / "one", rig.port, known_hosts=rig.known_hosts_line, settings=patient)
    rig.authorize(loose.public_key, loose.port)
    loose.session.start()

    loose.reports.take(SignedIn)
    loose.reports.take(Granted)
    loose.session.close()
    loose.reports.take(Closed)
