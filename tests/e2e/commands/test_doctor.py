"""`ioconnect doctor`: this machine's facts beside every tunnel's checks, and an archive that gives nothing away."""

from __future__ import annotations

import base64
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.terminals import Terminal

from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "s3cr3t p@ss"
IN_URL = "s3cr3t%20p%40ss"
OLD_PASSWORD = "another0ne"
SHELLS_PASSWORD = "fromTheShell"
TOKEN = "zLIvKbQLcTAqrLj9aiWR16R_RhuarkYL"
FACTS = [
    "versions",
    "agent",
    "service",
    "lingering",
    "key_permissions",
    "fips",
    "algorithms",
    "clock",
    "proxies",
    "keyring",
]


@pytest.fixture
def customer(tmp_path: Path) -> Iterator[Customer]:
    machine = Customer(tmp_path / "home")
    machine.run("keygen")
    yield machine
    machine.close()


def register(customer: Customer, name: str, *options: str) -> None:
    """Register a tunnel to a jumphost that is not there."""
    where = ("--endpoint", f"127.0.0.1:{processes.free_port()}", "--ssh-port", str(processes.free_port()))
    customer.run("register", name, *where, "--to", f"127.0.0.1:{processes.free_port()}", *options)


def examined(customer: Customer, *, expect: int) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(customer.run("doctor", "--json", expect=expect))
    return answer


def fact(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in answer["machine"] if one["id"] == name)


def test_every_fact_and_every_tunnel(customer: Customer) -> None:
    register(customer, "orders")
    register(customer, "stock")

    answer = examined(customer, expect=ExitCode.UNAVAILABLE)

    assert (answer["schema"], answer["ok"]) == (1, False)
    assert list(dict.fromkeys(one["id"] for one in answer["machine"])) == FACTS
    assert {one["status"] for one in answer["machine"]} <= {"pass", "warn", "skip"}
    assert [tunnel["name"] for tunnel in answer["tunnels"]] == ["orders", "stock"]
    for tunnel in answer["tunnels"]:
        assert [check["id"] for check in tunnel["checks"] if check["status"] == "fail"] == ["target", "tcp"]
    assert fact(answer, "agent")["detail"] == "not running"
    assert "cryptography " in fact(answer, "versions")["detail"]


def test_without_a_tunnel_the_configuration_is_what_fails(customer: Customer) -> None:
    answer = examined(customer, expect=ExitCode.CONFIG)

    assert [tunnel["name"] for tunnel in answer["tunnels"]] == [None]
    assert answer["tunnels"][0]["checks"][0]["reason"] == "config_invalid"


def test_files_that_others_may_touch(customer: Customer) -> None:
    register(customer, "orders")
    assert fact(examined(customer, expect=69), "key_permissions")["status"] == "pass"
    key = customer.home / "id_ed25519"
    key.chmod(0o640)
    found = fact(examined(customer, expect=ExitCode.NO_INPUT), "key_permissions")
    assert f"others may read {key}: chmod 600 {key}" in found["detail"]
    customer.home.chmod(0o777)

    code = ExitCode.NO_INPUT if os.geteuid() else ExitCode.CONFIG  # root's agent uses no such configuration
    found = fact(examined(customer, expect=code), "key_permissions")

    assert found["status"] == "warn"
    assert f"others may read {key}: " in found["detail"]
    assert f"chmod 600 {key}" not in found["detail"] or os.geteuid() != 0, "who may write there may make it a link"
    assert f"anybody may write {customer.home}: " in found["detail"]


def test_a_clock_that_lags_behind_our_own_files(customer: Customer) -> None:
    register(customer, "orders")
    os.utime(customer.home / "config.toml", (4e9, 4e9))

    found = fact(examined(customer, expect=69), "clock")

    assert found["status"] == "warn"
    assert "which is before" in found["detail"]


