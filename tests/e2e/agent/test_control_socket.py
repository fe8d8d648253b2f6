"""The control socket of a real agent: who asks what, how, and what becomes of those who ask badly."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import socketserver
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import ordinary_user, processes
from tests.rigs.agent_scene import AgentScene
from tests.rigs.control_client import answer, ask, get, post
from tests.rigs.database import pull
from tests.rigs.processes import find_program

from ioconnect.errors import ExitCode
from ioconnect.status import control, lock
from ioconnect.status.control import AgentSilent

if TYPE_CHECKING:
    from pathlib import Path


# --- what is answered


def test_curl_gets_the_status_as_json(running: AgentScene) -> None:
    curl = find_program("curl") or pytest.skip("curl is not installed (Debian package curl)")
    path = str(running.paths.control[0])
    done = processes.checked([curl, "-sS", "--unix-socket", path, "http://localhost/v1/status"])
    told = processes.checked([curl, "-sS", "-X", "POST", "--unix-socket", path, "http://localhost/v1/reconnect"])

    status = json.loads(done)
    assert status["schema"] == 1
    assert status["agent"]["pid"] == running.customer.agent_pid()
    assert status["tunnels"][0]["state"] == "connected"
    assert json.loads(told) == {"tunnels": ["orders"], "connected": ["orders"]}


def test_the_answer_is_of_this_moment(running: AgentScene) -> None:
    """The file is written once a second; the socket knows at once."""
    pull(running.port, 123_456)
    carried = processes.wait_until(
        lambda: control.request(running.paths, "GET", "/v1/status")["tunnels"][0]["bytes"]["from_target"] == 123_456
    )
    assert carried


def test_live_and_ready(running: AgentScene) -> None:
    assert ask(running.paths.control[0], get("/livez"))[0] == 200
    assert ask(running.paths.control[0], get("/readyz"))[::2] == (200, {"ready": True, "waiting": []})
    assert ask(running.paths.control[0], get("/readyz?tunnel=orders"))[0] == 200
    assert ask(running.paths.control[0], get("/readyz?tunnel=nobody"))[0] == 404

    running.rig.faults.turn_away(b"Not allowed at this time\r\n")
    running.rig.faults.drop()
    processes.wait_until(lambda: ask(running.paths.control[0], get("/readyz"))[0] == 503)
    assert ask(running.paths.control[0], get("/livez"))[0] == 200


def test_half_a_request_is_ended_after_two_seconds_however_slowly_it_drips(running: AgentScene) -> None:
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as drips, socket.socket(socket.AF_UNIX) as silent:
        for connection in (drips, silent):
            connection.settimeout(10)
            connection.connect(str(running.paths.control[0]))
        silent.sendall(b"POST /v1/down HTTP/1.1\r\nContent-Length: 5\r\n\r\n{")
        for byte in b"GET /v1/status HTTP/1.1\r\nA: ":
            drips.sendall(bytes([byte]))
        assert answer(drips)[0] == 408
        assert answer(silent)[0] == 408
    assert 1.5 < time.monotonic() - began < 5


def test_eight_clients_at_once_and_the_ninth_is_told(running: AgentScene) -> None:
    slow = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    try:
        for connection in slow:
            connection.connect(str(running.paths.control[0]))
        status, headers, _ = ask(running.paths.control[0], get("/v1/status"))
        assert (status, headers["retry-after"]) == (503, "1")
    finally:
        for connection in slow:
            connection.close()
    assert control.request(running.paths, "GET", "/livez") == {"live": True}


def test_a_client_that_hangs_up_at_any_point_leaves_no_trace(running: AgentScene) -> None:
    message = post("/v1/reconnect")
    for length in range(len(message)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(running.paths.control[0]))
            connection.sendall(message[:length])
            if length % 2:
                connection.shutdown(socket.SHUT_WR)

    processes.wait_until(lambda: ask(running.paths.control[0], get("/v1/status"))[0] == 200)
    assert "Traceback" not in running.customer.log_text()


# --- who may


def test_another_user_may_ask_and_not_change(running: AgentScene) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    running.paths.control[0].parent.chmod(0o755)
    with ordinary_user.folder(mode=0o755, own=False) as public:
        socket_path = public / "linked.sock"  # a hard link: the test's own folder is closed to others
        try:
            os.link(running.paths.control[0], socket_path)
        except OSError as error:
            pytest.skip(f"a socket cannot be linked there: {error}")
        said = ordinary_user.run(
            "import socket",
            f"""
