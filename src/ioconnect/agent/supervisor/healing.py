"""Tries held tunnels again once their files have changed: identity, pins, and the configuration of a local fault.

Belongs to the supervisor's thread. The configuration is taken over only for tunnels held by a local fault, and
for those of files in config.d that were left out; everything else in it waits for a reload.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ioconnect.agent.supervisor.file_monitor import FileMonitor
from ioconnect.agent.tunnel.events import FileChanged
from ioconnect.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.agent.supervisor.config_reader import ConfigReader, ReadConfig
    from ioconnect.agent.supervisor.mailbox import FilesChanged
    from ioconnect.agent.supervisor.publish import Publisher
    from ioconnect.agent.supervisor.tunnel_set import TunnelSet
    from ioconnect.config.configuration import Config, InvalidFile
    from ioconnect.custody.files import Stamps

log = logging.getLogger(__name__)

CONFIGURATION = ""  # stands for the configuration beside the names of tunnels


class Healing:
    """Watches the files of what is held, and acts on a change."""

    def __init__(
        self,
        tunnels: TunnelSet,
        publisher: Publisher,
        reader: ConfigReader,
        put: Callable[[FilesChanged], None],
    ) -> None:
        self._tunnels = tunnels
        self._publisher = publisher
        self._reader = reader
        self._reads = 0  # that have not ended
        self._is_closed = False
        self._monitor = FileMonitor(put)
        self._invalid: tuple[InvalidFile, ...] = ()
        self._config_stamps: Stamps | None = None  # None: the configuration is not watched

    def leave_out(self, config: Config) -> None:
        """Note which files of this configuration are left out, and have status show their tunnels as held."""
        self._invalid = config.invalid
        self._publisher.leave_out(config.invalid)

    def watch(self) -> None:
        """Watch the files of what is held now, and no others."""
        runners = self._tunnels.runners
        wanted = {name: runner.files.stamps for name, runner in runners.items() if runner.is_held}
        wanted = {name: stamps for name, stamps in wanted.items() if stamps}
        if not self._invalid and not any(runner.is_held_by_local_fault for runner in runners.values()):
            self._config_stamps = None
        elif self._config_stamps is None and not self._reads:
            self._read_config()  # it may have been mended since it was read last
        if self._config_stamps is not None:
            wanted[CONFIGURATION] = self._config_stamps
        self._monitor.watch(wanted)

    def close(self) -> None:
        """Start nothing any more, as the agent stops: neither for a changed file nor for what is being read."""
        self._is_closed = True

    def files_changed(self, names: tuple[str, ...]) -> None:
        """Try these tunnels again."""
        if self._is_closed:
            return
        if CONFIGURATION in names:
            self._read_config()
        for name in names:
            if name in self._tunnels.runners:
                log.info("%s: its identity or the pins changed", name)
                self._tunnels.runners[name].handle_event(FileChanged())

    def _read_config(self) -> None:
        self._reads += 1
        self._reader.read(self._take_over, is_checked=lambda _name: False)

    def _take_over(self, read: ReadConfig) -> None:
        self._reads -= 1
        if self._is_closed:
            return
        self._config_stamps = read.stamps
        if isinstance(read.config, Fault):
            log.debug("the configuration is not taken over: %s", read.config.message)
            return
        started = self._tunnels.heal(read.config, [file.path for file in self._invalid])
        if started:
            log.info("mended in the configuration: %s", ", ".join(started))
        self.leave_out(self._tunnels.without_running(read.config))
