"""The agent's process, in the foreground: lock, log, signals, service manager; `launch` starts it detached.

The lock is taken first, so nothing is touched while another agent runs, and other commands see one that starts; then
all that is local is checked; then the tunnels are started.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING

from ioconnect import __version__
from ioconnect.agent.network.kernel_routes import find_route
from ioconnect.agent.network.network_monitor import monitoring
from ioconnect.agent.process import preflight
from ioconnect.agent.process.control_requests import Requests
from ioconnect.agent.process.control_server import serving
from ioconnect.agent.process.exit_deadline import ExitDeadline
from ioconnect.agent.process.log_setup import LogSetup
from ioconnect.agent.process.readiness import Readiness
from ioconnect.agent.process.sd_notify import Notifier
from ioconnect.agent.supervisor.background_jobs import BackgroundThread
from ioconnect.agent.supervisor.mailbox import SignalMailbox, Stop, SystemClock
from ioconnect.agent.supervisor.publish import Publisher, summary
from ioconnect.agent.supervisor.selection import Selection
from ioconnect.agent.supervisor.source_ports import SourcePorts
from ioconnect.agent.supervisor.supervisor import Supervisor
from ioconnect.agent.supervisor.tunnel_runner import AgentContext
from ioconnect.config import configuration
from ioconnect.config.paths import public_status
from ioconnect.custody import strict_modes
from ioconnect.custody.files import ROOT_ALONE
from ioconnect.errors import ExitCode, Fault
from ioconnect.escape import escaped
from ioconnect.status.control import answering_pid
from ioconnect.status.lock import AgentLock, AlreadyRunning, identity
from ioconnect.status.records import carries
from ioconnect.status.snapshots import State, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ioconnect.agent.session.session import Session
    from ioconnect.agent.supervisor.mailbox import Mailbox
    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths
    from ioconnect.custody.files import Stamps
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
    settled: Callable[[Snapshot], None] | None = None,
) -> ExitCode:
    """Run the named tunnels (none named: all, also those that a reload adds) until a signal stops them.

    `settled` is called once, when every tunnel is connected or has a reason why not; it must not block. `ready_fd` is
    given by `launch.start`, which has judged the program.

    Main thread only. Blocks; returns OK after SIGTERM, INTERRUPTED after SIGINT, SOFTWARE if an exception ended one
    of our threads. Raises AlreadyRunning, and the Fault of a local error, before anything is started.
    """
    readiness = Readiness(ready_fd, settled)
    try:
        return _locked(config, paths, names, readiness, to_file=to_file, verbose=verbose)
    except AlreadyRunning as other:
        readiness.running(other.pid)
        raise
    except Fault as fault:
        readiness.fault(fault)
        raise
    finally:
        readiness.close()


def _locked(
    config: Config, paths: Paths, names: tuple[str, ...], readiness: Readiness, *, to_file: bool, verbose: int
) -> ExitCode:
    """Take the lock, check all that is local, and run. The lock is held until the process exits."""
    _set_limits()
    started_at = timestamp(time.time())
    lock = AgentLock.acquire(paths.lock, version=__version__, started_at=started_at)
    try:
        _check_alone(paths)
        if not readiness.is_launched:
            strict_modes.check_program()
        selection = Selection(names)
        preflight.check(selection.of(config), paths)
        with contextlib.ExitStack() as closing:
            mailbox, clock = SignalMailbox(on_stop=ExitDeadline().arm), SystemClock()
            closing.enter_context(mailbox.receiving_signals())  # first: threads inherit the signal mask
            logs = LogSetup(file=paths.log if to_file else None, verbose=verbose, environ=os.environ)
            closing.callback(logs.close)
            writer = BackgroundThread("state files writer")
            closing.callback(writer.close)
            closing.enter_context(_stopping_on_thread_exception(mailbox))
            closing.enter_context(_fault_handler())
            closing.enter_context(monitoring(mailbox.put))
            requests = Requests(mailbox, paths, identity(paths.lock))
            closing.enter_context(serving(paths.control, requests, lock))
            source_ports = SourcePorts(paths.state / "sources.json", writer.put)
            context = AgentContext(paths, _session_factory(), mailbox, clock, source_ports, find_route)
            public = public_status(os.environ)
            publisher = Publisher(
                paths, clock, started_at=started_at, public=public, put=writer.put, selection=selection
            )
            callbacks = _DaemonCallbacks(paths, readiness)
            closing.callback(callbacks.close)
            reader = BackgroundThread("configuration reader")  # not waited for at the end
            supervisor = Supervisor(config, context, publisher, callbacks, selection, background=reader.put)
            return _run_supervisor(supervisor)
    except BaseException:
        lock.release()
        raise


def _set_limits() -> None:
    """No core dumps: the memory holds the private key and what the databases send. As many descriptors as permitted.

    A connection takes one. The soft limit, often 1024, is there for programs that use select(2).
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # macOS: less than its hard limit says
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_alone(paths: Paths) -> None:
    """Raise AlreadyRunning if an agent answers though its lock is not held: its lock file was removed.

    Raises AgentSilent if somebody listens on its socket and does not answer, as an agent that is stopped.
    """
    pid = answering_pid(paths)
    if pid is not None:
        raise AlreadyRunning(pid)


