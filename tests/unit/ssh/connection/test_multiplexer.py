"""The channel table, by itself."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

from ioconnect.ssh import messages as ssh
from ioconnect.ssh.connection.multiplexer import Multiplexer


def test_what_was_gathered_when_the_session_ends_keeps_no_view_of_the_buffer() -> None:
    """DATA and the last straw in one batch: 512 KiB stayed until the garbage collector came by."""
    fake: Any = SimpleNamespace(now=0.0)
    multiplexer = Multiplexer(outbound=fake, loop=fake, window_budget=1 << 20, max_channels=8)
    connection: Any = SimpleNamespace(
        channel=SimpleNamespace(received=lambda _count: True), gathered=[], cut=lambda: None
    )
    multiplexer.connections[0] = connection

    multiplexer.receive(ssh.MSG_DATA, memoryview(struct.pack(">II", 0, 3) + b"abc"))
    assert connection.gathered == [b"abc"]
    multiplexer.cut()

    assert connection.gathered == []
    assert not multiplexer.end_batch()
