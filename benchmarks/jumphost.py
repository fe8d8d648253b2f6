"""A real OpenSSH server on loopback, for the user that runs the benchmark."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import LOOPBACK, BenchmarkFailed, Command, free_port, start, stop, wait_until_listening

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """\
Port {port}
ListenAddress {loopback}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/client_key.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding remote
UseDNS no
MaxStartups 500
"""


@dataclass(frozen=True, slots=True)
class Jumphost:
    """Where the server listens and what a client needs to sign in."""

    port: int
    user: str
    identity: Path
    host_key: str  # "ssh-ed25519 AAAA…"
    banner: str  # the version it introduces itself with


@contextlib.contextmanager
def jumphost(folder: Path) -> Iterator[Jumphost]:
    """Run one with fresh keys in `folder`; raises BenchmarkFailed if there is no sshd or it does not start."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if sshd is None:
        raise BenchmarkFailed("no sshd: install openssh-server")
    if os.geteuid() == 0:
        # Where sshd locks its unprivileged half in; Debian's unit makes it, and it is not running here.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = free_port()
    config, log = folder / "sshd_config", folder / "sshd.log"
    config.write_text(_CONFIG.format(port=port, loopback=LOOPBACK, folder=folder), encoding="utf-8")
    process = start(Command([sshd, "-D", "-e", "-f", str(config)], {}), log)
    try:
        wait_until_listening(port, [process], log)
        host_key = " ".join((folder / "host_key.pub").read_text(encoding="ascii").split()[:2])
        yield Jumphost(port, getpass.getuser(), folder / "client_key", host_key, _banner(port))
    finally:
        stop(process)


@contextlib.contextmanager
def stand_in_for(jumphost: Jumphost) -> Iterator[Jumphost]:
    """Run `ioconnect stub` with the same keys; raises BenchmarkFailed if it does not start."""
    with tempfile.TemporaryDirectory(prefix="bench-stub-") as name:
        folder, log, port = Path(name), Path(name, "stub.log"), free_port()
        shutil.copy(jumphost.identity.with_name("host_key"), folder / "host_key")
        shutil.copy(jumphost.identity.with_suffix(".pub"), folder / "authorized_keys")
        command = [sys.executable, "-m", "ioconnect", "stub", "--listen", f"{LOOPBACK}:{port}", "--home", name]
        process = start(Command(command, {}), log)
        try:
            wait_until_listening(port, [process], log)
            yield replace(jumphost, port=port, user="sshtunnel", banner=_banner(port))
        finally:
            stop(process)


def _banner(port: int) -> str:
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        return connection.recv(255).split(b"\r\n")[0].decode("ascii", "replace")
