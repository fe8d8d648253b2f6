"""The tunnels of files in config.d with faults: they cannot run, and status shows them as held.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.status.records import State, TunnelStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ioconnect.config.configuration import InvalidFile


def held(invalid: Iterable[InvalidFile], running: Collection[str], since: str) -> Iterator[TunnelStatus]:
    """Yield a status for each tunnel of these files that does not run; their addresses are not known.

    A file in which no name can be read counts as one tunnel with the file's name.
    """
    for file in invalid:
        for name in file.names or (file.path.stem,):
            if name not in running:
                yield TunnelStatus(
                    name,
                    State.HELD,
                    since,
                    file.fault.reason,
                    jumphost="",
                    listen_port=0,
                    target="",
                    down_since=since,
                )
