"""What the outages of tests/chaos do to autossh with the vendor's settings.

`python -m benchmarks.autossh_outages [CASE…]`, from the root of a checkout.

Needs root (network namespaces), autossh and nftables; takes some six minutes, most of them waiting for autossh.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rigs import netns, processes
from tests.rigs.database import call

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.rigs.database import Database

PATIENCE = 120.0  # seconds after which "not back" is the figure
NO_CLIENT_ALIVE = ("ClientAliveInterval 0", "TCPKeepAlive no")


class Scene:
    """Jumphost, router with a NAT, customer; autossh as the vendor's page has it."""

    def __init__(self, folder: Path, ends: contextlib.ExitStack) -> None:
        self.jump, self.router, self.home = (netns.Host(name) for name in ("jump", "router", "home"))
        for host in (self.jump, self.router, self.home):
            ends.callback(host.remove)
        self.cable = netns.Cable(self.jump, self.router, net="10.77.0")
        self.lan = netns.Cable(self.router, self.home, net="10.88.0")
        self.home.ip("route", "add", "default", "via", "10.88.0.1")
        self.nat = netns.Nat(self.router, outside=self.cable.ends[1])
        self.sshd = netns.HostSshd(self.jump, folder, "10.77.0.1", config=NO_CLIENT_ALIVE)
        ends.callback(self.sshd.stop)
        self.sshd.start()
        self.database: Database = ends.enter_context(netns.database_on(self.home))
        self.port = processes.free_port()
        self._folder, self._ends = folder, ends
        self._key = self.sshd.make_key("client")
        self.sshd.authorize(self._key.with_name("client.pub").read_text(), self.port)
        self.autossh = self.start_autossh()
        self.back(time.monotonic())

    def reborn(self) -> None:
        """Cut the customer's power: no FIN, no RST; then the same address on a machine that knows nothing."""
        self.lan.remove()
        everything = [self.autossh.pid, *processes.descendants(self.autossh.pid)]
        processes.signal_all(everything, signal.SIGKILL)
        self.home = netns.Host("reborn")
        self.home.draw_other_ports()
        self._ends.callback(self.home.remove)
        self.lan = netns.Cable(self.router, self.home, net="10.88.0")
        self.home.ip("route", "add", "default", "via", "10.88.0.1")
        self.database = self._ends.enter_context(netns.database_on(self.home))
        self.autossh = self.start_autossh()

    def start_autossh(self) -> subprocess.Popen[bytes]:
        """Start it as the vendor's page has it."""
        folder, key, pins = self._folder, self._key, self._folder / "pins"
        pins.write_text(self.sshd.known_hosts_line + "\n")
        options = ["ExitOnForwardFailure yes", "ServerAliveInterval 10", "ServerAliveCountMax 1"]
        options += ["BatchMode yes", f"UserKnownHostsFile {pins}"]
        command = ["ip", "netns", "exec", self.home.name, "autossh", "-M", "0", "-N", "-F", "none"]
        command += ["-R", f"{self.port}:localhost:{self.database.port}", "-i", str(key), "-p", str(self.sshd.port)]
        command += [part for option in options for part in ("-o", option)]
        environment = {**os.environ, "AUTOSSH_GATETIME": "0"}
        log = folder / "autossh.log"
        process = processes.start([*command, f"{self.sshd.user}@10.77.0.1"], log=log, env=environment)
        self._ends.callback(processes.end, process)
        return process

    def back(self, since: float) -> str:
        """Wait for the forward; return how long it took."""
        while time.monotonic() < since + PATIENCE:
            if self.jump.echoes(self.port):
                return f"{time.monotonic() - since:.1f} s"
            time.sleep(0.05)
        return f"not within {PATIENCE:.0f} s"


def cable_out(scene: Scene) -> str:
    """The customer's own cable, out for 30 s."""
    scene.lan.pull()
    time.sleep(30)
    return scene.back(scene.lan.plug())


def restarted(scene: Scene) -> str:
    """The jumphost is restarted after 20 s."""
    scene.sshd.stop()
    time.sleep(20)
    scene.sshd.start()
    return scene.back(time.monotonic())


def black_hole(scene: Scene) -> str:
    """The path is silent for 30 s."""
    scene.nat.cut()
    time.sleep(30)
    return scene.back(scene.nat.heal())


def frozen(scene: Scene) -> str:
    """The session's processes stop, TCP stays alive; until the database's connection ends."""
    with scene.jump.entered():
        talk = call(scene.port, b"E")
    with talk:
        processes.wait_until(lambda: scene.database.received >= 0)
        told = len(scene.database.endings)
        scene.sshd.freeze_sessions()
        began = time.monotonic()
        processes.wait_until(lambda: len(scene.database.endings) > told, deadline=60)
        return f"noticed after {time.monotonic() - began:.1f} s; the database sees {scene.database.endings[told]}"


def power_lost(scene: Scene) -> str:
    """The customer's machine loses its power and starts again."""
    scene.sshd.wait_until_quiet()
    began = time.monotonic()
    scene.reborn()
    while time.monotonic() < began + PATIENCE:
        # Nobody knocks at the port: that would make the dead session send, and the new machine's kernel end it.
        said = scene.sshd.log_text()
        time.sleep(0.5)  # for the refusal of what has just been asked
        if said.count("rtype tcpip-forward") > scene.sshd.log_text().count("cannot listen to port") + 1:
            return f"{time.monotonic() - began:.1f} s"
    return f"not within {PATIENCE:.0f} s"


def sessions_killed(scene: Scene) -> str:
    """The sessions end, the jumphost listens on."""
    scene.sshd.kill_sessions()
    return scene.back(time.monotonic())


CASES: tuple[Callable[[Scene], str], ...] = (sessions_killed, cable_out, restarted, frozen, black_hole, power_lost)


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """Make a scene of its own for one case."""
    with contextlib.ExitStack() as ends:
        yield Scene(Path(ends.enter_context(tempfile.TemporaryDirectory())), ends)


if __name__ == "__main__":
    for case in [case for case in CASES if case.__name__ in (sys.argv[1:] or case.__name__)]:
        with scene() as here:
            print(f"{case.__doc__} autossh: {case(here)}", flush=True)
