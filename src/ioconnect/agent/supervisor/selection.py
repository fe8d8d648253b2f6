"""Which of the configured tunnels this agent runs: those named at its start or all, without those stopped since."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ioconnect.errors import ConfigInvalid, ExitCode, Fault
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ioconnect.config.configuration import Config


class TunnelNotRun(Fault):
    """The agent does not run this tunnel."""

    exit_code = ExitCode.UNAVAILABLE


class Selection:
    """The names of an agent's tunnels. Belongs to the supervisor's thread.

    `stopped` are those that were stopped by name: they stay part of the agent until `start` names them.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = set(names)  # empty: all
        self.stopped: set[str] = set()
        self.stops = 0  # so many times tunnels were stopped by name
        self._stopped_at: dict[str, int] = {}  # of those stops, by the tunnel's name

    def without_others(self, config: Config) -> Config:
        """Return the configuration with this agent's enabled tunnels only, though it may be none."""
        tunnels = tuple(tunnel for tunnel in config.enabled if not self._names or tunnel.name in self._names)
        return replace(config, tunnels=tunnels)

    @property
    def names(self) -> frozenset[str]:
        """The names of this agent's tunnels; empty: all of the configuration."""
        return frozenset(self._names)

    def of(self, config: Config) -> Config:
        """Return the configuration with this agent's enabled tunnels only.

        Raises ConfigInvalid if none is left. An unknown name among others is no fault: a reload may have removed it.
        """
        selected = self.without_others(config)
        tunnels = selected.tunnels
        if not tunnels and config.invalid:
            raise config.invalid[0].fault
        if not tunnels and config.tunnels:
            raise ConfigInvalid("every tunnel is disabled", hint="Set enabled = true, or register another.")
        if not tunnels:
            names = " or ".join(sorted(self._names))
            missing = f"no tunnel is called {names}" if names else "no tunnel is set up yet"
            raise ConfigInvalid(missing, hint="ioconnect register --endpoint HOST:PORT --to HOST:PORT sets one up.")
        self.stopped &= {tunnel.name for tunnel in tunnels}
        return selected

    def kept_stopped(self, names: tuple[str, ...], stops: int) -> set[str]:
        """Return which tunnels a start of these, asked for after so many stops, does not start.

        None named: all that were stopped by name; else those that were stopped since it was asked for.
        """
        return {name for name in self.stopped if not names or self._stopped_at[name] > stops}

    def start(self, names: tuple[str, ...], kept_stopped: set[str]) -> None:
        """Add the named tunnels (none named: all) to those that run, but for those that are kept stopped."""
        self._names = self._names | set(names) if self._names and names else set()
        self.stopped -= set(names) - kept_stopped

    def stop(self, names: tuple[str, ...]) -> None:
        """Note that these tunnels were stopped by name."""
        self.stopped |= set(names)
        self.stops += 1
        self._stopped_at.update(dict.fromkeys(names, self.stops))


def check_run(names: tuple[str, ...], running: Iterable[str]) -> None:
    """Raise TunnelNotRun for a name that is not among the running tunnels."""
    known = set(running)
    for name in names:
        if name not in known:
            raise TunnelNotRun(
                f'the agent does not run a tunnel "{escaped(name)}"',
                hint=f"If it is configured: ioconnect up {escaped(name)} starts it in the running agent.",
            )
