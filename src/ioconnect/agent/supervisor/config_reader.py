"""Reads the configuration in the background, for the supervisor, whom a disk that hangs must not hold up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ioconnect.agent.supervisor.mailbox import ConfigWasRead
from ioconnect.agent.supervisor.reload import raise_if_none_can_start
from ioconnect.errors import Fault

if TYPE_CHECKING:
    from ioconnect.agent.supervisor.background_jobs import Put
    from ioconnect.agent.supervisor.mailbox import Message
    from ioconnect.config.configuration import Config
    from ioconnect.custody.files import Stamps


class ConfigSource(Protocol):
    """The files; each of these may block."""

    def load_config(self) -> Config:
        """Load the configuration, all of it. Raises Fault."""

    def load_valid_config(self) -> Config:
        """Load the configuration without files of config.d that have faults. Raises Fault."""

    def config_stamps(self) -> Stamps:
        """Return the stamps of the configuration's files."""

    def faults(self, config: Config) -> Mapping[str, Fault]:
        """Return the local faults of these tunnels, of their identities and pins, by name."""


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """What was read: the configuration or its fault, and the local faults of those tunnels that were checked.

    `stamps` are of its files, taken before they were read.
    """

    config: Config | Fault
    stamps: Stamps
    faults: Mapping[str, Fault]

    def check(self, config: Config) -> None:
        """Raise the fault of the first of these tunnels if none of them can be started."""
        raise_if_none_can_start(config, self.faults)


Then: TypeAlias = Callable[[ReadConfig], None]


class ConfigReader:
    """Has the configuration read by `background`; what was read is put into the mailbox."""

    def __init__(self, source: ConfigSource, background: Put, put: Callable[[Message], None]) -> None:
        self._source = source
        self._background = background
        self._put = put
        self._reads = 0

    def read(self, then: Then, is_checked: Callable[[str], bool], *, all_valid: bool = False) -> None:
        """Have it read, and the tunnels checked for whose names `is_checked`; `then` is put with the result.

        With `all_valid` a file of config.d with faults is the configuration's fault. Belongs to the supervisor's
        thread, as does the call of `then`.
        """

        def read() -> None:
            stamps = self._source.config_stamps()  # before it is read
            try:
                config = self._source.load_config() if all_valid else self._source.load_valid_config()
                checked = tuple(tunnel for tunnel in config.enabled if is_checked(tunnel.name))
                found = ReadConfig(config, stamps, self._source.faults(replace(config, tunnels=checked)))
            except Fault as fault:
                found = ReadConfig(fault, stamps, {})
            self._put(ConfigWasRead(found, then))

        self._reads += 1
        self._background(f"read {self._reads}", read)  # a key of its own: each is answered