def test_proxies_are_shown_without_their_passwords(tmp_path: Path) -> None:
    machine = Customer(tmp_path / "home", https_proxy=f"http://me:{SHELLS_PASSWORD}@127.0.0.1:3128", no_proxy="*")
    machine.run("keygen")
    register(machine, "orders")

    found = fact(examined(machine, expect=69), "proxies")

    assert "https_proxy=http://***@127.0.0.1:3128 in the environment" in found["detail"]
    assert "no_proxy=*" in found["detail"]
    assert "A service does not see" in found["hint"]


def test_on_a_terminal(customer: Customer) -> None:
    register(customer, "orders")
    with Terminal([*customer.command, "doctor"], env=customer.environment) as person:
        person.expect("✓ versions")
        person.expect("tunnel orders")
        person.expect("✗ target")
        code, _ = person.leave()

    assert code == ExitCode.UNAVAILABLE


def test_an_archive_that_cannot_be_written(customer: Customer) -> None:
    done = customer.try_run("doctor", "--bundle", str(customer.home / "no" / "such" / "folder.tar.gz"))

    assert done.returncode == ExitCode.CANNOT_CREATE
    assert "cannot write" in done.stderr


# --- nothing secret leaves


def plant(customer: Customer) -> dict[str, str]:
    """Put every secret in every place that the archive is made of; return them by name, in every spelling."""
    pem = (customer.home / "id_ed25519").read_text()
    register(customer, "orders", "--proxy", f"http://me:{IN_URL}@127.0.0.1:3128")
    basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    everything = [
        *("dialling through http://me:" + IN_URL + "@127.0.0.1:3128", f"the password is {PASSWORD}, really"),
        *(f"Proxy-Authorization: Basic {basic}", f"Authorization: Bearer {TOKEN}", f"got {TOKEN} from the API"),
        *(f'proxy = "http://old:{OLD_PASSWORD}@proxy:1"', f"token = {TOKEN}", *pem.splitlines()),
    ]
    with (customer.home / "config.toml").open("a") as file:
        file.writelines(f"# {line}\n" for line in everything)
    log = customer.home / "log"
    log.mkdir(exist_ok=True)
    for name in ("ioconnect.log", "ioconnect.log.1", "crash.log"):
        (log / name).write_text("".join(f"2026-11-22T10:00:00.000Z INFO {line}\n" for line in everything))
    state = customer.home / "state"
    state.mkdir(exist_ok=True)
    reason = {"code": "proxy_refused", "message": " ".join(everything), "hint": pem}
    tunnel = {"name": "orders", "state": "backoff", "since": "2026-11-22T10:00:00Z", "reason": reason}
    (state / "status.json").write_text(json.dumps({"schema": 1, "tunnels": [tunnel]}))
    lines = {f"line {number} of the key": line for number, line in enumerate(pem.splitlines()) if "-----" not in line}
    return {
        **lines,
        "password": PASSWORD,
        "password in a URL": IN_URL,
        "basic": basic,
        "token": TOKEN,
        "old": OLD_PASSWORD,
        "the shell's password": SHELLS_PASSWORD,
        "a part of the password": "s3cr3t",
    }


@pytest.mark.parametrize("broken", [False, True], ids=["a configuration that is right", "one that is not"])
def test_the_archive_holds_no_secret(tmp_path: Path, *, broken: bool) -> None:
    """Also when the configuration cannot be parsed, so that nobody knows what in it is a password."""
    shell = f"http://me:{SHELLS_PASSWORD}@127.0.0.1:3128"
    customer = Customer(tmp_path / "home", https_proxy=shell)
    customer.run("keygen")
    secrets = plant(customer)
    if broken:
        with (customer.home / "config.toml").open("a") as file:
            file.write("this is no TOML\n")
            file.write("".join(f"{line}\n" for line in (f'proxy = "http://me:{IN_URL}@127.0.0.1:3128"', TOKEN)))
        secrets.pop("password")  # in plain words in the log only, which nothing tells from other words
        secrets.pop("a part of the password")
    archive = tmp_path / "support.tar.gz"

    done = customer.try_run("doctor", "--bundle", str(archive))

    assert done.returncode == (ExitCode.CONFIG if broken else ExitCode.UNAVAILABLE)
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as opened:
        members = {member.name: opened.extractfile(member) for member in opened.getmembers()}
        texts = {name: content.read().decode() for name, content in members.items() if content is not None}
    for name, text in {**texts, "stdout": done.stdout, "stderr": done.stderr}.items():
        for what, secret in secrets.items():
            assert secret not in text, f"{what} is in {name}"
            assert json.dumps(secret)[1:-1] not in text, f"{what} is in {name}"
    assert {Path(name).name for name in texts} == {
        *("doctor.txt", "doctor.json", "versions.json", "config.toml", "status.json", "pins.txt"),
        *("ioconnect.log", "crash.log"),
    }


