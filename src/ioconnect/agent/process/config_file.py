"""The configuration as its files say it now, parsed again only after one of them changed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ioconnect.config import configuration
from ioconnect.config.files import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.configuration import Config
    from ioconnect.config.files import Stamps


class ConfigFile:
    """Reads the configuration for the control socket. Any thread: two that read at once both parse."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[Stamps, Config] | None = None

    def read(self) -> Config:
        """Return the configuration. Raises ConfigInvalid."""
        stamps, before = self._stamps(), self._read  # before reading: a later change is seen the next time
        if before is not None and before[0] == stamps:
            return before[1]
        config = configuration.load(self._path)
        self._read = stamps, config
        return config

    def _stamps(self) -> Stamps:
        folder = configuration.tunnels_folder(self._path)
        files = [self._path, folder]
        with contextlib.suppress(OSError):
            files += sorted(folder.glob("*.toml"))
        return {file: stamp(file) for file in files}
