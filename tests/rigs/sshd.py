"""A real OpenSSH server as the jumphost, on a free port of 127.0.0.1, with its own host key and accounts file.

It runs as whoever runs the tests; the login user is the same. As root sshd separates privileges: a session's
processes are children of the listener, and outlive it when only the listener ends, as on a real jumphost.
"""

from __future__ import annotations

import getpass
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
PidFile none
AuthorizedKeysFile {authorized_keys}
AuthenticationMethods publickey
UsePAM no
StrictModes no
AllowTcpForwarding remote
MaxStartups 500
PrintMotd no
LogLevel DEBUG1
"""


class Sshd:
    """One sshd; `start`, `stop` and `restart` keep its port. Use it from one thread.

    `config` are further lines of sshd_config(5), such as `RekeyLimit 16M`; ListenAddress is added to, others replace.
    """

    def __init__(self, folder: Path, *, config: Iterable[str] = ()) -> None:
        self.program = processes.need_program("sshd", package="openssh-server")
        self.keygen = processes.need_program("ssh-keygen", package="openssh-client")
        self.folder = folder
        self.user = getpass.getuser()
        self.host = "127.0.0.1"
        self.port = 0
        self.config = list(config)
        self.log = folder / "sshd.log"
        self.log.touch()
        self.host_key = self.make_key("host_ed25519")
        self.authorized_keys = folder / "authorized_keys"
        self.authorized_keys.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._permits: dict[str, list[int]] = {}  # public key → ports that it may listen on
        self._outlived: list[int] = []  # sessions whose listener we ended

    def make_key(self, name: str) -> Path:
        """Make an ed25519 key without a passphrase in the rig's folder and return the private half's path."""
        path = self.folder / name
        processes.checked([self.keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)])
        return path

    def start(self) -> None:
        """Start the listener and wait until it accepts; on its old port if it had one."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its chroot; Debian's own unit makes it otherwise
        fixed = self.port
        for _ in range(1 if fixed else 5):
            self.port = fixed or processes.free_port()
            if self._launch():
                return
        pytest.fail(f"sshd does not start:\n{self.log.read_text()}")

    def _launch(self) -> bool:
        """Start sshd once; say whether it listens (another process may have taken the port first)."""
        file = self.folder / "sshd_config"
        text = CONFIG.format(port=self.port, host_key=self.host_key, authorized_keys=self.authorized_keys)
        given = {line.split()[0] for line in self.config} - {"ListenAddress"}  # sshd takes the first of a keyword
        lines = [line for line in text.splitlines() if line.split()[0] not in given]
        file.write_text("".join(f"{line}\n" for line in (*lines, *self.config)))
        before = len(self.log_text())
        process = processes.start([self.program, "-D", "-e", "-f", str(file)], log=self.log)
        processes.wait_until(
            lambda: process.poll() is not None or "Server listening on" in self.log_text()[before:],
            what=f"sshd listens on {self.port}",
        )
        if process.poll() is None:
            self._process = process
            return True
        processes.end(process)
        return False

    def stop(self) -> None:
        """End the listener and every session at once, as a reboot of the jumphost does; twice is fine."""
        self.stop_listening()
        self._kill(self.session_pids())
        self._outlived = []

    def stop_listening(self) -> None:
        """End the listener only: sessions go on, new ones are refused."""
        if self._process is not None:
            self._outlived = self.session_pids()
            processes.end(self._process)
            self._process = None

    def restart(self) -> None:
        """Stop everything and listen again on the same port, with the settings as they are now."""
        self.stop()
        self.start()

    def session_pids(self) -> list[int]:
        """Return the processes that serve connections now, with those still signing in; parents first."""
        outlived = [pid for pid in self._outlived if processes.is_alive(pid)]
        return outlived + ([] if self._process is None else processes.descendants(self._process.pid))

    def kill_sessions(self) -> None:
        """Kill every session's processes; the listener goes on."""
        sessions = self.session_pids()
        assert sessions, "no session to kill"
        self._kill(sessions)

    def _kill(self, sessions: list[int]) -> None:
        processes.signal_all(reversed(sessions), signal.SIGKILL)
        processes.wait_until(lambda: not any(map(processes.is_alive, sessions)), what="sshd's sessions end")

    def freeze_sessions(self) -> None:
        """Stop every session's processes: TCP stays alive, nobody answers."""
        sessions = self.session_pids()
        assert sessions, "no session to freeze"
        processes.signal_all(sessions, signal.SIGSTOP)

    def thaw_sessions(self) -> None:
        """Let frozen sessions go on."""
        processes.signal_all(self.session_pids(), signal.SIGCONT)

    def authorize(self, public_key: str, *ports: int) -> None:
        """Let the key (a line as in id_ed25519.pub) ask for these ports of localhost too, and do nothing else."""
        self._permits.setdefault(public_key.strip(), []).extend(ports)  # of a key's lines sshd obeys the first only
        with self.authorized_keys.open("w") as file:
            for key, permitted in self._permits.items():
                listens = "".join(f',permitlisten="localhost:{port}"' for port in permitted)
                file.write(f"restrict,port-forwarding{listens} {key}\n")

    def revoke_all(self) -> None:
        """Forget every authorized key; sessions that are there go on."""
        self._permits = {}
        self.authorized_keys.write_text("")

    def swap_host_key(self) -> None:
        """Make a new host key; it counts from the next `restart`."""
        self.host_key = self.make_key(f"{self.host_key.name}_swapped")

    def log_text(self) -> str:
        """Return all that sshd has logged, at DEBUG1."""
        return self.log.read_text(errors="replace")

    @property
    def host_key_line(self) -> str:
        """The host key as `ssh-ed25519 AAAA…`."""
        kind, blob, *_ = self.host_key.with_name(self.host_key.name + ".pub").read_text().split()
        return f"{kind} {blob}"

    @property
    def known_hosts_line(self) -> str:
        """The pin as ssh writes it: `[127.0.0.1]:port ssh-ed25519 AAAA…`."""
        return f"[{self.host}]:{self.port} {self.host_key_line}"

    @property
    def fingerprint(self) -> str:
        """The host key's fingerprint, `SHA256:…`, by ssh-keygen."""
        return processes.checked([self.keygen, "-lf", str(self.host_key)]).split()[1]
