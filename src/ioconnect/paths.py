"""Where everything lives; the only room that asks the environment and platformdirs about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  dataclasses resolve it at run time


@dataclass(frozen=True, slots=True)
class Paths:
    """Every file and folder of one installation, absolute."""

    config: Path
    identity: Path
    known_hosts: Path
    state: Path  # folder
    log: Path  # the daemon's log file

    @property
    def public_key(self) -> Path:
        """The public half beside the identity."""
        return self.identity.with_name(self.identity.name + ".pub")

    @property
    def status(self) -> Path:
        """The snapshot that the agent writes."""
        return self.state / "status.json"

    @property
    def lock(self) -> Path:
        """Held by flock for the agent's life, never unlinked: held is what "running" means."""
        return self.state / "agent.lock"
