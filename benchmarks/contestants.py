"""Who takes part: how each opens the same reverse forward on the same jumphost."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import gauges
from benchmarks.measures import ASYNCSSH, BASELINE, IOCONNECT, OPENSSH, OPENSSH_GCM, PLAIN, PROTOTYPE
from benchmarks.processes import LOOPBACK, BenchmarkFailed, Command, free_port, start, stop, wait_until_listening

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from benchmarks.jumphost import Jumphost

KEEPALIVE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Route:
    """What to open: each of `listen_ports` on the jumphost leads to `target_port` here."""

    jumphost: Jumphost
    ssh_port: int  # the jumphost's, or that of a long link to it
    listen_ports: tuple[int, ...]
    target_port: int
    keepalive: int = KEEPALIVE_SECONDS

    @property
    def known_hosts_line(self) -> str:
        """The jumphost's pin, as it is seen at `ssh_port`."""
        return f"[{LOOPBACK}]:{self.ssh_port} {self.jumphost.host_key}\n"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to forward: `commands` are the processes that open a route, given a folder of their own."""

    key: str
    title: str
    commands: Callable[[Route, Path], list[Command]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant that is up: the port to drive, and the processes that it is made of."""

    contestant: Contestant
    port: int
    processes: tuple[subprocess.Popen[bytes], ...]
    folder: Path  # its own, which goes when it does

    @property
    def pids(self) -> list[int]:
        """Of the client side only."""
        return [process.pid for process in self.processes]

    def cpu(self) -> float:
        """CPU seconds of the client side so far; 0 if there is none (plain TCP)."""
        return gauges.cpu_seconds(self.pids)

    def check(self) -> None:
        """Raise BenchmarkFailed if one of its processes ended."""
        for process in self.processes:
            if process.poll() is not None:
                raise BenchmarkFailed(f"the process ended with {process.returncode}")


@contextlib.contextmanager
def entered(
    contestant: Contestant,
    jumphost: Jumphost,
    *,
    target_port: int,
    ssh_port: int | None = None,
    tunnels: int = 1,
    keepalive: int = KEEPALIVE_SECONDS,
) -> Iterator[Entry]:
    """Bring it up and wait until every port listens; raises BenchmarkFailed with its last words if one does not."""
    ports = tuple(free_port() for _ in range(tunnels))
    route = Route(jumphost, ssh_port or jumphost.port, ports, target_port, keepalive)
    with tempfile.TemporaryDirectory(prefix=f"bench-{contestant.key}-") as name:
        folder, log = Path(name), Path(name, "output.log")
        (folder / "known_hosts").write_text(route.known_hosts_line, encoding="ascii")
        commands = contestant.commands(route, folder)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            processes.extend(start(command, log) for command in commands)
            for port in ports if commands else ():
                wait_until_listening(port, processes, log)
            yield Entry(contestant, ports[0] if commands else target_port, tuple(processes), folder)
        finally:
            for process in processes:
                stop(process)


def available(prototype: Path | None, baseline: Path | None = None) -> list[Contestant]:
    """Everyone who can take part on this machine, ours first; `baseline` is another release's interpreter."""
    found = [Contestant(IOCONNECT, "ioconnect", ioconnect)]
    if baseline is not None:
        found.append(Contestant(BASELINE, "ioconnect, another release", partial(ioconnect, python=str(baseline))))
    if shutil.which("ssh"):
        found.append(Contestant(OPENSSH, "OpenSSH, its default cipher", _openssh))
        found.append(Contestant(OPENSSH_GCM, "OpenSSH, aes128-gcm", _openssh_gcm))
    if importlib.util.find_spec("asyncssh"):
        found.append(Contestant(ASYNCSSH, "asyncssh, aes128-gcm", _asyncssh))
    found.append(Contestant(PLAIN, "no tunnel: plain TCP", _plain))
    if prototype is not None:
        found.append(Contestant(PROTOTYPE, "the prototype", lambda route, _: _prototype(prototype, route)))
    return found


def ioconnect(route: Route, folder: Path, *, python: str = sys.executable) -> list[Command]:
    """Return the agent's process, set up in `folder`."""
    shutil.copy(route.jumphost.identity, folder / "id_ed25519")
    shutil.copy(route.jumphost.identity.with_suffix(".pub"), folder / "id_ed25519.pub")
    lines = ["schema = 1", "[agent]", f"keepalive_interval = {route.keepalive}"]
    for port in route.listen_ports:
        lines += [
            f"[tunnels.bench-{port}]",
            f'endpoint = "{LOOPBACK}:{port}"',
            f'target = "{LOOPBACK}:{route.target_port}"',
            f"ssh_port = {route.ssh_port}",
            f'ssh_user = "{route.jumphost.user}"',
        ]
    config = folder / "config.toml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config.chmod(0o600)
    return [Command([python, "-m", "ioconnect", "up"], {"IOCONNECT_HOME": str(folder)})]


def _openssh(route: Route, folder: Path, *options: str) -> list[Command]:
    settings = (
        f"UserKnownHostsFile={folder / 'known_hosts'}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "BatchMode=yes",
        "ExitOnForwardFailure=yes",
        f"ServerAliveInterval={route.keepalive}",
    )
    base = ["ssh", "-F", "none", "-NT", "-i", str(route.jumphost.identity), "-p", str(route.ssh_port), *options]
    base += [word for setting in settings for word in ("-o", setting)]
    return [
        Command(
            [*base, "-R", f"localhost:{port}:{LOOPBACK}:{route.target_port}", f"{route.jumphost.user}@{LOOPBACK}"], {}
        )
        for port in route.listen_ports
    ]


def _openssh_gcm(route: Route, folder: Path) -> list[Command]:
    return _openssh(route, folder, "-c", "aes128-gcm@openssh.com")


def _asyncssh(route: Route, folder: Path) -> list[Command]:
    jumphost = route.jumphost
    words = (
        route.ssh_port,
        jumphost.user,
        jumphost.identity,
        folder / "known_hosts",
        route.keepalive,
        route.target_port,
        *route.listen_ports,
    )
    return [Command([sys.executable, "-m", "benchmarks.asyncssh_client", *map(str, words)], {})]


def _plain(_route: Route, _folder: Path) -> list[Command]:
    return []


def _prototype(script: Path, route: Route) -> list[Command]:
    jumphost = route.jumphost
    return [
        Command(
            [
                sys.executable,
                str(script),
                *(LOOPBACK, str(route.ssh_port), jumphost.user, str(jumphost.identity)),
                *(str(port), LOOPBACK, str(route.target_port), "qa"),
            ],
            {},
        )
        for port in route.listen_ports
    ]
