"""`pin`: nobody is trusted by default, and what is stored is what somebody vouched for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paramiko
import pytest
from tests.rigs import processes
from tests.rigs.customer import Customer
from tests.rigs.paramiko_jumphost import ParamikoJumphost, ed25519
from tests.rigs.terminals import Terminal

from ioconnect.commands.configure import pin
from ioconnect.config.paths import under
from ioconnect.keys import known_hosts, public_keys
from ioconnect.stub.jumphost import Jumphost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WRONG = "SHA256:" + "A" * 43


@pytest.fixture
def jumphost() -> Iterator[Jumphost]:
    with Jumphost() as server:
        yield server


@pytest.fixture
def customer(tmp_path: Path, jumphost: Jumphost) -> Customer:
    machine = Customer(tmp_path / "home")
    address = jumphost.address
    endpoint = ("--endpoint", f"{address.host}:40000", "--ssh-port", str(address.port))
    machine.run("register", "orders", *endpoint, "--to", "localhost:3306")
    return machine


def fingerprint(jumphost: Jumphost) -> str:
    return jumphost.host_key.public.fingerprint


def pinned(customer: Customer, jumphost: Jumphost) -> tuple[str, ...]:
    pins = known_hosts.load(customer.home / "known_hosts")
    return pins.fingerprints_for(jumphost.address.host, jumphost.address.port)


def test_a_fingerprint_that_was_told(customer: Customer, jumphost: Jumphost) -> None:
    done = customer.try_run("pin", "--fingerprint", fingerprint(jumphost))

    assert (done.returncode, done.stdout) == (0, fingerprint(jumphost) + "\n")
    assert fingerprint(jumphost) in done.stderr
    line = (customer.home / "known_hosts").read_text()
    assert line.startswith(f"[127.0.0.1]:{jumphost.address.port} ssh-ed25519 ")
    assert (customer.home / "known_hosts").stat().st_mode & 0o777 == 0o600


def test_a_fingerprint_that_does_not_match_stores_nothing(customer: Customer, jumphost: Jumphost) -> None:
    """And shows both."""
    done = customer.try_run("pin", "--fingerprint", WRONG)

    assert (done.returncode, done.stdout) == (76, "")
    assert WRONG in done.stderr
    assert fingerprint(jumphost) in done.stderr
    assert not (customer.home / "known_hosts").exists()
    assert jumphost.ledger.counters.auth_requests == 0


def test_yes_pins_what_is_shown(customer: Customer, jumphost: Jumphost) -> None:
    assert customer.run("pin", "orders", "--yes") == fingerprint(jumphost) + "\n"
    assert pinned(customer, jumphost) == (fingerprint(jumphost),)


def test_pinning_again_changes_nothing(customer: Customer, jumphost: Jumphost) -> None:
    customer.run("pin", "--yes")
    before = (customer.home / "known_hosts").stat().st_ino

    done = customer.try_run("pin", "--yes")

    assert (done.returncode, done.stdout) == (0, fingerprint(jumphost) + "\n")
    assert "already" in done.stderr
    assert (customer.home / "known_hosts").stat().st_ino == before  # not even written anew


def test_yes_does_not_replace_a_pin(customer: Customer, jumphost: Jumphost) -> None:
    """A script that pins on every run must not follow an impostor."""
    customer.run("pin", "--yes")
    old = fingerprint(jumphost)
    jumphost.faults.swap_host_key()

    done = customer.try_run("pin", "--yes")

    assert (done.returncode, done.stdout) == (76, "")
    assert old in done.stderr
    assert fingerprint(jumphost) in done.stderr
    assert pinned(customer, jumphost) == (old,)


def test_a_fingerprint_replaces_a_pin(customer: Customer, jumphost: Jumphost) -> None:
    customer.run("pin", "--yes")
    jumphost.faults.swap_host_key()

    customer.run("pin", "--fingerprint", fingerprint(jumphost))

    assert pinned(customer, jumphost) == (fingerprint(jumphost),)


def test_a_revoked_key_is_never_pinned(customer: Customer, jumphost: Jumphost) -> None:
    line = known_hosts.line("127.0.0.1", jumphost.address.port, jumphost.host_key.public.blob)
    (customer.home / "known_hosts").write_text(f"@revoked {line}\n")

    customer.run("pin", "--fingerprint", fingerprint(jumphost), expect=76)

    assert (customer.home / "known_hosts").read_text() == f"@revoked {line}\n"


def test_without_a_terminal_somebody_must_vouch(customer: Customer, jumphost: Jumphost) -> None:
    done = customer.try_run("pin")

    assert done.returncode == 64
    assert "--fingerprint" in done.stderr
    assert jumphost.ledger.counters.connections == 0


@pytest.mark.parametrize("text", ["SHA256:short", "MD5:00:11", "", WRONG + "A"])
def test_what_is_no_fingerprint_is_refused(customer: Customer, jumphost: Jumphost, text: str) -> None:
    customer.run("pin", "--fingerprint", text, expect=64)

    assert jumphost.ledger.counters.connections == 0


@pytest.mark.parametrize("answer", ["yes", "y", "fingerprint"])
def test_a_person_vouches(customer: Customer, jumphost: Jumphost, answer: str) -> None:
    with Terminal([*customer.command, "pin"], env=customer.environment, capture_stdout=True) as person:
        person.expect(fingerprint(jumphost))
        person.expect("(yes, no, or the fingerprint you were told)")
        person.type(fingerprint(jumphost) if answer == "fingerprint" else answer)
        person.expect("Pinned ")

        assert person.leave() == (0, fingerprint(jumphost) + "\n")
    assert pinned(customer, jumphost) == (fingerprint(jumphost),)


@pytest.mark.parametrize(("answer", "code"), [("no", 78), ("", 78), (WRONG, 76)])
def test_a_person_does_not_vouch(customer: Customer, jumphost: Jumphost, answer: str, code: int) -> None:
    with Terminal([*customer.command, "pin"], env=customer.environment, capture_stdout=True) as person:
        person.expect("the fingerprint you were told)")
        person.type(answer)

        assert person.leave() == (code, "")
    assert pinned(customer, jumphost) == ()


def test_a_person_is_told_that_the_key_changed(customer: Customer, jumphost: Jumphost) -> None:
    customer.run("pin", "--yes")
    old = fingerprint(jumphost)
    jumphost.faults.swap_host_key()

    with Terminal([*customer.command, "pin"], env=customer.environment) as person:
        person.expect("HAS CHANGED")
        person.expect(old)
        person.type("yes")
        person.expect("Pinned ")
        assert person.leave()[0] == 0
    assert pinned(customer, jumphost) == (fingerprint(jumphost),)


def test_a_jumphost_that_is_not_there_is_69(customer: Customer, jumphost: Jumphost) -> None:
    jumphost.stop()

    done = customer.try_run("pin", "--yes")

    assert done.returncode == 69
    assert done.stderr.splitlines()[-1].startswith("hint: ")


def test_a_name_that_does_not_resolve_is_68(customer: Customer) -> None:
    customer.run("register", "stock", "--endpoint", "no-such-host.invalid:40001", "--to", "db:1")

    customer.run("pin", "stock", "--yes", expect=68)


def test_a_jumphost_that_turns_us_away_is_75(customer: Customer, jumphost: Jumphost) -> None:
    jumphost.faults.turn_away(b"Exceeded MaxStartups\r\n")

    done = customer.try_run("pin", "--yes")

    assert done.returncode == 75
    assert "MaxStartups" in done.stderr


def key(kind: str, *fields: bytes) -> bytes:
    """A host key blob of this type (RFC 4253 section 6.6), whatever its numbers."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), *fields))


