"""What docs/security.md recommends for the jumphost: the tunnel works with it, and its key opens nothing else."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer
    from tests.rigs.postgres import Postgres
    from tests.rigs.sshd import Sshd

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()


def recommended() -> list[str]:
    """Return the lines for sshd_config(5)."""
    (block,) = [text for text in DOCUMENT.split("```text\n") if text.startswith("AllowTcpForwarding")]
    return block.partition("\n```")[0].splitlines()


def test_the_recommended_jumphost(
    make_sshd: Callable[..., Sshd], customer: Customer, postgres: Postgres, tmp_path: Path
) -> None:
    """No shell, no other port, no way into the jumphost's own network; the forward as ever."""
    sshd = make_sshd(*recommended())
    port, other = processes.free_port(), processes.free_port()
    sshd.authorize(customer.run("keygen"), port)
    target, ssh = f"localhost:{postgres.port}", ("--ssh-port", str(sshd.port), "--ssh-user", sshd.user)
    customer.run("register", "--endpoint", f"{sshd.host}:{port}", "--to", target, *ssh)
    customer.run("pin", "--fingerprint", sshd.fingerprint)
    customer.run("up", "--daemon")

    assert postgres.query(port, "select 6 * 7") == "42"

    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(sshd.known_hosts_line + "\n")
    program = processes.need_program("ssh", package="openssh-client")
    options = ("BatchMode=yes", "IdentitiesOnly=yes", "ExitOnForwardFailure=yes", f"UserKnownHostsFile={known_hosts}")
    stolen = [program, "-F", "none", "-p", str(sshd.port), "-i", str(customer.home / "id_ed25519")]
    stolen += [word for option in options for word in ("-o", option)]
    where = f"{sshd.user}@{sshd.host}"
    shell = processes.run([*stolen, where, "echo a shell"])
    inside = processes.run([*stolen, "-W", f"localhost:{postgres.port}", where])
    listening = processes.run([*stolen, "-N", "-R", f"{other}:localhost:1", where])

    assert "a shell" not in shell.stdout
    assert "administratively prohibited" in inside.stderr
    assert "remote port forwarding failed" in listening.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", other)) != 0
