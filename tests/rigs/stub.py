"""The stand-in jumphost in this process, with keys that may sign in, and clients to test it and with it.

A `StubRig` looks like the rig of the real sshd where that matters (`make_key`, `authorize`, `known_hosts_line`, …):
OpenSSH's client runs against both.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, cast

import paramiko
from tests.rigs import processes
from tests.rigs.openssh import OpensshTunnel

from ioconnect.keys import private_keys
from ioconnect.keys.authorized_keys import PublicKey, parse_public_key
from ioconnect.stub import Stub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.rigs.sshd import Sshd

    from ioconnect.stub.faults import Faults
    from ioconnect.stub.jumphost import Jumphost
    from ioconnect.stub.ledger import Ledger


def make_key(path: Path) -> PublicKey:
    """Write a fresh ed25519 key pair to `path` (0600) and `path`.pub, and return the public half."""
    pem, blob = private_keys.generate(None)
    path.touch(mode=0o600)
    path.write_bytes(pem)
    key = PublicKey(blob)
    path.with_name(path.name + ".pub").write_text(f"{key.line} test\n")
    return key


class StubRig:
    """A running Stub and, in `folder`, one `key` that may sign in and listen on `listen_port`."""

    def __init__(self, stub: Stub, folder: Path) -> None:
        self.stub = stub
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = stub.jumphost.address.port
        self.user = stub.jumphost.user
        self.listen_port = processes.free_port()
        self.key = folder / "client_ed25519"
        self.public = make_key(self.key)
        stub.jumphost.authorize(self.public, self.listen_port)

    @property
    def jumphost(self) -> Jumphost:
        """The SSH half."""
        return self.stub.jumphost

    @property
    def faults(self) -> Faults:
        """What can be made to go wrong."""
        return self.stub.faults

    @property
    def ledger(self) -> Ledger:
        """Counters, violations and `wait_for`."""
        return self.stub.jumphost.ledger

    def wait_for(self, predicate: Callable[[], object], deadline: float = 10.0) -> None:
        """Wait until the jumphost has come to this; raises TimeoutError with its counters."""
        self.ledger.wait_for(predicate, deadline)

    def make_key(self, name: str) -> Path:
        """Make a key pair in the rig's folder; return the private half's path."""
        make_key(self.folder / name)
        return self.folder / name

    def authorize(self, public_key: str, *ports: int) -> None:
        """Let the key ask for these ports of localhost, and do nothing else."""
        for port in ports:
            self.jumphost.authorize(parse_public_key(public_key), port)

    @property
    def host_key_line(self) -> str:
        """The host key that it shows now, as `ssh-ed25519 AAAA…`."""
        return self.jumphost.host_key.public.line

    @property
    def known_hosts_line(self) -> str:
        """The pin as ssh writes it."""
        return f"[{self.host}]:{self.port} {self.host_key_line}"

    @property
    def fingerprint(self) -> str:
        """The host key's fingerprint."""
        return self.jumphost.host_key.public.fingerprint


@contextlib.contextmanager
def running(folder: Path, **how: Any) -> Iterator[StubRig]:
    """Run a Stub (`how` goes to it); afterwards none of its threads is left."""
    folder.mkdir(exist_ok=True)
    with Stub(**how) as stub:
        yield StubRig(stub, folder)
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("stub-")]
    assert left == []


@contextlib.contextmanager
def openssh(rig: StubRig, target_port: int) -> Iterator[OpensshTunnel]:
    """Run `ssh -NR PORT:localhost:TARGET` against the stub until the block ends; `port` is where it listens."""
    tunnel = OpensshTunnel(cast("Sshd", rig), processes.free_port(), target_port)
    try:
        tunnel.start()
        yield tunnel
    finally:
        if tunnel.process is not None:
            processes.end(tunnel.process, by=signal.SIGKILL)  # at SIGTERM it now and then sleeps on (OpenSSH 9.2)
        tunnel.stop()


@contextlib.contextmanager
def connected(rig: StubRig) -> Iterator[paramiko.Transport]:
    """Yield paramiko's client after its key exchange, not signed in."""
    transport = paramiko.Transport((rig.host, rig.port))
    try:
        transport.start_client(timeout=10)
        yield transport
    finally:
        transport.close()
        transport.join(5)


@contextlib.contextmanager
def signed_in(rig: StubRig) -> Iterator[paramiko.Transport]:
    """Yield paramiko's client, signed in with the rig's key."""
    with connected(rig) as transport:
        transport.auth_publickey(rig.user, paramiko.Ed25519Key.from_private_key_file(str(rig.key)))
        yield transport
