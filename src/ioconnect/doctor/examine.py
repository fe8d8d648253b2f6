"""Collects the facts about this machine, then runs the checks of every tunnel."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol

from ioconnect.checks.runner import CheckListener, run_checks
from ioconnect.checks.running_agent import account
from ioconnect.config import configuration
from ioconnect.config.addresses import SocketPath
from ioconnect.doctor import environment, services
from ioconnect.doctor.facts import DoctorReport
from ioconnect.errors import ConfigInvalid, Fault
from ioconnect.installers import installed
from ioconnect.status.observe import observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ioconnect.checks.results import Report
    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths
    from ioconnect.doctor.facts import Fact


class DoctorListener(CheckListener, Protocol):
    """Is called for every fact and check, in the thread that collects them."""

    def fact_began(self, name: str) -> None:
        """A fact is being collected."""

    def fact_done(self, fact: Fact) -> None:
        """A fact has its result."""

    def tunnel_began(self, tunnel: str) -> None:
        """The checks of a tunnel start; "" without a configured tunnel."""


def examine(paths: Paths, environ: Mapping[str, str], listener: DoctorListener) -> DoctorReport:
    """Return the report. Blocks for some seconds, and for up to 30 s for each tunnel with a fault."""
    try:
        config = configuration.load(paths.config)
    except ConfigInvalid:
        config = configuration.Config()  # reported by the check config
    machine: list[Fact] = []
    for name, collect in _fact_collectors(config, paths, environ):
        listener.fact_began(name)
        for fact in collect():
            machine.append(fact)
            listener.fact_done(fact)
    tunnels: list[tuple[str, Report]] = []
    for name in [tunnel.name for tunnel in config.tunnels] or [""]:
        listener.tunnel_began(name)
        tunnels.append((name, run_checks(name or None, paths, environ, listener)))
    return DoctorReport(tuple(machine), tuple(tunnels))


def _account(paths: Paths) -> int | None:
    """Return the uid of the agent that runs, or of the service that is installed; None if it is this user's."""
    with contextlib.suppress(Fault):
        found = account(observe(paths), paths)
        if found is not None:
            return found
    return installed.account(paths, os.environ) if os.geteuid() == 0 else None


def _fact_collectors(
    config: Config, paths: Paths, environ: Mapping[str, str]
) -> Iterator[tuple[str, Callable[[], list[Fact]]]]:
    yield "versions", lambda: [environment.versions()]
    yield "agent", lambda: [services.agent(paths, environ)]
    yield "service", lambda: services.services(paths)
    if any(isinstance(tunnel.target, SocketPath) for tunnel in config.tunnels):
        yield "sockets", lambda: [services.sockets(config)]
    yield "lingering", lambda: [services.lingering()]
    yield "key_permissions", lambda: [environment.permissions(config, paths, _account(paths))]
    yield "fips", lambda: [environment.fips()]
    yield "algorithms", lambda: [environment.algorithms(config)]
    yield "clock", lambda: [environment.clock(paths)]
    yield "proxies", lambda: [environment.proxies(config, environ)]
    yield "keyring", lambda: [environment.keyring()]
