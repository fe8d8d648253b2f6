"""The steps of the demo; each line is printed after its step."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ioconnect.console.interruptions import Interruptions
from ioconnect.custody.writers import account_name
from ioconnect.demo import database
from ioconnect.demo.environment import DemoFailed, Environment, program_owners, running_environment
from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

NAME = "orders"
FETCH_SIZE = 16 << 20  # bytes fetched through the tunnel
RECONNECT_TIMEOUT = 10.0  # seconds; it takes less than one
DONE = "  \N{CHECK MARK} "
GAP = " " * len(DONE)


def _not_busy(_doing: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def run(say: Callable[[str], None], *, busy: Callable[[str], AbstractContextManager[None]] = _not_busy) -> ExitCode:
    """Run the demo and return OK; afterwards none of its processes, threads and files are left, also after a fault.

    `say` is called with every line; `busy` is entered with a description while a step takes time. Raises DemoFailed,
    KeyboardInterrupt (also for TERM and HUP), and OSError for a machine without disk space or loopback.
    """
    with running_environment(Interruptions()) as environment:
        _Scenario(environment, say, busy).run_steps()
    say(
        f"{DONE}cleaned up: nothing is left of it\n\n"
        "That was all of it. The same with a database of yours: ioconnect setup"
    )
    return ExitCode.OK


class _Scenario:
    """The steps in their order; `_port` is the one that the jumphost allocates."""

    def __init__(
        self,
        environment: Environment,
        say: Callable[[str], None],
        busy: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._environment, self._say, self._busy = environment, say, busy
        self._port = 0

    def run_steps(self) -> None:
        self._say("A tunnel's whole life, on this machine only:\n")
        owners = ", ".join(sorted(account_name(uid) for uid in program_owners()))
        if owners:
            self._say(
                f"{GAP}You are root, and this program is not root's alone: the demo trusts its owner ({owners}),\n"
                f"{GAP}as its key and files are thrown away. An agent with your key does not: see ioconnect doctor.\n"
            )
        self._done(f"a stand-in for Integrate.io's jumphost listens on {self._environment.jumphost}")
        self._done(f"a tiny service as your database listens on 127.0.0.1:{self._environment.database.port}")
        self._set_up()
        self._connect()
        self._transfer()
        self._reconnect()
        self._stop()

    def _set_up(self) -> None:
        public_key = self._command("keygen").strip()
        self._done(f"made the identity: {public_key[:40]}…")
        endpoint = self._environment.register_key(NAME, public_key)
        self._done(f"the jumphost's side took the public key and gave back the Tunnel Endpoint {endpoint}")
        self._port = endpoint.port
        target = f"localhost:{self._environment.database.port}"
        ssh_port = str(self._environment.jumphost.port)
        self._command("register", NAME, "--endpoint", str(endpoint), "--to", target, "--ssh-port", ssh_port)
        self._done(f"saved the tunnel {NAME}: {endpoint} leads to {target}")
        self._command("pin", NAME, "--fingerprint", self._environment.fingerprint)
        self._done("pinned the jumphost's host key: it is the one that was told")

    def _connect(self) -> None:
        self._command("up", "--daemon", "--wait", "15")
        if not self._environment.is_open(self._port):
            raise DemoFailed("the agent says that it is connected, but its port on the jumphost is not open")
        self._done("the agent runs in the background; the tunnel is up")

    def _transfer(self) -> None:
        with self._requesting("asking the database through the tunnel"):
            answered = database.ping(self._port)
        self._done(f"asked the database through the tunnel: answered in {answered * 1000:.1f} ms")
        with self._requesting("fetching through the tunnel"):
            seconds = database.fetch(self._port, FETCH_SIZE)
        size = FETCH_SIZE >> 20
        self._done(f"fetched {size} MiB, every byte as it was sent: {size / seconds:.0f} MiB/s")

    def _reconnect(self) -> None:
        with self._busy("cut the link; waiting for the tunnel"):
            back = self._environment.cut_link(self._port, timeout=RECONNECT_TIMEOUT)
        with self._requesting("asking again"):
            database.ping(self._port)
        self._done(f"cut the link: the tunnel was back after {back:.2f} s, and the database answers again")
        shown = self._command("status")
        self._say("".join(f"{GAP}{line}\n" for line in shown.splitlines() if line).rstrip("\n"))

    def _stop(self) -> None:
        self._command("down")
        if self._environment.is_open(self._port):
            raise DemoFailed("the agent has stopped, but its port on the jumphost is still open")
        self._done("stopped the agent: its port on the jumphost is free again at once")

    def _command(self, *arguments: str) -> str:
        shown = f"ioconnect {' '.join(arguments)}"
        self._say(f"{GAP}$ {shown}")
        with self._busy(shown):
            return self._environment.ioconnect(*arguments)

    @contextlib.contextmanager
    def _requesting(self, doing: str) -> Iterator[None]:
        """Show that this takes time; a failed connection raises DemoFailed."""
        try:
            with self._busy(doing):
                yield
        except OSError as error:
            raise DemoFailed(f"{doing} failed: {error}") from error

    def _done(self, text: str) -> None:
        self._say(DONE + text)
