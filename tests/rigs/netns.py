"""Hosts that are network namespaces, joined by cables that can be pulled: real links, routes and addresses.

Needs root and iproute2 (the NAT also nftables); skips without. Processes are started in a namespace by
`ip netns exec`, sockets of this process are made in one by `entered`: a socket stays where it was made.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.database import Database
from tests.rigs.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000  # sched.h
ANSWER = 0.3  # seconds that an echo may take before the forward counts as dead


def need_root() -> None:
    """Skip where no namespace can be made."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux (network namespaces)")
    processes.need_program("ip", package="iproute2")


class Host:
    """One namespace, with its loopback up; `remove` it at the end."""

    def __init__(self, name: str) -> None:
        need_root()
        self.name = f"io-{name}-{secrets.token_hex(3)}"
        processes.checked(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        """Run ip(8) in it."""
        return processes.checked(["ip", "-n", self.name, *arguments])

    def run(self, *argv: str) -> str:
        """Run a command in it, which must succeed."""
        return processes.checked(["ip", "netns", "exec", self.name, *argv])

    def draw_other_ports(self) -> None:
        """Take source ports as after a reboot: a namespace's first would be those of the one before it."""
        self.run("sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=12000 19999")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread make its sockets there."""
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
        with Path("/proc/thread-self/ns/net").open() as home, Path("/run/netns", self.name).open() as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())

    def remove(self) -> None:
        """Take it away; what still runs in it goes on without a network."""
        processes.run(["ip", "netns", "del", self.name])

    def echoes(self, port: int) -> bool:
        """Say whether a forward at this port of its loopback leads to a `Database` that echoes."""
        with self.entered(), contextlib.suppress(OSError), _connected(port) as connection:
            connection.sendall(b"E" + bytes(8) + b"!")
            return connection.recv(1) == b"!"
        return False

    def wait_for_echo(self, port: int, *, since: float, deadline: float) -> float:
        """Wait until the forward works; return the seconds from `since` (time.monotonic) to the first echo."""
        left = since + deadline - time.monotonic()
        processes.wait_until(lambda: self.echoes(port), deadline=left, what="the forward is back")
        return time.monotonic() - since


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=ANSWER)


class Cable:
    """A veth pair between two hosts, with a /24 of its own: `.1` at the first host, `.2` at the second."""

    def __init__(self, first: Host, second: Host, *, net: str) -> None:
        self.first, self.second = first, second
        self.net = net
        self.ends = (f"to-{second.name[3:10]}", f"to-{first.name[3:10]}")
        names = ("ip", "link", "add", self.ends[0], "netns", first.name, "type", "veth", "peer", "name")
        processes.checked([*names, self.ends[1], "netns", second.name])
        for number, (host, end) in enumerate(zip((first, second), self.ends, strict=True), start=1):
            host.ip("address", "add", f"{net}.{number}/24", "dev", end)
            host.ip("link", "set", end, "up")

    def pull(self) -> None:
        """Take the cable out: both ends lose their carrier."""
        self.first.ip("link", "set", self.ends[0], "down")

    def remove(self) -> None:
        """Take it away for good, with the addresses at its ends."""
        self.first.ip("link", "del", self.ends[0])

    def plug(self) -> float:
        """Put it back in; return when (time.monotonic)."""
        self.first.ip("link", "set", self.ends[0], "up")
        return time.monotonic()


class Nat:
    """Makes a host a router that masquerades what goes out, as a home's router or a cloud's NAT gateway does."""

    def __init__(self, router: Host, *, outside: str) -> None:
        self.program = processes.need_program("nft", package="nftables")
        self.router = router
        router.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        self._nft("add table ip nat")
        self._nft("add chain ip nat out { type nat hook postrouting priority 100 ; }")
        self._nft(f"add rule ip nat out oifname {outside} masquerade")

    def cut(self) -> None:
        """Drop everything that would leave the router; every link stays up, nobody is told."""
        self._nft("add table inet cut")
        self._nft("add chain inet cut out { type filter hook postrouting priority 200 ; policy drop ; }")

    def heal(self) -> float:
        """End `cut`; return when (time.monotonic)."""
        self._nft("delete table inet cut")
        return time.monotonic()

    def _nft(self, command: str) -> None:
        self.router.run(self.program, *command.split())


class Swallower:
    """A firewall on a host that drops, in both directions, what belongs to one source port of a peer's."""

    def __init__(self, host: Host, peer: str, port: int) -> None:
        program = processes.need_program("nft", package="nftables")
        host.run(program, "add", "table", "ip", "swallow")
        for chain, end in (("input", f"ip saddr {peer} tcp sport"), ("output", f"ip daddr {peer} tcp dport")):
            hook = f"{{ type filter hook {chain} priority 0 ; }}"
            host.run(program, *f"add chain ip swallow {chain} {hook}".split())
            host.run(program, *f"add rule ip swallow {chain} {end} {port} counter drop".split())


class HostSshd(Sshd):
    """The real sshd on one of the hosts, at an address of its own."""

    def __init__(self, host: Host, folder: Path, *addresses: str, config: tuple[str, ...] = ()) -> None:
        self._at = host
        listening = tuple(f"ListenAddress {address}" for address in addresses)
        super().__init__(folder, config=(*listening, *config))
        wrapper = folder / "sshd_there"  # sshd insists on a program's path; `ip netns exec` becomes the program
        wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {host.name} {self.program} "$@"\n')
        wrapper.chmod(0o755)
        self.program = str(wrapper)
        self.host = addresses[0]

    def wait_until_quiet(self) -> None:
        """Wait until no connection carries anything: what is under way at a cut is sent again when the path is back.

        And that makes the other end's kernel reset a dead session, which then proves nothing about the agent.
        """
        program = processes.need_program("ss", package="iproute2")
        argv = [
            "ip",
            "netns",
            "exec",
            self._at.name,
            program,
            "-Htn",
            "state",
            "established",
            f"sport = :{self.port}",
        ]

        def quiet() -> bool:
            queues = [line.split()[:2] for line in processes.checked(argv).splitlines()]
            channels = self.log_text().count("channel 2: new"), self.log_text().count("channel 2: free")
            return all(queue == ["0", "0"] for queue in queues) and channels[0] == channels[1]

        processes.wait_until(quiet, what="nothing is under way")


class HostCustomer(Customer):
    """A customer whose machine is one of the hosts, with a tunnel to the database on its loopback."""

    def __init__(self, host: Host, home: Path) -> None:
        super().__init__(home)
        self._program = self.command
        self.live_on(host)

    def live_on(self, host: Host) -> None:
        """Run every further command on this host."""
        self.command = ["ip", "netns", "exec", host.name, *self._program]

    def set_up(self, sshd: HostSshd, target_port: int, *, port: int, address: str | None = None) -> None:
        """Make key, registration and pin for one tunnel to `sshd`, by one of its addresses."""
        address = address or sshd.host
        if not (self.home / "id_ed25519.pub").exists():
            sshd.authorize(self.keygen(), port)
        endpoint, target = f"{address}:{port}", f"localhost:{target_port}"
        self.register("default", endpoint, target, ssh_port=sshd.port, ssh_user=sshd.user)
        (self.home / "known_hosts").write_text(f"[{address}]:{sshd.port} {sshd.host_key_line}\n")

    def tune(self, **settings: float) -> None:
        """Add agent settings to the configuration."""
        config = self.home / "config.toml"
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        config.write_text(f"{config.read_text()}\n[agent]\n{lines}")


@contextlib.contextmanager
def database_on(host: Host) -> Iterator[Database]:
    """Run a `Database` on the host's loopback."""
    with contextlib.ExitStack() as ends:
        with host.entered():
            database = ends.enter_context(Database())
        yield database
