"""A simulation of everything around the real supervisor: a clock that jumps to the next event, and scripted sessions.

One thread, no sockets, no sleeps: a day takes as long as its events take to compute.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect.agent.dial.happy_eyeballs import SourcePort
from ioconnect.agent.supervisor.background_jobs import do_at_once
from ioconnect.agent.supervisor.mailbox import Request
from ioconnect.agent.supervisor.selection import Selection
from ioconnect.agent.supervisor.source_ports import SourcePorts
from ioconnect.agent.supervisor.supervisor import Supervisor
from ioconnect.agent.supervisor.tunnel_runner import AgentContext
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings, Config, InvalidFile, Tunnel
from ioconnect.config.paths import under
from ioconnect.errors import Fault
from ioconnect.keys.credentials import ReadFiles
from ioconnect.status.snapshots import Security, Snapshot, TunnelStatus

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ioconnect.agent.network.routes import Route
    from ioconnect.agent.supervisor.background_jobs import Put
    from ioconnect.agent.supervisor.mailbox import Command, Message
    from ioconnect.agent.supervisor.tunnel_runner import TunnelRunner
    from ioconnect.agent.tunnel.counters import Counters
    from ioconnect.agent.tunnel.events import SessionEvent
    from ioconnect.config.paths import Paths
    from ioconnect.errors import ExitCode

Script = Callable[["ScriptedSession"], None]  # called when a session starts to dial

EPOCH = 1_790_000_000.0


class NothingWillHappen(AssertionError):
    """The supervisor waits without a deadline: right for an idle agent, the end of a test."""


class World:
    """Clock, mailbox and session factory in one."""

    def __init__(self, on_dial: Script, *, seed: int = 1) -> None:
        self.on_dial = on_dial
        self.sessions: list[ScriptedSession] = []
        self.wakeups = 0  # how often the supervisor was woken
        self._now = 0.0
        self._random = random.Random(seed)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._messages: list[Message] = []

    # Clock

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return EPOCH + self._now

    def random(self) -> float:
        return self._random.random()

    # Mailbox

    def put(self, message: Message) -> None:
        self._messages.append(message)

    def get(self, deadline: float | None) -> Message | None:
        """Jump to the next event, at most to the deadline."""
        self.wakeups += 1
        while not self._messages:
            due = self._agenda[0][0] if self._agenda else None
            if deadline is not None and (due is None or deadline < due):
                self._now = max(self._now, deadline)
                return None
            if due is None:
                raise NothingWillHappen
            moment, _, happen = heapq.heappop(self._agenda)
            self._now = max(self._now, moment)
            happen()
        return self._messages.pop(0)

    # the world

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        """Call `happen` so many seconds from now."""
        heapq.heappush(self._agenda, (self._now + seconds, next(self._order), happen))

    def post(self, seconds: float, message: Message) -> None:
        """Put a message into the mailbox so many seconds from now."""
        self.after(seconds, lambda: self.put(message))

    def __call__(
        self,
        tunnel: Tunnel,
        settings: AgentSettings,
        _paths: Paths,
        counters: Counters,
        report: Callable[[SessionEvent], None],
        *,
        source: SourcePort | None,
    ) -> ScriptedSession:
        """Make a session, in place of `Session`."""
        return ScriptedSession(self, tunnel, settings, counters, report, source=source)


class ScriptedSession:
    """A session that does what the script of the world says; `calls` are the supervisor's calls, in order."""

    def __init__(
        self,
        world: World,
        tunnel: Tunnel,
        settings: AgentSettings,
        counters: Counters,
        report: Callable[[SessionEvent], None],
        *,
        source: SourcePort | None,
    ) -> None:
        self.world = world
        self.tunnel = tunnel
        self.settings = settings
        self.counters = counters
        self.report = report
        self.source = source
        own = SourcePort("192.0.2.1", 40000 + len(world.sessions), "198.51.100.1")
        end = source or own
        self.local_address: tuple[str, int] | None = (end.address, end.port)
        self.peer_address: str | None = end.peer
        self.host_key: str | None = "SHA256:simulated"
        self.identity: str | None = "SHA256:simulated key"
        self.security = Security("curve25519-sha256", "aes128-gcm@openssh.com", None, post_quantum=False)
        self.files = ReadFiles()
        self.began = world.now()
        self.calls: list[str] = []
        self.hung_since: float | None = None
        self.on_close: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.world.sessions.append(self)
        self.world.on_dial(self)

    def emit(self, *events: SessionEvent, after: float = 0.0) -> None:
        """Report the events so many seconds from now, one after another."""
        for event in events:
            self.world.after(after, lambda event=event: self.report(event))

    def request_forward(self) -> None:
        self.calls.append("request_forward")

    def check_host_key(self) -> None:
        pass

    def probe(self) -> None:
        self.calls.append("probe")

    def close(self) -> None:
        self.calls.append("close")
        self.on_close()

    def abort(self) -> None:
        self.calls.append("abort")

    def alive_at(self) -> float:
        return self.world.now() if self.hung_since is None else self.hung_since


