"""One invocation of the command line: its global options and what follows from them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ioconnect.console.terminal import Terminal, answer

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths


@dataclass(slots=True)
class Invocation:
    """What click passes to every command as its context's object.

    Filled while click parses: a global option may stand before or after the command. With `as_json` the answer is
    `document`, which `exits` prints once at the end, with the `error` that ended the command.
    """

    config_file: Path | None = None
    verbose: int = 0
    terminal: Terminal = field(default_factory=Terminal)
    as_json: bool = False
    document: dict[str, Any] = field(default_factory=dict)

    def answer(self, text: str, **document: object) -> None:
        """Answer with a line of text (none if it is empty), or with this document of schema 1."""
        if self.as_json:
            self.document = {"schema": 1, **document}
        elif text:
            answer(text)

    @property
    def paths(self) -> Paths:
        """The files and folders of this invocation."""
        from ioconnect.config.paths import discover  # noqa: PLC0415  --version and --help need no files

        return discover(os.environ, config=self.config_file)

    @property
    def named_config(self) -> Path | None:
        """The configuration that an option or the environment names; None if it is the default one."""
        is_named = self.config_file is not None or os.environ.get("IOCONNECT_CONFIG")
        return self.paths.config if is_named else None

    @property
    def config(self) -> Config:
        """The configuration, read on every access. Raises ConfigInvalid."""
        from ioconnect.config.configuration import load  # noqa: PLC0415

        return load(self.paths.config)
