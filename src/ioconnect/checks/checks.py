"""The ladder: every check in its order and under its own deadline; a failed one skips only what hangs on it.

Blocks the calling thread for about `PATIENCE` seconds at most, and never for 30, against whatever servers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from ioconnect.agent.dial.proxy import choose
from ioconnect.checks import jumphost_check, running_agent, target_check
from ioconnect.checks.agent_state import outcomes
from ioconnect.checks.results import CheckId, Finding, Pass, failed, found, obstacle, skipped
from ioconnect.checks.session_check import FORWARD_PATIENCE, Trial
from ioconnect.config import configuration
from ioconnect.console import selection
from ioconnect.errors import ConfigInvalid, Fault, Reason
from ioconnect.keys import identity
from ioconnect.keys.credentials import identity_path, load_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ioconnect.checks.agent_state import Outcome
    from ioconnect.checks.results import Check
    from ioconnect.config.configuration import Config, Tunnel
    from ioconnect.config.paths import Paths

PATIENCE = 25.0  # seconds for the whole
DNS_PATIENCE = 4.0  # seconds
TCP_PATIENCE = 8.0  # seconds, the question about the web port included
SIGN_IN_PATIENCE = (4.0, 15.0)  # seconds, least and most: what the checks before it have left


class Watcher(Protocol):
    """Sees the checks as they happen, on the ladder's thread."""

    def began(self, check: CheckId) -> None:
        """A check is under way."""

    def done(self, check: Check) -> None:
        """A check has its verdict."""


def climb(name: str | None, paths: Paths, environ: Mapping[str, str], watcher: Watcher) -> Pass:
    """Check the tunnel that `name` means. Raises UsageFault if it means none or several."""
    return _Ladder(paths, environ, watcher).climb(name)


class _Ladder:
    """One pass."""

    def __init__(self, paths: Paths, environ: Mapping[str, str], watcher: Watcher) -> None:
        self._paths = paths
        self._environ = environ
        self._watcher = watcher
        self._end = time.monotonic() + PATIENCE
        self._checks: list[Check] = []
        self._known: dict[CheckId, Outcome] = {}
        self._config: Config | None = None
        self._tunnel: Tunnel | None = None

    def climb(self, name: str | None) -> Pass:
        self._step(CheckId.CONFIG, lambda: self._read(name))
        self._step(CheckId.IDENTITY, self._identity)
        self._step(CheckId.TARGET, lambda: target_check.check(self._the_tunnel.target))
        self._step(CheckId.DNS, self._resolve)
        self._step(CheckId.TCP, self._connect)
        can_try = CheckId.HOST_KEY not in self._known and not self._is_blocked(CheckId.HOST_KEY)
        if can_try and not self._is_blocked(CheckId.AUTH):
            self._try()
        else:
            self._step(CheckId.HOST_KEY, self._compare_host_key)
            self._step(CheckId.AUTH, _never)
            self._step(CheckId.FORWARD, _never)
        return Pass(tuple(self._checks))

    def _step(self, name: CheckId, work: Callable[[], Finding]) -> None:
        """Do one check, or say why not."""
        blocked = obstacle(name, self._checks)
        if blocked is not None:
            self._done(skipped(name, blocked))
            return
        self._watcher.began(name)
        began = time.monotonic()
        outcome: Outcome
        try:
            outcome = self._known[name] if name in self._known else work()
        except Fault as fault:
            if fault.code is None:
                raise
            outcome = fault.reason
        ms = (time.monotonic() - began) * 1000
        self._done(failed(name, outcome, ms) if isinstance(outcome, Reason) else found(name, outcome, ms))

    def _done(self, check: Check) -> None:
        self._checks.append(check)
        self._watcher.done(check)

    def _is_blocked(self, name: CheckId) -> bool:
        return obstacle(name, self._checks) is not None

    @property
    def _the_tunnel(self) -> Tunnel:
        assert self._tunnel is not None
        return self._tunnel

    @property
    def _the_config(self) -> Config:
        assert self._config is not None
        return self._config

    # --- the checks

    def _read(self, name: str | None) -> Finding:
        try:
            config = configuration.load(self._paths.config)
        except ConfigInvalid as fault:
            hint = running_agent.hint_about_the_machines(self._paths, self._environ)
            raise ConfigInvalid(fault.message, hint=hint or fault.hint) from fault
        tunnel = selection.tunnel(config, name)
        choose(tunnel.jumphost, tunnel.proxy, self._environ)
        self._config, self._tunnel = config, tunnel
        return Finding(f"Tunnel configuration: {tunnel.name}, {tunnel.endpoint} leads to {tunnel.target}")

    def _identity(self) -> Finding:
        self._ask_agent()
        tunnel, settings = self._the_tunnel, self._the_config.agent
        try:
            load_identity(tunnel, settings, self._paths)
        except Fault as fault:
            if not self._is_connected:
                raise
            # A service gets its key handed over; who runs it need not be able to read the file.
            return Finding(f"{fault.message}; the running agent has one", hint=fault.hint, warning=True)
        path = identity_path(tunnel, settings, self._paths)
        return Finding(f"{path}, {identity.fingerprint(identity.public_line(path))}")

    def _ask_agent(self) -> None:
        agent = running_agent.state_of(self._the_tunnel.name, self._paths, self._environ)
        if agent is not None:
            self._known = outcomes(*agent)

    @property
    def _is_connected(self) -> bool:
        return CheckId.TCP in self._known

    def _resolve(self) -> Finding:
        return jumphost_check.resolve(self._the_tunnel, self._environ, time.monotonic() + DNS_PATIENCE)

    def _connect(self) -> Finding:
        return jumphost_check.connect(self._the_tunnel, self._environ, time.monotonic() + TCP_PATIENCE)

    def _compare_host_key(self) -> Finding:
        deadline = time.monotonic() + self._sign_in_patience()
        return jumphost_check.compare_host_key(self._the_tunnel, self._paths, deadline)

    def _try(self) -> None:
        """Let a session of the agent's do the rest."""
        tunnel, settings = self._the_tunnel, self._the_config.agent
        with Trial(tunnel, settings, self._paths, patience=self._sign_in_patience()) as trial:
            self._step(CheckId.HOST_KEY, trial.host_key)
            self._step(CheckId.AUTH, trial.sign_in)
            self._step(CheckId.FORWARD, trial.forward)

    def _sign_in_patience(self) -> float:
        least, most = SIGN_IN_PATIENCE
        return min(most, max(least, self._end - time.monotonic() - FORWARD_PATIENCE))


def _never() -> Finding:
    raise AssertionError("this check is known from the agent, or its identity has failed")
