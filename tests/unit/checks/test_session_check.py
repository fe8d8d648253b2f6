"""The wait of `test` for its session: Ctrl-C ends it whenever it comes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ioconnect.agent.tunnel.events import Closed
from ioconnect.checks import session_check
from ioconnect.checks.session_check import GRACE, SessionCheck
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings, Tunnel
from ioconnect.config.paths import under
from ioconnect.errors import ConnectionLost

if TYPE_CHECKING:
    from pathlib import Path


class SilentSession:
    """Says nothing until it is closed."""

    host_key = None

    def __init__(self, *arguments: Any, **_options: Any) -> None:
        self._say = arguments[4]

    def start(self, _sock: object) -> None:
        pass

    def close(self) -> None:
        self._say(Closed())

    def abort(self) -> None:
        pass


def test_no_lock_of_pythons_own_is_taken_while_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal between two lines of one leaves it taken: the session could not say any more that it has ended."""
    taken = []
    take, here = threading.Condition.__enter__, threading.get_ident()

    def recorded(condition: threading.Condition) -> bool:
        if threading.get_ident() == here:
            taken.append(condition)
        return take(condition)

    monkeypatch.setattr(threading.Condition, "__enter__", recorded)
    monkeypatch.setattr(session_check, "Session", SilentSession)
    tunnel = Tunnel("orders", HostPort("127.0.0.1", 40000), HostPort("127.0.0.1", 3306))

    with (
        SessionCheck(tunnel, AgentSettings(), under(tmp_path), timeout=0.1 - GRACE) as check,
        pytest.raises(ConnectionLost),
    ):
        check.host_key()

    assert taken == []
