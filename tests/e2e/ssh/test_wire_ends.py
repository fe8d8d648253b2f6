"""How a session ends: cleanly from every phase, and with nothing of it left in the process."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import mmap
import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.agent_session import LooseSession, Usage
from tests.rigs.database import Database
from tests.rigs.scripted_jumphost import DATA, Client, ScriptedJumphost, data_message
from tests.rigs.stranger import Stranger, until_it_leaves

from ioconnect.agent.tunnel.events import Closed
from ioconnect.config.addresses import HostPort
from ioconnect.ssh.loop import Loop

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

SESSIONS = 50
ENDS = ("close", "reset", "violation", "eof")


@pytest.fixture
def database() -> Iterator[Database]:
    with Database() as made:
        yield made


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-stranger\r\n"], ids=["before the banner", "in the key exchange"])
def test_leaving_before_the_sign_in_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    """`close` while the jumphost keeps us waiting is answered by Closed, and nobody is told of a bug."""
    greeted = threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.sendall(said)
        assert connection.recv(4) == b"SSH-"
        greeted.set()
        until_it_leaves(connection)

    with Stranger(talk) as stranger:
        loose = LooseSession(tmp_path / "c", stranger.port)
        loose.session.start()
        assert greeted.wait(20)
        loose.session.close()

        loose.reports.take(Closed)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def one_session(folder: Path, database: Database, *, end: str) -> None:
    """Carry a little over four connections, the last of them in mid-stream, and end as told."""
    jumphost = ScriptedJumphost()
    client = Client(folder, jumphost, HostPort("127.0.0.1", database.port))
    try:
        client.connected()
        for peer_id in range(4):
            channel = jumphost.open(peer_id)
            jumphost.send(data_message(channel, b"S" + struct.pack(">Q", 1 << 30)))
            jumphost.next(DATA)
        if end == "reset":
            client.session.abort()
        elif end == "violation":
            with contextlib.suppress(EOFError, OSError):
                # Data that is gathered and not delivered yet, and in the same batch the last straw.
                jumphost.send(data_message(channel, bytes(1000)), wait=False)
                jumphost.send(bytes((DATA, 0)), wait=False)
        elif end == "eof":
            jumphost.close()
        client.leave()
    finally:
        jumphost.close()


def buffers() -> list[object]:
    return [found for found in gc.get_objects() if isinstance(found, mmap.mmap)]


def holders() -> list[str]:
    """Return what refers to a buffer, and what to that."""
    found = [view for buffer in buffers() for view in gc.get_referrers(buffer)]
    return [repr(each)[:200] for each in (*found, *(holder for view in found for holder in gc.get_referrers(view)))]


def test_fifty_sessions_leave_nothing(tmp_path_factory: pytest.TempPathFactory, database: Database) -> None:
    """No descriptor, no thread, and no buffer, without waiting for the garbage collector."""

    def ours() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(("tunnel ", "dial "))]

    def run(count: int) -> None:
        told = len(database.endings) + 4 * count
        for _, end in zip(range(count), itertools.cycle(ENDS), strict=False):
            one_session(tmp_path_factory.mktemp("c"), database, end=end)
        processes.wait_until(lambda: not ours(), what="the last session's thread ends", instead=ours)
        processes.wait_until(lambda: len(database.endings) == told, what="the database's sockets are closed")

    usage = Usage()
    run(len(ENDS))
    gc.collect()
    before = len(usage.descriptors())
    gc.disable()
    try:
        run(SESSIONS)
        processes.wait_until(
            lambda: len(usage.descriptors()) <= before, what="the descriptors are back", instead=usage.descriptors
        )
        processes.wait_until(lambda: not buffers(), what="the buffers are freed", instead=holders)
    finally:
        gc.enable()


def test_a_call_is_not_posted_into_somebody_elses_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may post at the moment the loop is closed: the pipe is not closed under its hands."""
    loop = Loop()
    real = os.write
    closer = threading.Thread(target=loop.close)
    closed_meanwhile: list[bool] = []

    def write(fd: int, data: bytes) -> int:
        closer.start()
        closer.join(0.3)
        closed_meanwhile.append(not closer.is_alive())
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    loop.post(lambda: None)
    monkeypatch.undo()
    closer.join(20)

    assert closed_meanwhile == [False]
    loop.post(lambda: None)
