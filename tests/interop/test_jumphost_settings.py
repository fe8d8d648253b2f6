"""Jumphosts that are set up strictly, as docs/security.md recommends, or old: what the guide allows them helps."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rigs.customer import Customer
    from tests.rigs.postgres import Postgres
    from tests.rigs.sshd import Sshd

DOCS = Path(__file__).resolve().parents[2] / "docs"
DOCUMENT = (DOCS / "security.md").read_text()


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


def test_an_old_jumphost_needs_what_the_guide_says(
    make_sshd: Callable[..., Sshd], customer: Customer, postgres: Postgres
) -> None:
    """Without encrypt-then-MAC and AES-GCM, as dropbear: refused in words that name the setting, which then helps."""
    sshd = make_sshd("Ciphers aes128-ctr", "MACs hmac-sha2-256")
    port = processes.free_port()
    sshd.authorize(customer.run("keygen"), port)
    target, ssh = f"localhost:{postgres.port}", ("--ssh-port", str(sshd.port), "--ssh-user", sshd.user)
    customer.run("register", "--endpoint", f"{sshd.host}:{port}", "--to", target, *ssh)
    (customer.home / "known_hosts").write_text(sshd.known_hosts_line + "\n")
    customer.run("up", "--daemon", "--wait", "0", expect=75)

    reason = customer.wait_for("held")["reason"]
    pinned = customer.try_run("pin", "--fingerprint", sshd.fingerprint)
    tested = json.loads(customer.run("test", "--json", expect=76))["checks"]
    (failed,) = [check for check in tested if check["status"] == "fail"]
    assert (reason["code"], failed["id"]) == ("algorithms_mismatch", "host_key")
    assert pinned.returncode == 76
    for said in (f"{reason['message']}\n{reason['hint']}", f"{failed['detail']}\n{failed['hint']}", pinned.stderr):
        assert "no MAC in common: it offers hmac-sha2-256; we offer hmac-sha2-512-etm@openssh.com, " in said
        assert "before you allow a weaker one by `[crypto]` in config.toml" in said
    assert "userauth-request" not in sshd.log_text()

    guide = (DOCS / "troubleshooting.md").read_text().partition("## algorithms_mismatch")[2].partition("\n## ")[0]
    setting = re.search(r"`(\[crypto\]) (allow = \[\"…\"\])`", guide)
    assert setting
    assert "`hmac-sha2-256`" in guide.partition(setting[0])[2]
    table = "\n".join(setting.groups()).replace("…", "hmac-sha2-256")
    config = customer.home / "config.toml"
    config.write_text(f"{config.read_text()}\n{table}\n")
    customer.run("reload")

    customer.wait_for("connected")
    assert postgres.query(port, "select 6 * 7") == "42"
    assert customer.tunnel()["security"]["cipher"] == "aes128-ctr"
    assert customer.tunnel()["security"]["mac"] == "hmac-sha2-256"
    (told,) = [fact for fact in json.loads(customer.run("doctor", "--json"))["machine"] if fact["id"] == "algorithms"]
    assert (told["status"], "hmac-sha2-256" in told["detail"]) == ("warn", True)
