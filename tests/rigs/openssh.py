"""OpenSSH's own client as the yardstick: what holds for `ioconnect` must hold for `ssh -NR` on the same rig."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.rigs import processes

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.rigs.sshd import Sshd


class OpensshTunnel:
    """One `ssh -NR PORT:localhost:TARGET` to the rig's sshd, with a key and a pin of its own."""

    def __init__(self, sshd: Sshd, port: int, target_port: int) -> None:
        self.program = processes.need_program("ssh", package="openssh-client")
        self.sshd = sshd
        self.port = port
        self.target_port = target_port
        self.key = sshd.make_key(f"client_of_{port}")
        self.log = sshd.folder / f"ssh_{port}.log"
        self.log.touch()
        self.known_hosts: Path = sshd.folder / f"known_hosts_{port}"
        self.process: subprocess.Popen[bytes] | None = None
        sshd.authorize(self.key.with_name(self.key.name + ".pub").read_text(), port)

    def start(self, *, deadline: float = 10) -> None:
        """Start it again and again until the jumphost has granted the port, for `deadline` seconds."""
        end = time.monotonic() + deadline
        while not self._try_once():
            assert time.monotonic() < end, f"ssh -R is not granted {self.port}:\n{self.log.read_text()}"

    def _try_once(self) -> bool:
        """Start ssh once; say whether it holds the port."""
        before = len(self.log.read_text())
        self.known_hosts.write_text(self.sshd.known_hosts_line + "\n")
        self.process = process = processes.start(
            [
                *(self.program, "-F", "none", "-v", "-N", "-R", f"{self.port}:localhost:{self.target_port}"),
                *("-i", str(self.key), "-p", str(self.sshd.port), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
                *("-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "ExitOnForwardFailure=yes"),
                f"{self.sshd.user}@{self.sshd.host}",
            ],
            log=self.log,
        )
        processes.wait_until(
            lambda: process.poll() is not None or "remote forward success" in self.log.read_text()[before:],
            what="ssh -R has its answer",
        )
        return process.poll() is None

    def stop(self) -> None:
        """End it; twice is fine."""
        if self.process is not None:
            processes.end(self.process)
            self.process = None