ED, ED2, RSA = key("ssh-ed25519", b"1" * 32), key("ssh-ed25519", b"2" * 32), key("ssh-rsa", b"\x03", b"3" * 256)


@pytest.mark.parametrize(
    ("stored", "seen", "contradiction"),
    [
        ((), ED, False),
        ((ED,), ED, False),
        ((ED,), RSA, False),  # one more type
        ((ED, ED2), ED2, False),
        ((ED,), ED2, True),
        ((ED, RSA), ED2, True),
    ],
)
def test_what_contradicts_a_pin(stored: tuple[bytes, ...], seen: bytes, *, contradiction: bool) -> None:
    assert pin.contradicts(stored, seen) is contradiction


def test_two_tunnels_on_one_jumphost_share_the_pin(customer: Customer, jumphost: Jumphost) -> None:
    port = jumphost.address.port
    endpoint = ("--endpoint", f"127.0.0.1:{processes.free_port()}", "--ssh-port", str(port))
    customer.run("register", "stock", *endpoint, "--to", "localhost:1")

    customer.run("pin", "orders", "--yes")

    assert customer.run("pin", "stock", "--yes") == fingerprint(jumphost) + "\n"
    assert len((customer.home / "known_hosts").read_text().splitlines()) == 1


# --- several host keys

ED_KEY, OTHER_ED_KEY, ECDSA_KEY = ed25519(), ed25519(), paramiko.ECDSAKey.generate()


