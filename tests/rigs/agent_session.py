"""A session of ours inside the test's process: what the daemon hides can be looked at, and several share it."""

from __future__ import annotations

import contextlib
import queue
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes

from ioconnect.agent.session.session import SIGN_IN_PATIENCE, Session
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.agent.tunnel.events import Closed, CountersChanged, Granted, Lost, SignedIn, TargetChanged
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings, Tunnel
from ioconnect.config.paths import Paths
from ioconnect.keys import identity

if TYPE_CHECKING:
    from types import TracebackType

    from tests.rigs.sshd import Sshd

PATIENCE = 20.0


NOWHERE = HostPort("127.0.0.1", 9)
UNHURRIED = AgentSettings(keepalive_interval=60.0)


class Reports:
    """What a session reported. `take` belongs to one thread; `put` is what the session calls."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put = self._queue.put

    def take(self, *kinds: type[Any], deadline: float = PATIENCE) -> Any:
        """Return the next report, which must be of these kinds; CountersChanged and TargetChanged do not count."""
        while True:
            try:
                report = self._queue.get(timeout=deadline)
            except queue.Empty:
                pytest.fail(f"no report within {deadline:g} s, expected {kinds}")
            if not isinstance(report, CountersChanged | TargetChanged):
                assert isinstance(report, kinds), report
                return report

    def nothing_but_counters(self) -> None:
        """Assert that nothing was reported since."""
        while not self._queue.empty():
            report = self._queue.get()
            assert isinstance(report, CountersChanged | TargetChanged), report


class LooseSession:
    """A Session that is not started yet, with a new key, and what it reports."""

    def __init__(
        self,
        folder: Path,
        ssh_port: int,
        *,
        known_hosts: str = "",
        listen_port: int = 50_000,
        target: HostPort = NOWHERE,
        settings: AgentSettings = UNHURRIED,
        patience: float = SIGN_IN_PATIENCE,
        **tunnel: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        paths = Paths(folder / "c", folder / "id", folder / "known_hosts", folder / "state", folder / "log")
        self.public_key = identity.generate(paths.identity)[0]
        # Without any pin nothing would be dialled.
        paths.known_hosts.write_text(f"{known_hosts or f'[127.0.0.1]:{ssh_port} {self.public_key}'}\n")
        self.port = listen_port
        self.over = False
        self.reports = Reports()
        self.counters = Counters()
        self.session = Session(
            Tunnel(folder.name, HostPort("127.0.0.1", listen_port), target, ssh_port=ssh_port, **tunnel),
            settings,
            paths,
            self.counters,
            self.reports.put,
            patience=patience,
        )


class AgentSession(LooseSession):
    """One session with a real sshd, up while it is entered; `port` of 127.0.0.1 leads to the target."""

    def __init__(self, folder: Path, sshd: Sshd, target: HostPort, **options: Any) -> None:
        super().__init__(
            folder,
            sshd.port,
            known_hosts=sshd.known_hosts_line,
            listen_port=processes.free_port(),
            target=target,
            ssh_user=sshd.user,
            **options,
        )
        sshd.authorize(self.public_key, self.port)

    def __enter__(self) -> AgentSession:  # noqa: PYI034  typing.Self came with 3.11
        """Start, and wait until the port is granted."""
        self.session.start()
        self.reports.take(SignedIn)
        self.reports.take(Granted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave, unless it is `over`; if all went well so far, the session must have lived until now."""
        if self.over:
            return
        self.session.close()
        self.reports.take(*((Closed,) if kind is None else (Closed, Lost)))

    def sizes(self) -> dict[str, int]:
        """Return the length of every container that the data path keeps between messages."""
        forward, loop = self.session._forward, self.session._loop
        assert forward is not None
        relay, outbound = forward._relay, forward._transport.packetizer.outbound
        owners = {
            "relay": relay,
            "loop": loop,
            "target": relay.target,
            "requests": forward._requests,
            "outbound": outbound,
        }
        return {
            f"{name}.{attribute}": len(value)
            for name, owner in owners.items()
            for attribute, value in vars(owner).items()
            if hasattr(value, "__len__") and not isinstance(value, str | bytes | memoryview)
        }


class Usage:
    """What a process holds, from Linux's /proc."""

    def __init__(self, pid: int | str = "self") -> None:
        self._folder = Path("/proc", str(pid))
        if not self._folder.exists():
            pytest.skip("/proc, from which a process's descriptors and memory are read, is not there (Linux only)")

    def descriptors(self) -> dict[str, str]:
        """Return every open descriptor with what it leads to."""
        found = {}
        for entry in (self._folder / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the one that lists them
                found[entry.name] = str(entry.readlink())
        return found

    def threads(self) -> int:
        """Return how many threads there are."""
        return self._number("Threads")

    def resident(self) -> int:
        """Return the resident memory in bytes."""
        return self._number("VmRSS") * 1024

    def _number(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        pytest.fail(f"/proc has no {name}")
