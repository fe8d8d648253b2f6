"""Runs the checks in their order, each with its own timeout; a failed one skips only the checks that depend on it.

One connection to the jumphost serves all checks. Blocks the calling thread for about `TIMEOUT` seconds at most, and
never for 30 s, whatever the servers do.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ioconnect.agent.dial.proxy import choose
from ioconnect.agent.supervisor.source_ports import SourcePorts
from ioconnect.checks import agent_drift, jumphost_check, running_agent, target_check
from ioconnect.checks.agent_state import outcomes
from ioconnect.checks.results import CheckId, Finding, Report, failed, failed_dependency, passed, skipped
from ioconnect.checks.session_check import FORWARD_TIMEOUT, SessionCheck
from ioconnect.config import configuration
from ioconnect.console import selection
from ioconnect.custody import strict_modes
from ioconnect.errors import ConfigInvalid, ExitCode, Fault, Reason, SystemRefused
from ioconnect.installers import installed
from ioconnect.keys import identity
from ioconnect.keys.credentials import identity_path, load_identity, load_pins
from ioconnect.status.control import AgentSilent
from ioconnect.status.observe import has_other_config
from ioconnect.status.snapshots import State

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from ioconnect.checks.agent_state import Outcome
    from ioconnect.checks.results import CheckResult
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.status.snapshots import Snapshot, TunnelStatus

TIMEOUT = 25.0  # seconds for all checks
DNS_TIMEOUT = 4.0  # seconds
TCP_TIMEOUT = 8.0  # seconds, including the connection to the web port
AUTH_TIMEOUT = (4.0, 15.0)  # seconds, minimum and maximum, by what the checks before it have left


class CheckListener(Protocol):
    """Is called for every check, in the thread that runs them."""

    def began(self, check: CheckId) -> None:
        """A check has started."""

    def done(self, check: CheckResult) -> None:
        """A check has its result."""


def run_checks(
    name: str | None, paths: Paths, environ: Mapping[str, str], listener: CheckListener, *, run_as: int | None = None
) -> Report:
    """Run all checks of the tunnel that `name` selects. Raises UsageFault if it selects none or several.

    Root judges files as the agent does that runs, else as that of the account `run_as` (uid) would, else as that of
    the installed service would.
    """
    if os.geteuid() == 0:
        paths = replace(paths, account=installed.account(paths, environ) if run_as is None else run_as)
    return _Runner(paths, environ, listener).run(name)


class _Runner:
    """One run of the checks."""

    def __init__(self, paths: Paths, environ: Mapping[str, str], listener: CheckListener) -> None:
        self._paths = paths
        self._environ = environ
        self._listener = listener
        self._end = time.monotonic() + TIMEOUT
        self._checks: list[CheckResult] = []
        self._from_agent: dict[CheckId, Outcome] = {}
        self._agent: TunnelStatus | None = None
        self._closing = ExitStack()
        self._sock: socket.socket | None = None  # of the check tcp, for those after it
        self._config: Config  # set by the check config, on which all others depend; _tunnel likewise
        self._tunnel: Tunnel

    def run(self, name: str | None) -> Report:
        with self._closing:
            self._run_all(name)
        return Report(tuple(self._checks))

    def _run_all(self, name: str | None) -> None:
        self._run_check(CheckId.CONFIG, lambda: self._check_config(name))
        self._run_check(CheckId.IDENTITY, self._check_identity)
        self._run_check(CheckId.TARGET, lambda: target_check.check(self._tunnel.target))
        self._run_check(CheckId.DNS, self._check_dns)
        self._run_check(CheckId.TCP, self._check_tcp)
        if self._needs_session() and self._pinned():
            self._check_session()
        else:
            self._run_check(CheckId.HOST_KEY, self._check_host_key)
            self._run_check(CheckId.AUTH, _not_reached)
            self._run_check(CheckId.FORWARD, _not_reached)

    def _needs_session(self) -> bool:
        """Say whether the agent's answers leave out something that a session of our own can find out."""
        answered = self._from_agent
        if self._is_blocked(CheckId.HOST_KEY) or self._is_blocked(CheckId.AUTH):
            return False
        if isinstance(answered.get(CheckId.HOST_KEY), Reason):
            return False
        return CheckId.HOST_KEY not in answered or CheckId.AUTH not in answered

    def _run_check(self, name: CheckId, work: Callable[[], Finding]) -> None:
        """Run one check, or skip it."""
        blocked = failed_dependency(name, self._checks)
        if blocked is not None:
            self._finish(skipped(name, blocked))
            return
        self._listener.began(name)
        began = time.monotonic()
        outcome: Outcome
        try:
            outcome = self._from_agent[name] if name in self._from_agent else work()
        except Fault as fault:
            if fault.code is None:
                raise
            outcome = fault
        ms = (time.monotonic() - began) * 1000
        if isinstance(outcome, Fault):
            result = failed(name, outcome.reason, ms, outcome.exit_code)
        elif isinstance(outcome, Reason):
            result = failed(name, outcome, ms)
        else:
            result = passed(name, outcome, ms)
        self._finish(result)

    def _finish(self, check: CheckResult) -> None:
        self._checks.append(check)
        self._listener.done(check)

    def _is_blocked(self, name: CheckId) -> bool:
        return failed_dependency(name, self._checks) is not None

    def _check_config(self, name: str | None) -> Finding:
        try:
            config = configuration.load(self._paths.config)
        except ConfigInvalid as fault:
            hint = running_agent.system_service_hint(self._paths, self._environ)
            raise ConfigInvalid(fault.message, hint=hint or fault.hint) from fault
        tunnel = selection.tunnel(config, name)
        choose(tunnel.jumphost, tunnel.proxy, self._environ)
        self._config, self._tunnel = config, tunnel
        differs = self._read_agent()
        config = self._config_of_agent()
        problems, code = [(file.message, file.hint) for file in config.invalid], ExitCode.OK
        try:
            strict_modes.check_program(account=self._paths.account)
        except SystemRefused as fault:  # `up` of root would not start; the tunnel can be tried for all that
            problems.append((fault.message, fault.hint))
            code = fault.exit_code if self._paths.account is None else code  # else another program runs it
        found = differs or Finding(f"Tunnel configuration: {tunnel.name}, {tunnel.endpoint} leads to {tunnel.target}")
        if problems:
            said = "; ".join([found.detail, *(message for message, _ in problems)])
            return Finding(said, hint=problems[0][1], warning=True, exit_code=code)
        return found

    def _config_of_agent(self) -> Config:
        """Return the configuration as an agent reads it. Raises ConfigInvalid if root's refuses it."""
        config = configuration.load(self._paths.config, trusted=strict_modes.trusted(self._paths.account))
        for file in config.invalid:
            if file.leaves_out(self._tunnel):
                raise file.fault
        return config

    def _check_identity(self) -> Finding:
        tunnel, settings = self._tunnel, self._config.agent
        try:
            load_identity(tunnel, settings, self._paths)
        except Fault as fault:
            if not self._is_agent_connected:
                raise
            # The agent may have the key as a systemd credential; this user need not be able to read the file.
            return Finding(f"{fault.message}; the running agent has one", hint=fault.hint, warning=True)
        path = identity_path(tunnel, settings, self._paths)
        key = identity.fingerprint(identity.public_line(path))
        differs = agent_drift.identity_finding(tunnel.name, key, self._agent) if self._agent is not None else None
        if differs is not None:
            self._forget(key=True)
        return differs or Finding(f"{path}, {key}")

    def _read_agent(self) -> Finding | None:
        """Take the running agent's answers to the checks; return what it has otherwise in its configuration."""
        try:
            status, snapshot = running_agent.tunnel_status(self._tunnel.name, self._paths, self._environ)
        except AgentSilent as fault:
            self._trust_account_of(None)
            self._from_agent = agent_drift.silent(fault)
            return None
        if snapshot is None:
            return None
        self._trust_account_of(snapshot)
        if status is None:
            config = self._paths.config
            is_other = has_other_config(snapshot, config)
            return agent_drift.other_config_finding(self._tunnel, snapshot, config) if is_other else None
        self._agent = status
        self._from_agent = outcomes(status, snapshot.pid)
        differs = agent_drift.config_finding(self._tunnel, status, snapshot, self._paths.config)
        self._forget(config=differs is not None)
        self._compare_pins(status)
        return differs

    def _trust_account_of(self, snapshot: Snapshot | None) -> None:
        account = running_agent.account(snapshot, self._paths)
        if account is not None:
            self._paths = replace(self._paths, account=account)

    def _compare_pins(self, status: TunnelStatus) -> None:
        if not self._is_agent_connected or status.host_key is None:
            return
        pinned = self._pinned()
        if status.host_key not in pinned:
            self._forget(pin=True)
            return
        changed = agent_drift.host_key_finding(pinned, status)
        if changed is not None and CheckId.HOST_KEY in self._from_agent:
            self._from_agent[CheckId.HOST_KEY] = changed

    def _forget(self, *, config: bool = False, key: bool = False, pin: bool = False) -> None:
        """Forget the agent's answers that say nothing about what has changed since."""
        assert self._agent is not None
        self._from_agent = agent_drift.still_valid(
            self._from_agent, self._agent, self._tunnel, config=config, key=key, pin=pin
        )

    @property
    def _is_agent_connected(self) -> bool:
        return self._agent is not None and self._agent.state is State.CONNECTED

    def _check_dns(self) -> Finding:
        return jumphost_check.resolve(self._tunnel, self._environ, time.monotonic() + DNS_TIMEOUT)

    def _check_tcp(self) -> Finding:
        # As the agent does: connecting from the same source port frees a remote port that a dead session holds.
        source = SourcePorts(self._paths.state / "sources.json").get(self._tunnel)
        deadline = time.monotonic() + TCP_TIMEOUT
        self._sock, found = jumphost_check.connect(self._tunnel, self._environ, deadline, source)
        self._closing.callback(self._sock.close)
        return found

    def _pinned(self) -> tuple[str, ...]:
        """Return the fingerprints pinned for the jumphost; none if they cannot be read, which its check says."""
        jumphost = self._tunnel.jumphost
        try:
            return load_pins(self._paths).fingerprints_for(jumphost.host, jumphost.port)
        except ConfigInvalid:
            return ()

    def _check_host_key(self) -> Finding:
        deadline = time.monotonic() + self._auth_timeout()
        return jumphost_check.check_host_key(self._tunnel, self._config.agent, self._paths, deadline, self._sock)

    def _check_session(self) -> None:
        """Run the remaining checks with one SSH session."""
        tunnel, settings = self._tunnel, self._config.agent
        timeout = self._auth_timeout()
        with SessionCheck(tunnel, settings, self._paths, timeout=timeout, sock=self._sock) as session:
            self._run_check(CheckId.HOST_KEY, session.host_key)
            self._run_check(CheckId.AUTH, session.auth)
            self._run_check(CheckId.FORWARD, session.forward)

    def _auth_timeout(self) -> float:
        least, most = AUTH_TIMEOUT
        return min(most, max(least, self._end - time.monotonic() - FORWARD_TIMEOUT))


def _not_reached() -> Finding:
    raise AssertionError("this check is answered by the agent, or blocked by the failed identity")