class Several:
    """A customer of a jumphost with several host keys."""

    def __init__(self, home: Path, server: ParamikoJumphost) -> None:
        self.server = server
        self.customer = Customer(home)
        self.file = under(home).known_hosts
        endpoint = ("--endpoint", "127.0.0.1:40000", "--ssh-port", str(server.port))
        self.customer.run("register", "orders", *endpoint, "--to", "localhost:3306")

    def pin(self, *keys: paramiko.PKey) -> bytes:
        known_hosts.pin(self.file, "127.0.0.1", self.server.port, [key.asbytes() for key in keys])
        return self.file.read_bytes()

    @property
    def pinned(self) -> tuple[bytes, ...]:
        return known_hosts.load(self.file).blobs_for("127.0.0.1", self.server.port)


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Several]:
    with ParamikoJumphost(lambda _number: [ED_KEY, ECDSA_KEY]) as server:
        yield Several(tmp_path / "home", server)


def shown(key: paramiko.PKey) -> str:
    return public_keys.fingerprint(key.asbytes())


def test_yes_pins_one_key_by_one_connection(several: Several) -> None:
    """Each is one without a sign-in, which PerSourcePenalties counts; each could be another machine's."""
    assert several.customer.run("pin", "--yes") == shown(ED_KEY) + "\n"
    assert several.pinned == (ED_KEY.asbytes(),)
    assert several.server.connections == 1


def test_yes_adds_nothing_beside_a_pin(several: Several) -> None:
    """A man in the middle passed the pinned key's connection through, and answered the others himself."""
    before = several.pin(ED_KEY)

    done = several.customer.try_run("pin", "--yes")

    assert (done.returncode, done.stdout) == (0, shown(ED_KEY) + "\n")
    assert several.file.read_bytes() == before
    assert f"{shown(ED_KEY)}  pinned" in done.stderr
    assert "added by its own --fingerprint" in done.stderr


def test_yes_refuses_what_contradicts_a_pin(several: Several) -> None:
    before = several.pin(OTHER_ED_KEY)

    done = several.customer.try_run("pin", "--yes")

    assert done.returncode == 76
    assert f"{shown(ED_KEY)}  CONTRADICTS THE PIN" in done.stderr
    assert several.file.read_bytes() == before


def test_yes_refuses_a_jumphost_that_lost_the_pinned_key(tmp_path: Path) -> None:
    """It shows one of another type only."""
    with ParamikoJumphost(lambda _number: [ECDSA_KEY]) as server:
        several = Several(tmp_path / "home", server)
        before = several.pin(ED_KEY)
        done = several.customer.try_run("pin", "--yes")

    assert done.returncode == 76
    assert several.file.read_bytes() == before


def test_a_pinned_type_is_asked_for_first(several: Several) -> None:
    """So that a jumphost with a new key of another type is no false alarm."""
    several.pin(ECDSA_KEY)

    assert several.customer.run("pin", "--yes") == shown(ECDSA_KEY) + "\n"
    assert several.server.connections == 1


def test_a_further_type_is_added_by_its_fingerprint(several: Several) -> None:
    several.pin(ED_KEY)

    done = several.customer.try_run("pin", "--fingerprint", shown(ECDSA_KEY))

    assert done.returncode == 0
    assert done.stdout.split() == [shown(ED_KEY), shown(ECDSA_KEY)]
    assert f"{shown(ED_KEY)}  pinned" in done.stderr
    assert f"{shown(ECDSA_KEY)}  new" in done.stderr
    assert several.pinned == (ED_KEY.asbytes(), ECDSA_KEY.asbytes())


def test_a_fingerprint_removes_no_pin_of_another_type(several: Several) -> None:
    """A man in the middle showed an ed25519 key of his own, and passed the other connection through."""
    before = several.pin(OTHER_ED_KEY)

    done = several.customer.try_run("pin", "--fingerprint", shown(ECDSA_KEY))

    assert (done.returncode, done.stdout) == (76, "")
    assert f"{shown(ED_KEY)}  CONTRADICTS THE PIN" in done.stderr
    assert "remove its line from known_hosts" in done.stderr
    assert several.file.read_bytes() == before


def test_a_fingerprint_replaces_the_pins_of_its_type(several: Several) -> None:
    several.pin(OTHER_ED_KEY, ECDSA_KEY)

    several.customer.run("pin", "--fingerprint", shown(ED_KEY))

    assert several.pinned == (ECDSA_KEY.asbytes(), ED_KEY.asbytes())


