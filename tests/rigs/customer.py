"""A customer's machine: a home folder of its own and the real `ioconnect` command in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.rigs import processes

from ioconnect.agent.supervisor.background_jobs import HUNG_AFTER
from ioconnect.config import configuration
from ioconnect.config.paths import under
from ioconnect.errors import Fault
from ioconnect.keys import identity
from ioconnect.registration import request
from ioconnect.status import observe, snapshots

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable

    from ioconnect.config.paths import Paths

ENDS_WITHIN = 10.0  # seconds, of an agent that was told to
QUIET = HUNG_AFTER + 1  # seconds in which nothing changes: the last timer of what went before is over, and its thread


class Customer:
    """Runs `ioconnect` with everything under `home`; `close` ends its agent, however it got there.

    What a test only needs to have or to know, a key, a tunnel, the status, is had by the product's own functions in
    this process: a process of Python for each was a third of the whole run's CPU time.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.environment = {**os.environ, "IOCONNECT_HOME": str(home), **environment}
        script = Path(sys.executable).with_name("ioconnect")
        self.command = [str(script)] if script.exists() else [sys.executable, "-m", "ioconnect"]

    def try_run(self, *arguments: str, text_in: str | None = None, deadline: float = 45) -> Any:
        """Run the command and return code, stdout and stderr, whatever they are."""
        return processes.run([*self.command, *arguments], env=self.environment, text_in=text_in, deadline=deadline)

    def try_together(self, *commands: Iterable[str]) -> list[Any]:
        """Run several commands side by side and return the same for each; their time limits pass at once."""
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda arguments: self.try_run(*arguments), commands))

    def run(self, *arguments: str, expect: int = 0, text_in: str | None = None, deadline: float = 45) -> str:
        """Run the command, which must leave with `expect`, and return its standard output."""
        done: subprocess.CompletedProcess[str] = self.try_run(*arguments, text_in=text_in, deadline=deadline)
        assert done.returncode == expect, (
            f"ioconnect {' '.join(arguments)} left with {done.returncode}, not {expect}\n"
            f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}\n--- log\n{self.log_text()}"
        )
        return done.stdout

    @property
    def paths(self) -> Paths:
        """Where its commands find everything, as seen from here."""
        return under(self.home)

    def keygen(self) -> str:
        """Make the key as `keygen` does, and return its public line."""
        return identity.generate(self.paths.identity)[0]

    def register(
        self, name: str, endpoint: str, target: str, *, ssh_port: int | None = None, ssh_user: str | None = None
    ) -> None:
        """Save a tunnel as `register` does, of texts like its options."""
        described = request.Request(endpoint=endpoint, target=target, ssh_port=ssh_port, ssh_user=ssh_user)
        key = self.paths.identity
        identity.generate(key)
        tunnel = request.check(described, self.environment).tunnel(name, key)
        configuration.change(self.paths.config, lambda now: request.with_tunnel(now, tunnel, force=False))

    def status(self) -> dict[str, Any]:
        """Return what `status --json` answers, whatever its exit code; of a running agent by the same question."""
        try:
            return snapshots.answer_to_json(observe.ask(self.paths))
        except Fault:  # none runs, or it does not answer
            parsed: dict[str, Any] = json.loads(self.try_run("status", "--json").stdout)
            return parsed

    def tunnel(self, name: str = "default") -> dict[str, Any]:
        """Return one tunnel's part of `status --json`."""
        found = self._find(name)
        assert found is not None, f"status has no tunnel {name}"
        return found

    def _find(self, name: str) -> dict[str, Any] | None:
        """Return the same; None before the agent has taken the tunnel up, as for a moment after `reload`."""
        return next((tunnel for tunnel in self.status()["tunnels"] if tunnel["name"] == name), None)

    def wait_for(self, state: str, name: str = "default", *, deadline: float = 15) -> dict[str, Any]:
        """Wait until the tunnel is in this state and return its part of `status --json`."""

        def there() -> dict[str, Any] | None:
            seen = self._find(name)
            return seen if seen and seen["state"] == state else None

        def instead() -> str:
            return f"{json.dumps(self._find(name), indent=1)}\n--- log\n{self.log_text()}"

        found = processes.wait_until(there, deadline=deadline, what=f"tunnel {name} is {state}", instead=instead)
        assert found is not None
        return found

    def agent_pid(self) -> int:
        """Return the running agent's process id."""
        pid: int = self.status()["agent"]["pid"]
        return pid

    def log_text(self) -> str:
        """Return the daemon's log, "" if there is none."""
        file = self.home / "log" / "ioconnect.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def close(self) -> None:
        """End the agent if one runs: by SIGTERM, by `down` if the kernel does not tell its pid, else by SIGKILL."""
        pid = observe.agent_pid(self.paths)
        if pid is None:
            return
        if pid == 0:
            self.try_run("down")
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if not processes.has_ended(pid, deadline=ENDS_WITHIN):
                os.kill(pid, signal.SIGKILL)
