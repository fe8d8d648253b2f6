"""Doctor's round: this machine's facts, then every tunnel's ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ioconnect.checks.runner import CheckListener, run_checks
from ioconnect.config import configuration
from ioconnect.doctor import environment, services
from ioconnect.doctor.facts import Examination
from ioconnect.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ioconnect.checks.results import Report
    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths
    from ioconnect.doctor.facts import Fact


class Audience(CheckListener, Protocol):
    """Hears of everything as it happens."""

    def looking_at(self, what: str) -> None:
        """A fact is being found out."""

    def learned(self, fact: Fact) -> None:
        """A fact is known."""

    def turning_to(self, tunnel: str) -> None:
        """A tunnel's checks begin; "" if there is none to name."""


def examine(paths: Paths, environ: Mapping[str, str], audience: Audience) -> Examination:
    """Look at everything. Blocks for some seconds, and for up to half a minute for each tunnel in trouble."""
    try:
        config = configuration.load(paths.config)
    except ConfigInvalid:
        config = configuration.Config()  # the ladder says so
    machine: list[Fact] = []
    for what, looks in _machine(config, paths, environ):
        audience.looking_at(what)
        for fact in looks():
            machine.append(fact)
            audience.learned(fact)
    tunnels: list[tuple[str, Report]] = []
    for name in [tunnel.name for tunnel in config.tunnels] or [""]:
        audience.turning_to(name)
        tunnels.append((name, run_checks(name or None, paths, environ, audience)))
    return Examination(tuple(machine), tuple(tunnels))


def _machine(
    config: Config, paths: Paths, environ: Mapping[str, str]
) -> Iterator[tuple[str, Callable[[], list[Fact]]]]:
    yield "versions", lambda: [environment.versions()]
    yield "agent", lambda: [services.agent(paths, environ)]
    yield "service", services.services
    yield "lingering", lambda: [services.lingering()]
    yield "key_permissions", lambda: [environment.permissions(config, paths)]
    yield "fips", lambda: [environment.fips()]
    yield "clock", lambda: [environment.clock(paths)]
    yield "proxies", lambda: [environment.proxies(config, environ)]
    yield "keyring", lambda: [environment.keyring()]