def test_a_contradiction_is_told_though_the_fingerprint_is_pinned(several: Several) -> None:
    before = several.pin(OTHER_ED_KEY, ECDSA_KEY)

    done = several.customer.try_run("pin", "--fingerprint", shown(ECDSA_KEY))

    assert done.returncode == 76
    assert several.file.read_bytes() == before


def short_rsa() -> bytes:
    return key("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xc3" * 128)


KNOWN = {
    "short RSA": lambda host: f"{host} {public_keys.encode(short_rsa())}\n",
    "cut off": lambda host: f"{host} {public_keys.encode(ED)}"[:-9] + "\n",
    "revoked": lambda host: f"@revoked {host} {public_keys.encode(ED)}\n",
    "pinned and revoked": lambda host: f"{host} {public_keys.encode(ED)}\n@revoked * {public_keys.encode(ED)}\n",
    "an authority": lambda host: f"@cert-authority {host} {public_keys.encode(ED)}\n",
    "without its port": lambda _host: f"127.0.0.1 {public_keys.encode(ED)}\n",
}


@pytest.mark.parametrize("line", KNOWN.values(), ids=KNOWN)
def test_yes_trusts_nobody_where_the_jumphost_is_known(several: Several, line: Callable[[str], str]) -> None:
    """Also by a line that is no usable pin: it stored what answered, and removed the line."""
    before = line(f"[127.0.0.1]:{several.server.port}")
    several.file.write_text(before)

    done = several.customer.try_run("pin", "--yes")

    assert (done.returncode, done.stdout) == (76, "")
    assert "pinned: no usable key (line 1" in done.stderr
    assert several.file.read_text() == before


def test_a_person_is_told_that_the_jumphost_is_known(several: Several) -> None:
    several.file.write_text(KNOWN["cut off"](f"[127.0.0.1]:{several.server.port}"))

    with Terminal([*several.customer.command, "pin"], env=several.customer.environment) as person:
        person.expect("IS KNOWN ALREADY. Pinned until now: no usable key (line 1 of the pins says what was)")
        person.type("no")
        assert person.leave()[0] == 78


def test_what_was_pinned_meanwhile_is_not_replaced(several: Several) -> None:
    """Somebody pins the right key while the question is open."""
    with Terminal([*several.customer.command, "pin"], env=several.customer.environment) as person:
        person.expect("the fingerprint you were told)")
        before = several.pin(OTHER_ED_KEY)
        person.type("yes")
        person.expect("were changed meanwhile")
        assert person.leave()[0] == 78
    assert several.file.read_bytes() == before


def test_a_person_who_was_told_another_types_fingerprint(several: Several) -> None:
    with Terminal([*several.customer.command, "pin"], env=several.customer.environment) as person:
        person.expect(shown(ED_KEY))
        person.expect("the fingerprint you were told)")
        person.type(shown(ECDSA_KEY))
        person.expect("Pinned ")
        assert person.leave()[0] == 0
    assert several.pinned == (ECDSA_KEY.asbytes(),)


class LongKey(paramiko.Ed25519Key):  # type: ignore[misc]
    """A host key with a byte too many, which paramiko overlooks."""

    def asbytes(self) -> bytes:
        return bytes(super().asbytes() + b"x")


def test_what_is_no_key_is_not_pinned(tmp_path: Path) -> None:
    key = ed25519()
    key.__class__ = LongKey
    with ParamikoJumphost(lambda _number: [key]) as server:
        several = Several(tmp_path / "home", server)
        done = several.customer.try_run("pin", "--yes")

    assert done.returncode == 75
    assert "the ssh-ed25519 key has 1 bytes too many" in done.stderr
    assert not several.file.exists()


def test_a_short_rsa_key_is_not_pinned(tmp_path: Path) -> None:
    with ParamikoJumphost(lambda _number: [paramiko.RSAKey.generate(1024)]) as server:
        several = Several(tmp_path / "home", server)
        done = several.customer.try_run("pin", "--yes")

    assert done.returncode == 76
    assert "less than 2048 bits" in done.stderr
    assert not several.file.exists()


def test_nothing_is_pinned_beside_a_marker_that_cannot_be_read(several: Several) -> None:
    several.pin(ED_KEY)
    before = several.file.read_bytes() + b"@Revoked * ssh-ed25519 AAAA\n"
    several.file.write_bytes(before)

    done = several.customer.try_run("pin", "--fingerprint", shown(ECDSA_KEY))

    assert done.returncode == 78
    assert f"{several.file}, line 2: the marker @Revoked is not known" in done.stderr
    assert several.file.read_bytes() == before
    assert several.server.connections == 0
