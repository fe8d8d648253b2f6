"""What the demo is played on: a temporary folder, a stand-in jumphost, a database, and the real command.

The command runs in processes of its own, with that folder as its home and nothing of the caller's set-up; the agent
that `up --daemon` starts is as real as a customer's.
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

from ioconnect.agent.process import launch
from ioconnect.config import paths
from ioconnect.config.addresses import host_port
from ioconnect.demo.database import Database
from ioconnect.errors import ExitCode, Fault
from ioconnect.escape import escaped
from ioconnect.stub import Stub

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ioconnect.config.configuration import HostPort
    from ioconnect.console.interruptions import Interruptions

COMMAND_WITHIN = 30.0  # seconds, for any one command
ANSWER_WITHIN = 10.0  # seconds, for the registration API
STOP_WITHIN = 10.0  # seconds, for the agent at the end
LARGEST_ANSWER = 65536  # bytes
# What would lead the command elsewhere: other homes, other files, a proxy between us and loopback.
_FOREIGN = ("IOCONNECT_", "_IOCONNECT_")
_FOREIGN_NAMES = frozenset(
    {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "notify_socket", "invocation_id"}
    | {f"{folder}_directory" for folder in ("state", "runtime", "credentials", "logs", "configuration")}
)


class DemoFailed(Fault):
    """A step of the demo did not work; its exit code is that of the command that failed, if one did."""


class Stage:
    """The running servers and the folder; made by `stage`."""

    def __init__(self, home: Path, stub: Stub, database: Database, interruptions: Interruptions) -> None:
        self.home, self.stub, self.database = home, stub, database
        self._interruptions = interruptions

    @property
    def jumphost(self) -> HostPort:
        """Where the stand-in jumphost listens."""
        return self.stub.jumphost.address

    @property
    def fingerprint(self) -> str:
        """Its host key's, as Integrate.io would tell it."""
        return self.stub.jumphost.host_key.public.fingerprint

    def ioconnect(self, *arguments: str) -> str:
        """Run the command and return its standard output. Raises DemoFailed unless it leaves with 0.

        An interrupt waits until the command has ended: one that starts an agent must have done so, or not at all.
        """
        process = subprocess.Popen(  # noqa: S603  our own interpreter and program
            [sys.executable, "-m", "ioconnect", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env=_environment(os.environ, self.home),
            start_new_session=True,  # the terminal's Ctrl-C is for us
        )
        with self._interruptions.held_back(), process:
            try:
                out, said = process.communicate(timeout=COMMAND_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                raise DemoFailed(f"ioconnect {arguments[0]} did not end within {COMMAND_WITHIN:g} s") from None
        if process.returncode != 0:
            raise _failed(arguments, process.returncode, said)
        return out.decode("utf-8", "backslashreplace")

    def sign_up(self, name: str, public_key: str) -> HostPort:
        """Give the key to the registration API, as the UI would, and return the endpoint that it allocates."""
        connection = http.client.HTTPConnection(self.stub.url.partition("://")[2], timeout=ANSWER_WITHIN)
        with contextlib.closing(connection):
            body = json.dumps({"name": name, "public_key": public_key})
            headers = {"Authorization": f"Bearer {self.stub.token}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/tunnels", body, headers)
            response = connection.getresponse()
            answer: Any = json.loads(response.read(LARGEST_ANSWER))
        if response.status != http.client.CREATED:
            raise DemoFailed(f"the registration API answered {response.status}: {escaped(str(answer))}")
        return host_port(answer["endpoint"])

    def is_open(self, port: int) -> bool:
        """Whether the agent has this port forwarded on the jumphost."""
        return self.stub.jumphost.listens_on(port)

    def cut_link(self, port: int, *, within: float) -> float:
        """Reset the agent's connection and return the seconds until the port is open again. Raises DemoFailed."""
        ledger = self.stub.jumphost.ledger
        begun = time.monotonic()
        self.stub.faults.drop()
        try:
            ledger.wait_for(lambda: self.is_open(port), within)
        except TimeoutError:
            raise DemoFailed(f"the tunnel did not come back within {within:g} s") from None
        return time.monotonic() - begun


@contextlib.contextmanager
def stage(interruptions: Interruptions) -> Iterator[Stage]:
    """Yield a running stage; afterwards there is no process, thread or file of it."""
    with interruptions, contextlib.ExitStack() as ends:
        ends.enter_context(interruptions.held_back())  # the last to end: nothing disturbs the tidying up
        home = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="ioconnect-demo-")))
        stub, database = ends.enter_context(Stub()), ends.enter_context(Database())
        ends.callback(launch.stop, paths.under(home), deadline=STOP_WITHIN)
        with interruptions.let_in():
            yield Stage(home, stub, database, interruptions)


def _failed(arguments: tuple[str, ...], code: int, said: bytes) -> DemoFailed:
    lines = said.decode("utf-8", "backslashreplace").strip().splitlines() or ["it said nothing"]
    fault = DemoFailed(
        "\n".join([f"`ioconnect {' '.join(arguments)}` left with {code}:", *lines]),
        hint="Nothing of the demo is left. `ioconnect doctor` looks at this machine.",
    )
    if code in set(ExitCode) - {ExitCode.OK}:
        fault.exit_code = ExitCode(code)
    return fault


def _environment(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment without what would lead the command elsewhere."""
    own = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_FOREIGN) and name.lower() not in _FOREIGN_NAMES
    }
    return {**own, "IOCONNECT_HOME": str(home)}
