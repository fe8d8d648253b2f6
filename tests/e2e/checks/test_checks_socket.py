"""The check of a database at a Unix socket: identified, or what is wrong with the file."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.proxies import read_exactly

from ioconnect.checks import socket_check, target_check
from ioconnect.config import configuration
from ioconnect.config.addresses import HostPort, SocketPath
from ioconnect.config.configuration import Config, Tunnel
from ioconnect.config.paths import under
from ioconnect.errors import TargetUnreachable
from ioconnect.installers.service import Kind
from ioconnect.installers.service_description import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.checks.results import Finding


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path that is short enough, which every account may enter."""
    made = Path(tempfile.mkdtemp(prefix="ioconnect-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def listener(folder: Path) -> Iterator[socket.socket]:
    """A server's socket at `db.sock`."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "db.sock"))
        made.listen(1)
        yield made


def refusal(path: Path) -> TargetUnreachable:
    with pytest.raises(TargetUnreachable) as refused:
        target_check.check(SocketPath(str(path)))
    assert refused.value.message.startswith(f"cannot connect to the database at unix:{path}: ")
    return refused.value


def identified(path: Path) -> Finding:
    """Check a socket at which a PostgreSQL answers that it has no TLS."""

    def serve() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            ready.set()
            connection, _ = server.accept()
            with connection:
                assert read_exactly(connection, 8) == bytes.fromhex("00000008 04d2162f")  # SSLRequest
                connection.sendall(b"N")
                connection.recv(1024)

    ready = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(20)
    found = target_check.check(SocketPath(str(path)))
    thread.join(20)
    return found


def test_a_postgresql_is_identified_by_the_name_of_its_socket(folder: Path) -> None:
    """And that it has no TLS there is no warning: it has none for anybody."""
    found = identified(folder / ".s.PGSQL.5432")

    assert found.detail.startswith("PostgreSQL")
    assert f"at unix:{folder}/.s.PGSQL.5432; no TLS over its socket" in found.detail
    assert not found.warning


def test_a_socket_that_another_account_could_make_is_warned_of(folder: Path) -> None:
    folder.chmod(0o1777)
    found = identified(folder / ".s.PGSQL.5432")

    assert found.detail.startswith("PostgreSQL")
    assert (found.warning, f"any account may make a socket in {folder}" in found.detail) == (True, True)


def test_a_socket_that_is_not_there(folder: Path) -> None:
    assert "there is no such file" in refusal(folder / "db.sock").message
    assert f"there is no folder {folder}/mysqld" in refusal(folder / "mysqld" / "sub" / "db.sock").message
    assert "unix_socket_directories" in refusal(folder / "db.sock").hint


def test_what_is_no_socket(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    for name, kind in (("file", "a file"), ("folder", "a folder"), ("pipe", "a pipe")):
        assert f"it is {kind}, not a socket" in refusal(folder / name).message


def test_a_socket_that_a_server_left_behind(folder: Path, listener: socket.socket) -> None:
    listener.close()

    assert "nothing listens on it" in refusal(folder / "db.sock").message


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
def test_a_socket_whose_queue_stays_full(listener: socket.socket) -> None:
    """Within the deadline, and not at once."""
    clients = [socket.socket(socket.AF_UNIX) for _ in range(10)]
    try:
        for client in clients:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        began = time.monotonic()
        with pytest.raises(TargetUnreachable, match="queue of new connections is full"):
            socket_check.connect(SocketPath(listener.getsockname()), began + 0.3)

        assert 0.1 < time.monotonic() - began < 5
    finally:
        for client in clients:
            client.close()


def test_who_may_not_use_it_is_named(listener: socket.socket) -> None:
    """Of another account: one that may not write to the socket, and one that may not enter its folder."""
    where = Path(listener.getsockname())
    code = "from ioconnect.checks.socket_check import connect\n"
    code += "from ioconnect.config.addresses import SocketPath\nfrom ioconnect.errors import Fault\n"
    code += f"try:\n connect(SocketPath({str(where)!r}), 0)\nexcept Fault as fault: print(fault)"
    for closed, said in ((where, "write to it"), (where.parent, f"enter {where.parent}")):
        closed.chmod(0)
        told = ordinary_user.run("", code)

        assert f" may not {said}" in told
        assert os.geteuid() or "the account nobody " in told
    where.parent.chmod(0o700)


def test_a_socket_that_the_service_does_not_see_is_told(tmp_path: Path) -> None:
    """When it is installed; before that the whole path works by hand."""
    target = SocketPath("/tmp/mysql.sock")
    paths = under(tmp_path)
    configuration.save(paths.config, Config(tunnels=(Tunnel("a", HostPort("jump.test", 1), target),)))
    notes = describe(Kind.SYSTEMD, run_as=None, encrypted=False, config=paths.config, print_only=True).notes
    others = describe(Kind.CRON, run_as=None, encrypted=False, config=paths.config, print_only=True).notes

    assert any("does not see the socket /tmp/mysql.sock" in note for note in notes)
    assert not any("does not see the socket" in note for note in others)


def test_a_link_does_not_hide_a_folder_where_anybody_could_make_the_socket(folder: Path) -> None:
    shared, own = folder / "shared", folder / "own"
    shared.mkdir()
    shared.chmod(0o777)
    own.mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(shared / "db.sock"))
        (own / "db.sock").symlink_to(shared / "db.sock")

        assert socket_check.shared_folder(SocketPath(str(own / "db.sock"))) == shared.resolve()
        assert socket_check.shared_folder(SocketPath(str(shared / "db.sock"))) == shared