for message in {[get("/v1/status"), post("/v1/down"), post("/v1/reload")]!r}:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect({str(socket_path)!r})
        connection.sendall(message)
        print(connection.makefile("rb").readline().split()[1].decode())
""",
        )
    assert said.split() == ["200", "403", "403"]
    assert running.customer.tunnel("orders")["state"] == "connected"


def test_the_socket_lets_everybody_connect_and_its_folder_only_us(running: AgentScene) -> None:
    path = running.paths.control[0]

    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# --- where it is


def test_a_path_longer_than_a_socket_address(scene: AgentScene, tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30) / ("deeper" * 20)
    deep.mkdir(parents=True)
    scene.customer.home.rename(deep / "home")
    scene.move_to(deep / "home")
    assert len(str(scene.paths.control[0])) > 200

    scene.customer.run("up", "--daemon")
    assert "a keepalive was sent: orders" in scene.customer.try_run("reconnect").stderr
    scene.customer.run("down")
    assert not scene.paths.control[0].exists()


def test_after_kill_nine_the_stale_socket_is_replaced(running: AgentScene) -> None:
    os.kill(running.customer.agent_pid(), signal.SIGKILL)
    processes.wait_until(lambda: lock.holder(running.paths.lock) is None, deadline=5, what="the lock is free")
    assert running.paths.control[0].is_socket()

    running.customer.run("up", "--daemon")
    assert ask(running.paths.control[0], get("/livez"))[0] == 200


@pytest.mark.parametrize("kind", ["fifo", "link", "file", "folder", "another's", "folder is a link", "open folder"])
def test_what_is_not_ours_is_left_alone_and_the_agent_runs_without(
    scene: AgentScene, tmp_path: Path, kind: str
) -> None:
    path = scene.paths.control[0]
    path.parent.mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    elif kind == "another's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a file to somebody else")
        listener.bind(str(path))
        os.chown(path, ordinary_user.NOBODY, ordinary_user.NOBODY)
    elif kind == "folder is a link":
        path.parent.rmdir()
        (tmp_path / "elsewhere").mkdir()
        path.parent.symlink_to(tmp_path / "elsewhere")
    else:
        path.parent.chmod(0o777)
    with listener:
        scene.customer.run("up", "--daemon")
        assert pull(scene.port, 1000)[0] == 1000
        assert len(scene.log("no control socket")) == 1
        assert not (tmp_path / "elsewhere").is_socket()
        before = time.monotonic()
        done, status = scene.customer.try_together(("reload",), ("status",))
        assert time.monotonic() - before < 8
        assert (done.returncode, status.returncode) == (ExitCode.UNAVAILABLE, ExitCode.UNAVAILABLE)
        assert "does not answer" in done.stderr
        shown = status.stdout.replace("\n  ", " ")
        assert re.match(r"no answer from the agent \(pid \d+\) within 2 s: .* control socket", shown)
        assert "kill -CONT" not in shown + done.stderr
    scene.customer.run("down")  # by a signal to the lock's proven holder
    assert lock.holder(scene.paths.lock) is None


@pytest.mark.parametrize("is_full", [False, True])
def test_up_is_refused_while_a_process_of_ours_listens_and_says_nothing(scene: AgentScene, *, is_full: bool) -> None:
    """It may be an agent that is stopped and has lost its lock file: a second one would fight it for the port."""
    path = scene.paths.control[0]
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0 if is_full else 8)
        if is_full:
            waiting.connect(str(path))
        for arguments in (("up",), ("up", "--daemon")):
            done = scene.customer.try_run(*arguments)
            assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
            assert "does not answer" in done.stderr
            assert is_full or f"(pid {os.getpid()})" in done.stderr
            assert lock.holder(scene.paths.lock) is None


def test_up_runs_beside_a_listener_that_is_no_agent(scene: AgentScene) -> None:
    path = scene.paths.control[0]
    path.parent.mkdir(mode=0o700)

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"220 ready\r\n")

    with socketserver.ThreadingUnixStreamServer(str(path), Greeting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        scene.customer.run("up", "--daemon")
        assert pull(scene.port, 1000)[0] == 1000
        assert len(scene.log("no control socket")) == 1
        server.shutdown()


def test_a_socket_whose_folder_others_may_write_in_is_not_asked(running: AgentScene) -> None:
    running.paths.control[0].parent.chmod(0o777)
    try:
        with pytest.raises(AgentSilent, match="others may write"):
            control.request(running.paths, "GET", "/v1/status", timeout=0.2)
    finally:
        running.paths.control[0].parent.chmod(0o700)


def test_a_socket_that_was_deleted_is_not_told_as_a_frozen_agent(running: AgentScene) -> None:
    running.paths.control[0].unlink()

    shown = running.customer.run("status", expect=ExitCode.UNAVAILABLE).replace("\n  ", " ")

    assert "within 2 s: it has no control socket\n" in shown
    assert "kill -CONT" not in shown


def test_two_agents_with_two_configurations_are_told_apart(running: AgentScene, tmp_path: Path) -> None:
    """Same runtime folder, two state folders: each command reaches the agent of its own lock."""
    other = AgentScene(tmp_path / "other", running.rig, running.database)
    try:
        other.customer.run("up", "--daemon")
        mixed = (running.paths.control[0], other.paths.control[0])
        paths = type(other.paths)(**{**_fields(other.paths), "control": mixed})

        asked = control.request(paths, "GET", "/v1/status")
        assert asked["agent"]["pid"] == other.customer.agent_pid()
    finally:
        other.customer.close()


def _fields(paths: Any) -> dict[str, Any]:
    return {name: getattr(paths, name) for name in paths.__slots__}


# --- an agent that does not answer


def test_a_frozen_agent_answers_nothing_within_two_seconds(running: AgentScene) -> None:
    pid = running.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(AgentSilent) as silent:
            control.request(running.paths, "GET", "/v1/status")
        assert 1.9 < time.monotonic() - began < 4
        assert silent.value.pid == pid
        commands = (("reload",), ("reconnect",), ("down", "orders"), ("up", "--daemon"))
        for done in running.customer.try_together(*commands):
            assert done.returncode == ExitCode.UNAVAILABLE, done.args
            assert f"the agent (pid {pid}) does not answer" in done.stderr
            assert "ioconnect down ends it" in done.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    assert control.request(running.paths, "GET", "/livez", timeout=10) == {"live": True}


def test_down_ends_a_frozen_agent_and_says_how(running: AgentScene) -> None:
    pid = running.customer.agent_pid()
    os.kill(pid, signal.SIGSTOP)

    done = running.customer.try_run("down")

    assert done.returncode == 0, done.stderr
    assert f"the agent (pid {pid}) does not answer" in done.stderr
    assert f"Stopped the agent (pid {pid})" in done.stderr
    assert not processes.is_alive(pid)


def test_a_foreign_pid_in_the_lock_is_not_signalled(running: AgentScene, tmp_path: Path) -> None:
    """Whoever may write the lock cannot have another process killed."""
    pid = running.customer.agent_pid()
    bystander = processes.start(["sleep", "60"], log=tmp_path / "log")
    os.kill(pid, signal.SIGSTOP)
    try:
        content = json.loads(running.paths.lock.read_text())
        running.paths.lock.write_text(json.dumps({**content, "pid": bystander.pid}))
        done = running.customer.try_run("down")

        assert done.returncode == ExitCode.UNAVAILABLE
        assert "cannot be proved" in done.stderr
        assert bystander.poll() is None
    finally:
        os.kill(pid, signal.SIGCONT)
        running.paths.lock.write_text(json.dumps(content))
        processes.end(bystander)
