"""What every test stands on: a clean environment, real servers as fixtures, and no process left behind.

With CI=true a skipped test fails the run: there everything is installed, so a skip hides something.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from tests.rigs import processes
from tests.rigs.mariadb import Mariadb
from tests.rigs.postgres import Postgres
from tests.rigs.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest_plugins = ["tests.rigs.sharing"]

IN_CI = os.environ.get("CI") == "true"
# Variables of the person at the keyboard that would change what the command does.
STRIPPED_PREFIXES = ("IOCONNECT_", "XDG_", "SSH_", "PG", "MYSQL_", "AUTOSSH_", "PYTHON_KEYRING_")
STRIPPED = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"),
    *("no_color", "force_color", "clicolor", "clicolor_force", "colorterm"),
    *("notify_socket", "invocation_id", "state_directory", "runtime_directory", "credentials_directory"),
    "pythondontwritebytecode",  # a command that compiles all of its modules again takes half as long again
    *("logs_directory", "configuration_directory", "watchdog_usec", "watchdog_pid", "xpc_service_name"),
)

_skipped: list[str] = []
_figures: list[str] = []
_complaints: list[str] = []

# A busy machine is no failure: the deadline that matters is pytest-timeout's.
hypothesis.settings.register_profile("ioconnect", deadline=None, database=None)
hypothesis.settings.load_profile("ioconnect")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")  # by pytest-xdist


def pytest_configure(config: pytest.Config) -> None:
    """Replace what the environment says about its owner; before any test module is imported."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:  # by nohup, or a shell that runs us in the background
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for name in list(os.environ):
        if name.startswith(STRIPPED_PREFIXES) or name.lower() in STRIPPED:
            del os.environ[name]
    home = tempfile.mkdtemp(prefix="ioconnect-home-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    inherited, worker = os.environ.get(processes.MARK), os.environ.get("PYTEST_XDIST_WORKER")
    mark = f"{inherited}{worker}." if _is_worker(config) else f"{secrets.token_hex(8)}."
    os.environ.update({"HOME": home, "LC_ALL": "C.UTF-8", "TERM": "dumb", processes.MARK: mark})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a skipped test, and what was measured."""
    if report.when == "call":
        _figures.extend(str(value) for name, value in report.user_properties if name == "figure")
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module that was skipped as a whole."""
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker complains of."""
    _complaints.extend(getattr(node, "workeroutput", {}).get("complaints", ()))


@pytest.hookimpl(trylast=True)  # every fixture's end has run, and every worker has ended
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that left processes behind, and in CI one that skipped anything."""
    left = processes.leftovers(os.environ[processes.MARK])
    processes.signal_all(left, signal.SIGKILL)
    _complaints.extend(f"left running (killed now): {pid} {command}" for pid, command in left.items())
    if _is_worker(session.config):
        session.config.workeroutput["complaints"] = _complaints  # type: ignore[attr-defined]
        return
    if IN_CI:
        _complaints.extend(f"skipped, which CI does not allow: {name}" for name in _skipped)
    if _complaints and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured, and say why a run failed that has no failed test."""
    if _figures:
        terminalreporter.section("measured")
    for text in [*_figures, *(f"ERROR {complaint}" for complaint in _complaints)]:
        terminalreporter.write_line(text, red=text.startswith("ERROR"))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function that notes a measured figure: in the report, and on the terminal at its end."""
    return functools.partial(record_property, "figure")


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Return a function that starts an Sshd; its arguments are further lines of sshd_config(5)."""
    with contextlib.ExitStack() as ends:

        def make(*config: str) -> Sshd:
            server = Sshd(Path(tempfile.mkdtemp(prefix="sshd-", dir=tmp_path)), config=config)
            ends.callback(server.stop)
            server.start()
            return server

        yield make


@pytest.fixture
def sshd(make_sshd: Callable[..., Sshd]) -> Sshd:
    """A running OpenSSH jumphost; nobody may sign in until `authorize`."""
    return make_sshd()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL; tests must leave it as they found it."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    """A running MariaDB; tests must leave it as they found it."""
    server = Mariadb()
    try:
        server.start()
        yield server
    finally:
        server.remove()