class Recorder:
    """Records the calls that the supervisor makes to its publisher and its callbacks; writes nothing."""

    def __init__(self, world: World, config: Config) -> None:
        self.world = world
        self.config = config
        self.watchdog_interval: float | None = None
        self.calls: list[str] = []
        self.checked: list[list[str]] = []
        self.published_at: list[float] = []
        self.left_out: tuple[InvalidFile, ...] = ()
        self.load_config: Callable[[], Config] = lambda: self.config

    def publish(self, runners: object) -> Snapshot:
        for runner in runners:  # type: ignore[attr-defined]
            runner.counters.changed = False
        self.published_at.append(self.world.now())
        return Snapshot(running=True, pid=1, version="0", started_at=None, tunnels=())

    def snapshot(self, runners: Iterable[TunnelRunner]) -> Snapshot:
        tunnels = tuple(
            TunnelStatus(each.tunnel.name, each.state.shown, "", None, "jumphost.test:22", 1, "localhost:3306")
            for each in runners
        )
        return Snapshot(running=True, pid=1, version="0", started_at=None, tunnels=tunnels)

    def leave_out(self, invalid: tuple[InvalidFile, ...]) -> None:
        self.left_out = invalid

    def load_valid_config(self) -> Config:
        return self.load_config()

    def config_stamps(self) -> dict[Path, tuple[int, ...] | None]:
        return {}

    def check(self, config: Config) -> None:
        self.checked.append([tunnel.name for tunnel in config.tunnels])

    def faults(self, config: Config) -> dict[str, Fault]:
        found = {each.name: self._fault(replace(config, tunnels=(each,))) for each in config.tunnels}
        return {name: fault for name, fault in found.items() if fault is not None}

    def _fault(self, config: Config) -> Fault | None:
        try:
            self.check(config)
        except Fault as fault:
            return fault
        return None

    def published(self, _snapshot: Snapshot) -> None:
        self.calls.append("published")

    def stopping(self) -> None:
        self.calls.append("stopping")

    def reloading(self) -> None:
        self.calls.append("reloading")

    def reloaded(self) -> None:
        self.calls.append("reloaded")

    def watchdog(self) -> None:
        self.calls.append("watchdog")


def tunnel(name: str = "orders", port: int = 58115) -> Tunnel:
    """Return a tunnel whose hosts do not exist."""
    return Tunnel(name, HostPort("jumphost.test", port), HostPort("localhost", 3306))


class Simulation:
    """A supervisor in a simulated world."""

    def __init__(
        self,
        on_dial: Script,
        *tunnels: Tunnel,
        folder: Path,
        seed: int = 1,
        names: tuple[str, ...] = (),
        background: Put = do_at_once,
    ) -> None:
        self.world = World(on_dial, seed=seed)
        self.config = Config(AgentSettings(), tunnels or (tunnel(),))
        self.recorder = Recorder(self.world, self.config)
        self.routes: dict[str, Route] = {}  # by address; what is not there has none
        context = AgentContext(
            under(folder),
            self.world,
            self.world,
            self.world,
            SourcePorts(folder / "sources.json"),
            self.routes.get,
        )
        self.supervisor = Supervisor(
            self.config,
            context,
            self.recorder,  # type: ignore[arg-type]
            self.recorder,
            Selection(names),
            background=background,
        )
        self.replies: list[object] = []

    def ask(self, seconds: float, command: Command) -> None:
        """Send a command so many seconds from now; its answer is added to `replies`."""
        self.world.post(seconds, Request(command, self.replies.append))

    def run(self) -> ExitCode:
        """Run until the supervisor is told to stop."""
        return self.supervisor.run()

    def run_until_idle(self) -> None:
        """Run until nothing will ever happen any more."""
        try:
            self.supervisor.run()
        except NothingWillHappen:
            return
        raise AssertionError("the supervisor stopped by itself")