def _run_supervisor(supervisor: Supervisor) -> ExitCode:
    """Run the supervisor, and log an exception that ends it."""
    log.info("ioconnect %s, pid %d: %s", __version__, os.getpid(), ", ".join(supervisor.runners))
    if os.geteuid() == 0:
        log.warning("the agent runs as root, which it does not need: ioconnect install-service gives it an account")
    try:
        code = supervisor.run()
    except Exception:
        log.critical("a bug ended the agent", exc_info=True)
        raise
    log.info("ended, code %d", code)
    return code


def _session_factory() -> type[Session]:
    from ioconnect.agent.session.session import Session  # noqa: PLC0415  paramiko, only for a running agent

    return Session


class _DaemonCallbacks:
    """The supervisor's callbacks: to the configuration file, the service manager and the readiness pipe."""

    def __init__(self, paths: Paths, readiness: Readiness) -> None:
        self._paths = paths
        self._readiness = readiness
        self._notifier = Notifier(os.environ)
        self._status = ""
        self.watchdog_interval = self._notifier.watchdog_interval
        # READY=1 means: runs, with a valid configuration. If it meant connected, systemd's start timeout would kill
        # the agent of a machine that boots without a network, over and over.
        self._notifier.send("READY=1")

    def close(self) -> None:
        """Send the notifications that wait."""
        self._notifier.close()

    def load_config(self) -> Config:
        """Load the configuration; a file of config.d with faults is a fault too. Raises ConfigInvalid."""
        return configuration.load_all_valid(self._paths.config, trusted=ROOT_ALONE)

    def load_valid_config(self) -> Config:
        """Load the configuration without files of config.d that have faults. Raises ConfigInvalid."""
        return configuration.load(self._paths.config, trusted=ROOT_ALONE)

    def config_stamps(self) -> Stamps:
        """Return the stamps of the configuration's files."""
        return configuration.stamps(self._paths.config)

    def faults(self, config: Config) -> dict[str, Fault]:
        """Return the faults of these tunnels' identities and pins."""
        return preflight.faults(config, self._paths)

    def published(self, snapshot: Snapshot) -> None:
        """Send STATUS= if it changed; tell the starting process once all tunnels are connected."""
        before, self._status = self._status, escaped(summary(snapshot))
        if self._status != before:
            self._notifier.send(f"STATUS={self._status}")
        enabled = [tunnel for tunnel in snapshot.tunnels if tunnel.enabled]
        if all(tunnel.state is State.CONNECTED or tunnel.reason is not None for tunnel in enabled):
            self._readiness.settled(snapshot)
        if enabled and all(map(carries, enabled)):  # a database that is down holds nobody up
            self._readiness.connected()

    def stopping(self) -> None:
        """Send STOPPING=1."""
        self._notifier.send("STOPPING=1")

    def reloading(self) -> None:
        """Send RELOADING=1."""
        self._notifier.reloading()

    def reloaded(self) -> None:
        """Send READY=1, which ends the reload."""
        self._notifier.send("READY=1")

    def watchdog(self) -> None:
        """Send WATCHDOG=1."""
        self._notifier.send("WATCHDOG=1")


@contextlib.contextmanager
def _stopping_on_thread_exception(mailbox: Mailbox) -> Iterator[None]:
    """Stop the agent when an exception ends one of its threads, so that the service manager restarts it."""
    before = threading.excepthook

    def log_and_stop(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            log.critical("a thread died: %s", arguments.exc_value, exc_info=arguments.exc_value)
        mailbox.put(Stop(ExitCode.SOFTWARE))

    threading.excepthook = log_and_stop
    try:
        yield
    finally:
        threading.excepthook = before


@contextlib.contextmanager
def _fault_handler() -> Iterator[None]:
    """Enable faulthandler (a traceback on SIGSEGV and the like) if standard error has a descriptor."""
    enabled = faulthandler.is_enabled()
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        faulthandler.enable(sys.stderr)
    try:
        yield
    finally:
        if not enabled:
            faulthandler.disable()
