"""The demo's environment: a temporary folder, a stub jumphost, a database, and the command in child processes.

The command runs with that folder as its IOCONNECT_HOME, without the caller's settings; its agent is a real one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ioconnect.agent.process.stop import stop
from ioconnect.config import paths
from ioconnect.config.addresses import host_port
from ioconnect.custody import strict_modes
from ioconnect.custody.writers import ANYBODY
from ioconnect.demo.database import Database
from ioconnect.errors import ExitCode, Fault
from ioconnect.escape import escaped
from ioconnect.stub import Stub

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ioconnect.config.addresses import HostPort
    from ioconnect.console.interruptions import Interruptions

COMMAND_TIMEOUT = 30.0  # seconds, for any one command
API_TIMEOUT = 10.0  # seconds, for the registration API
STOP_TIMEOUT = 10.0  # seconds, for the agent at the end
MAX_RESPONSE = 65536  # bytes
# Variables that would redirect the command: to other folders and files, or to a proxy.
_REMOVED_PREFIXES = ("IOCONNECT_", "_IOCONNECT_")
_REMOVED_NAMES = frozenset(
    {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "notify_socket", "invocation_id"}
    | {f"{folder}_directory" for folder in ("state", "runtime", "credentials", "logs", "configuration")}
)


class DemoFailed(Fault):
    """A step of the demo failed; the exit code is that of the failed command, if there is one."""


class Environment:
    """The running servers and the folder, from `running_environment`."""

    def __init__(self, home: Path, stub: Stub, database: Database, interruptions: Interruptions) -> None:
        self.home, self.stub, self.database = home, stub, database
        self._interruptions = interruptions

    @property
    def jumphost(self) -> HostPort:
        """The address of the stub jumphost."""
        return self.stub.jumphost.address

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its host key."""
        return self.stub.jumphost.host_key.public.fingerprint

    def ioconnect(self, *arguments: str) -> str:
        """Run the command and return its standard output. Raises DemoFailed unless it exits with 0.

        Signals are delivered after the command has exited, so that a started agent is known.
        """
        with (
            self._interruptions.deferred(),  # first: a signal may come while the command starts
            subprocess.Popen(  # noqa: S603  our own interpreter and program
                [sys.executable, "-m", "ioconnect", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.home,
                env=_environment(os.environ, self.home),
                start_new_session=True,  # so that it does not get the terminal's Ctrl-C
            ) as process,
        ):
            try:
                stdout, stderr = process.communicate(timeout=COMMAND_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                raise DemoFailed(f"ioconnect {arguments[0]} did not end within {COMMAND_TIMEOUT:g} s") from None
        if process.returncode != 0:
            raise _failed(arguments, process.returncode, stderr)
        return stdout.decode("utf-8", "backslashreplace")

    def register_key(self, name: str, public_key: str) -> HostPort:
        """Send the public key to the registration API and return the endpoint that it allocates."""
        connection = http.client.HTTPConnection(self.stub.url.partition("://")[2], timeout=API_TIMEOUT)
        with contextlib.closing(connection):
            body = json.dumps({"name": name, "public_key": public_key})
            headers = {"Authorization": f"Bearer {self.stub.token}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/tunnels", body, headers)
            response = connection.getresponse()
            document: Any = json.loads(response.read(MAX_RESPONSE))
        if response.status != http.client.CREATED:
            raise DemoFailed(f"the registration API answered {response.status}: {escaped(str(document))}")
        return host_port(document["endpoint"])

    def is_open(self, port: int) -> bool:
        """Say whether the jumphost listens on this port for the agent."""
        return self.stub.jumphost.listens_on(port)

    def cut_link(self, port: int, *, timeout: float) -> float:
        """Reset the agent's connection; return the seconds until the port is open again. Raises DemoFailed."""
        ledger = self.stub.jumphost.ledger
        started = time.monotonic()
        self.stub.faults.drop()
        try:
            ledger.wait_for(lambda: self.is_open(port), timeout)
        except TimeoutError:
            raise DemoFailed(f"the tunnel did not come back within {timeout:g} s") from None
        return time.monotonic() - started


@contextlib.contextmanager
def running_environment(interruptions: Interruptions) -> Iterator[Environment]:
    """Yield a running environment; afterwards none of its processes, threads and files are left."""
    with interruptions, contextlib.ExitStack() as stack:
        stack.enter_context(interruptions.deferred())  # the last to exit: no signal interrupts the clean-up
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ioconnect-demo-")))
        stub, database = stack.enter_context(Stub()), stack.enter_context(Database())
        stack.callback(stop, paths.under(home), deadline=STOP_TIMEOUT)
        with interruptions.delivered():
            yield Environment(home, stub, database, interruptions)


def _failed(arguments: tuple[str, ...], code: int, stderr: bytes) -> DemoFailed:
    lines = stderr.decode("utf-8", "backslashreplace").strip().splitlines() or ["it said nothing"]
    fault = DemoFailed(
        "\n".join([f"`ioconnect {' '.join(arguments)}` left with {code}:", *lines]),
        hint="Nothing of the demo is left. `ioconnect doctor` looks at this machine.",
    )
    if code in set(ExitCode) - {ExitCode.OK}:
        fault.exit_code = ExitCode(code)
    return fault


def _environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment variables without those that would redirect the command."""
    own = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_REMOVED_PREFIXES) and name.lower() not in _REMOVED_NAMES
    }
    owners = ",".join(str(uid) for uid in sorted(program_owners()))
    return {**own, "IOCONNECT_HOME": str(home), **({strict_modes.PROGRAM_OWNERS: owners} if owners else {})}


def program_owners() -> frozenset[int]:
    """Return the accounts but root that own this program, whom root's demo trusts: it throws its files and key away.

    Root runs their program already. Anybody at all is nobody to trust.
    """
    return frozenset(uid for each in strict_modes.changeable_program() for uid in each.uids if uid != ANYBODY)