# Kinds of secrets that people keep beside a tunnel's settings, and that its log may hold; the secret is the value.
KINDS = {
    "pw = Kind1Secret": "Kind1Secret",
    "the password is: Kind2Secret": "Kind2Secret",
    "the password is Kind3Secret": "Kind3Secret",
    "mysqldump -uroot -pKind4Secret orders": "Kind4Secret",
    "sshpass -p Kind5Secret ssh jump": "Kind5Secret",
    "plink -pw Kind6Secret jump": "Kind6Secret",
    "aws AKIAIOSFODNN7EXAMPLE": "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmN": "dozjgNryP4J3jVmN",
    "ftp://old:Kind10Secret@files.example/dump.sql": "Kind10Secret",
    "PGPASSWORD=Kind11Secret pg_dump": "Kind11Secret",
}


@pytest.mark.parametrize("tail", ["", 'proxy = """http://me:\nKind12Secret@proxy:3128"""\n', "this is no TOML\n"])
def test_the_archive_has_the_configuration_as_parsed_and_never_its_text(
    customer: Customer, tmp_path: Path, tail: str
) -> None:
    """Comments, faulty values and a proxy over several lines stay here."""
    register(customer, "orders")
    with (customer.home / "config.toml").open("a") as file:
        file.write("".join(f"# {line}\n" for line in KINDS) + "# A comment without a secret\n" + tail)
    log = customer.home / "log"
    log.mkdir(exist_ok=True)
    (log / "ioconnect.log").write_text("".join(f"2026-11-22T10:00:00.000Z INFO {line}\n" for line in KINDS))
    archive = tmp_path / "support.tar.gz"

    customer.try_run("doctor", "--bundle", str(archive))

    with tarfile.open(archive) as opened:
        members = [opened.extractfile(name) for name in opened.getnames()]
        text = "".join(member.read().decode() for member in members if member is not None)
    assert [secret for secret in (*KINDS.values(), "Kind12Secret", "A comment") if secret in text] == []
    assert ("[tunnels.orders]" in text) == (not tail)


def test_the_archive_still_tells_what_support_needs(customer: Customer, tmp_path: Path) -> None:
    plant(customer)
    archive = tmp_path / "support.tar.gz"
    customer.run("doctor", "--bundle", str(archive), expect=ExitCode.UNAVAILABLE)

    with tarfile.open(archive) as opened:
        names = opened.getnames()
        texts = {Path(name).name: opened.extractfile(name).read().decode() for name in names}  # type: ignore[union-attr]

    assert 'endpoint = "127.0.0.1:' in texts["config.toml"]
    assert "http://***@127.0.0.1:3128" in texts["config.toml"]
    assert '"code": "proxy_refused"' in texts["status.json"]
    assert "INFO dialling through http://***@127.0.0.1:3128" in texts["ioconnect.log"]
    assert "target_unreachable" in texts["doctor.txt"]
    assert [tunnel["name"] for tunnel in json.loads(texts["doctor.json"])["tunnels"]] == ["orders"]
    assert "ioconnect" in json.loads(texts["versions.json"])
    assert "nothing is pinned" in texts["pins.txt"]
