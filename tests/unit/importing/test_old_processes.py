"""The processes of an old tunnel, among the command lines of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ioconnect.config.addresses import HostPort, SocketPath
from ioconnect.config.configuration import Tunnel
from ioconnect.importing.old_processes import processes_of

if TYPE_CHECKING:
    from pathlib import Path

OTHERS = 1 << 24  # above any pid


@pytest.mark.parametrize(
    ("forward", "is_ours"),
    [
        ("-R 58115:/run/mysqld/mysqld.sock", True),
        ("-R localhost:58115:/run/mysqld/mysqld.sock", True),
        ("-o RemoteForward=58115 /run/mysqld/mysqld.sock", True),
        ("-R 58115:/run/mysqld/mysqld.sock2", False),
        ("-R 158115:/run/mysqld/mysqld.sock", False),
        ("-R 58115:localhost:3306", False),
    ],
)
def test_a_forward_to_a_unix_socket(tmp_path: Path, forward: str, *, is_ours: bool) -> None:
    entry = tmp_path / str(OTHERS)
    entry.mkdir()
    (entry / "cmdline").write_bytes("\0".join(["ssh", "-N", *forward.split(), "jump.test", ""]).encode())
    tunnel = Tunnel("orders", HostPort("jump.test", 58115), SocketPath("/run/mysqld/mysqld.sock"))

    assert [process.pid for process in processes_of(tunnel, tmp_path)] == [OTHERS] * is_ours
