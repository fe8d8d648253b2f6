"""The agent as a process, always in the foreground: lock, log, signals, service manager; `agent.launch` detaches it.

The lock comes first, so nothing is touched while another agent runs; then everything local is checked; only then
does anything start.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect import __version__
from ioconnect.agent.process import preflight
from ioconnect.agent.process.log_setup import LogSetup
from ioconnect.agent.process.readiness import Readiness
from ioconnect.agent.process.sd_notify import Notifier
from ioconnect.agent.supervisor import reconnect_requests
from ioconnect.agent.supervisor.mailbox import SignalInbox, Stop, SystemClock
from ioconnect.agent.supervisor.network_monitor import watching
from ioconnect.agent.supervisor.publish import Publisher, summary
from ioconnect.agent.supervisor.source_ports import SourcePorts
from ioconnect.agent.supervisor.supervisor import Supervisor
from ioconnect.agent.supervisor.tunnel_runner import Surroundings
from ioconnect.config import configuration
from ioconnect.config.paths import public_status
from ioconnect.errors import ConfigInvalid, ExitCode, Fault
from ioconnect.escape import escaped
from ioconnect.status.lock import AgentLock, AlreadyRunning
from ioconnect.status.snapshots import exit_code, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ioconnect.agent.supervisor.mailbox import Inbox
    from ioconnect.agent.supervisor.session_factory import SessionFactory
    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Snapshot

log = logging.getLogger(__name__)


def run(
    config: Config,
    paths: Paths,
    names: tuple[str, ...] = (),
    *,
    ready_fd: int | None = None,
    to_file: bool = False,
    verbose: int = 0,
) -> ExitCode:
    """Keep the named tunnels (none named: all, also those that a reload brings) up until a signal says otherwise.

    Call in the main thread. Blocks; returns OK after SIGTERM, or if an agent runs already (and says so),
    INTERRUPTED after SIGINT, SOFTWARE if one of our threads died. Raises the Fault of a local error, nothing
    running.
    """
    readiness = Readiness(ready_fd)
    try:
        return _locked(config, paths, names, readiness, to_file=to_file, verbose=verbose)
    except AlreadyRunning as other:
        readiness.running(other.pid)
        sys.stderr.write(f"{other.message}\n")
        return ExitCode.OK
    except Fault as fault:
        readiness.fault(fault)
        raise
    finally:
        readiness.close()


def _locked(
    config: Config, paths: Paths, names: tuple[str, ...], readiness: Readiness, *, to_file: bool, verbose: int
) -> ExitCode:
    """Hold the lock, check everything local, run; the lock is kept to the very end of the process."""
    started_at = timestamp(time.time())
    lock = AgentLock.acquire(paths.lock, version=__version__, started_at=started_at)
    try:
        selected = select(config, names)
        preflight.check(selected, paths)
        with contextlib.ExitStack() as ending:
            logs = LogSetup(file=paths.log if to_file else None, verbose=verbose, environ=os.environ)
            ending.callback(logs.close)
            inbox, clock = SignalInbox(), SystemClock()
            ending.enter_context(inbox.receiving_signals())
            ending.enter_context(_dying_threads_end(inbox))
            ending.enter_context(_tracebacks_of_crashes())
            ending.enter_context(watching(inbox.put))
            reconnect_requests.clear(paths)
            source_ports = SourcePorts(paths.state / "sources.json")
            around = Surroundings(paths, _session_factory(), inbox, clock, source_ports)
            publisher = Publisher(paths, clock, started_at=started_at, public=public_status(os.environ))
            supervisor = Supervisor(selected, around, publisher, _Outside(paths, names, readiness))
            return _supervised(supervisor)
    except BaseException:
        lock.release()
        raise


def _supervised(supervisor: Supervisor) -> ExitCode:
    """Run the supervisor; what ends it against its will is in the log, wherever else it is shown."""
    log.info("ioconnect %s, pid %d: %s", __version__, os.getpid(), ", ".join(supervisor.keepers))
    try:
        code = supervisor.run()
    except Exception:
        log.critical("a bug ended the agent", exc_info=True)
        raise
    log.info("ended, code %d", code)
    return code


def select(config: Config, names: tuple[str, ...]) -> Config:
    """Return the configuration with the named tunnels only; all if none is named.

    Raises ConfigInvalid if nothing is left. A name that is not there any more is no fault: it was removed.
    """
    tunnels = tuple(tunnel for tunnel in config.tunnels if not names or tunnel.name in names)
    if not tunnels:
        missing = f"no tunnel is called {' or '.join(names)}" if names else "no tunnel is set up yet"
        raise ConfigInvalid(missing, hint="ioconnect register --endpoint HOST:PORT --to HOST:PORT sets one up.")
    return replace(config, tunnels=tunnels)


def _session_factory() -> SessionFactory:
    from ioconnect.agent.session.session import Session  # noqa: PLC0415  brings paramiko, which only a running agent needs

    return Session


class _Outside:
    """The world around the supervisor (`supervisor.Outside`): configuration file, service manager, starter."""

    def __init__(self, paths: Paths, names: tuple[str, ...], readiness: Readiness) -> None:
        self._paths = paths
        self._names = names
        self._readiness = readiness
        self._notifier = Notifier(os.environ)
        self._told = ""
        self.beat_every = self._notifier.watchdog_seconds
        # Ready means that the agent runs with a valid configuration. Were it to mean connected, a machine that boots
        # without a network would have its agent killed by the start timeout, over and over.
        self._notifier.send("READY=1")

    def load(self) -> Config:
        """Read and check the configuration again."""
        config = select(configuration.load(self._paths.config), self._names)
        preflight.check(config, self._paths)
        return config

    def requested(self) -> tuple[str, ...]:
        """Return the tunnels that a person wants reconnected."""
        return reconnect_requests.take(self._paths)

    def published(self, snapshot: Snapshot) -> None:
        """Tell the service manager the truth in one line, and the starter when all are connected."""
        told, self._told = self._told, escaped(summary(snapshot))
        if self._told != told:
            self._notifier.send(f"STATUS={self._told}")
        if exit_code(snapshot) is ExitCode.OK:
            self._readiness.connected()

    def stopping(self) -> None:
        """Tell the service manager."""
        self._notifier.send("STOPPING=1")

    def reloading(self) -> None:
        """Tell the service manager."""
        self._notifier.reloading()

    def reloaded(self) -> None:
        """Tell the service manager."""
        self._notifier.send("READY=1")

    def beat(self) -> None:
        """Tell the service manager."""
        self._notifier.send("WATCHDOG=1")


@contextlib.contextmanager
def _dying_threads_end(inbox: Inbox) -> Iterator[None]:
    """Let a thread that dies of a bug take the agent with it, for the service manager to start a sound one."""
    before = threading.excepthook

    def ended(death: threading.ExceptHookArgs) -> None:
        if death.exc_value is not None:
            log.critical("a thread died: %s", death.exc_value, exc_info=death.exc_value)
        inbox.put(Stop(ExitCode.SOFTWARE))

    threading.excepthook = ended
    try:
        yield
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def _tracebacks_of_crashes() -> Iterator[None]:
    """Have the interpreter write a traceback to standard error when it crashes, where that is a real file."""
    enabled = faulthandler.is_enabled()
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        faulthandler.enable(sys.stderr)
    try:
        yield
    finally:
        if not enabled:
            faulthandler.disable()
