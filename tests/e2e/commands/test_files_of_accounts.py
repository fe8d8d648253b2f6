"""What root's commands do to the files of other accounts: their owner and their keys stay theirs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.old_tunnels import OldTunnels
from tests.rigs.terminals import Terminal

from ioconnect.agent.process import launch
from ioconnect.config import configuration, pasted
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import Config, Tunnel
from ioconnect.config.paths import under
from ioconnect.custody import folder_lock
from ioconnect.errors import Fault, IdentityUnreadable
from ioconnect.importing import disable_sources, inherited_keys
from ioconnect.importing.plan import PlannedTunnel
from ioconnect.importing.source import FoundTunnel, Source, SourceKind
from ioconnect.keys import identity, known_hosts, private_keys, public_keys
from ioconnect.registration import api_token
from ioconnect.status import log_reader, snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the files of other accounts")

LINE = b"@reboot nobody autossh -N -R 40000:db:1 u@jump.example"
TUNNEL = Tunnel("orders", HostPort("jump.example", 40000), HostPort("localhost", 3306))
KEYS = [private_keys.generate(None)[1] for _ in range(3)]


@pytest.fixture
def theirs() -> Iterator[Path]:
    with ordinary_user.folder() as folder:
        yield folder


def owned(path: Path, mode: int) -> Path:
    path.touch()
    os.chown(path, ordinary_user.NOBODY, ordinary_user.NOBODY)
    path.chmod(mode)
    return path


def test_configuration_and_pins_stay_their_accounts(theirs: Path) -> None:
    config, pins = owned(theirs / "config.toml", 0o640), owned(theirs / "known_hosts", 0o600)

    configuration.save(config, Config(tunnels=(TUNNEL,)))
    known_hosts.pin(pins, "jump.example", 22, KEYS[:1])

    for path, mode in ((config, 0o640), (pins, 0o600)):
        facts = path.stat()
        assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o7777) == (*[ordinary_user.NOBODY] * 2, mode)


def test_a_crontab_of_another_account_does_not_become_roots_with_a_set_user_id_bit(
    theirs: Path, tmp_path: Path
) -> None:
    table = owned(theirs / "tunnel", 0o4755)
    table.write_bytes(LINE + b"\n")
    table.chmod(0o4755)

    disable_sources.disable(Source(SourceKind.SYSTEM_CRONTAB, str(table), path=table, line=LINE), tmp_path / "kept")

    assert table.read_bytes().startswith(b"# disabled")
    assert (table.stat().st_uid, table.stat().st_mode & 0o7777) == (ordinary_user.NOBODY, 0o755)


def test_a_key_that_a_link_of_another_account_leads_to_is_not_used(theirs: Path, tmp_path: Path) -> None:
    identity.generate(tmp_path / "id_ed25519")
    (theirs / "id_ed25519").symlink_to(tmp_path / "id_ed25519")

    with pytest.raises(IdentityUnreadable, match=f"is a link, and {theirs} belongs to nobody"):
        identity.load(theirs / "id_ed25519")


def started(theirs: Path, tmp_path: Path) -> None:
    paths = replace(under(tmp_path), log=theirs / "log" / "ioconnect.log")
    launch.start(paths, ["up"], wait=0, progress=str)


def locked(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (theirs / ".lock").hardlink_to(tmp_path / "x")
    with folder_lock.locked(theirs / "config.toml"):
        pass


def read_as_a_key(theirs: Path, _tmp_path: Path) -> None:
    identity.load(linked(theirs))


def read_as_a_token(theirs: Path, _tmp_path: Path) -> None:
    api_token.from_file(linked(theirs))


def read_as_a_log(theirs: Path, _tmp_path: Path) -> None:
    log_reader.last_lines(linked(theirs), 1)


def read_as_a_status(theirs: Path, _tmp_path: Path) -> None:
    snapshots.read(linked(theirs))


def linked(theirs: Path) -> Path:
    (theirs / "link").symlink_to("/etc/hostname")
    return theirs / "link"


@pytest.mark.parametrize(
    "use",
    [started, locked, read_as_a_key, read_as_a_token, read_as_a_log, read_as_a_status],
    ids=lambda use: use.__name__,
)
def test_the_hint_says_what_to_do_about_anothers_folder(
    theirs: Path, tmp_path: Path, use: Callable[[Path, Path], None]
) -> None:
    """Permissions and free space are not what is wrong."""
    with pytest.raises(Fault) as caught:
        use(theirs, tmp_path)

    assert "belongs to nobody" in caught.value.message
    assert caught.value.hint.startswith(("move it into", "Name what it leads to: ", "Name a copy of it: "))


def test_no_account_vouches_for_the_jumphost_of_another(tmp_path: Path) -> None:
    found = []
    for name, keys in (("alice", KEYS[:2]), ("bob", KEYS[1:])):
        known_hosts.pin(tmp_path / name / ".ssh" / "known_hosts", "jump.example", 22, keys)
        line = pasted.parse(
            "ssh -p 22 -R 40000:localhost:3306 u@jump.example", environ={"HOME": str(tmp_path / name)}
        )
        found.append(FoundTunnel(line, Source(SourceKind.TEXT, name), str(tmp_path / name)))
    tunnel = Tunnel("orders", HostPort("jump.example", 40000), HostPort("localhost", 3306), ssh_port=22)
    planned = PlannedTunnel(tunnel, tuple(found), is_new=True)

    (keys,) = inherited_keys.host_keys([planned], tmp_path / "pins").values()

    assert keys.blobs == (KEYS[1],)


# --- root imports a line whose known_hosts another account may change

JUMPHOST = "jump.example:50683"
FINGERPRINTS = [public_keys.fingerprint(key) for key in KEYS]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OldTunnels]:
    """Root's line, and a known_hosts of an account's with two keys of the jumphost."""
    machine = OldTunnels(tmp_path)
    machine.crontab = b"@reboot ssh -NR 40000:localhost:3306 -p 50683 u@jump.example\n"
    machine.known_hosts("\n".join(f"[jump.example]:50683 {public_keys.encode(key)}" for key in KEYS[:2]))
    os.chown(known_hosts_of(machine), ordinary_user.NOBODY, ordinary_user.NOBODY)
    yield machine
    machine.close()


def known_hosts_of(machine: OldTunnels) -> Path:
    return machine.root / "home" / ".ssh" / "known_hosts"


def pinned(machine: OldTunnels) -> tuple[bytes, ...]:
    return known_hosts.load(machine.home / "known_hosts").blobs_for("jump.example", 50683)


def keys_in(told: str) -> list[tuple[str, str, str | None, bool]]:
    """Return what --json tells of the tunnel's host keys."""
    (tunnel,) = json.loads(told)["tunnels"]
    return [(key["fingerprint"], key["file"], key["account"], key["taken_over"]) for key in tunnel["host_keys"]]


def test_yes_pins_no_key_that_another_account_may_have_chosen(machine: OldTunnels) -> None:
    done = machine.try_run("import", "--yes", "--json")

    assert done.returncode == 0
    assert pinned(machine) == ()
    for fingerprint in FINGERPRINTS[:2]:
        assert (
            f"Not pinned: {fingerprint} for {JUMPHOST}, from {known_hosts_of(machine)}, which nobody may change."
            in (" ".join(done.stderr.split()))
        )
    assert "ioconnect pin tunnel-40000" in done.stderr
    assert keys_in(done.stdout) == [
        (each, str(known_hosts_of(machine)), "nobody", False) for each in FINGERPRINTS[:2]
    ]


def test_a_person_is_asked_for_each_key_with_its_fingerprint_and_file(machine: OldTunnels) -> None:
    with Terminal([*machine.command, "import", "--json"], env=machine.environment, capture_stdout=True) as person:
        person.expect("Import this? (yes or no)")
        person.type("yes")
        for fingerprint, answer in zip(FINGERPRINTS, ("no", "yes"), strict=False):
            person.expect(f"Trust {fingerprint} for {JUMPHOST}? It is from {known_hosts_of(machine)}, which nobody")
            person.type(answer)
        person.expect("Disable this line")
        person.type("no")
        code, told = person.leave()

    assert code == 0
    assert pinned(machine) == (KEYS[1],)
    assert {(key[0], key[3]) for key in keys_in(told)} == {(FINGERPRINTS[0], False), (FINGERPRINTS[1], True)}


@pytest.mark.parametrize("owner", [0, ordinary_user.NOBODY])
def test_roots_file_counts_with_its_folder(machine: OldTunnels, owner: int) -> None:
    """Whoever may write in the folder may put another file there."""
    os.chown(known_hosts_of(machine), 0, 0)
    os.chown(known_hosts_of(machine).parent, owner, owner)

    done = machine.try_run("import", "--yes", "--json")

    assert pinned(machine) == (() if owner else tuple(KEYS[:2]))
    assert {(account, taken) for _, _, account, taken in keys_in(done.stdout)} == {
        ("nobody", False) if owner else (None, True)
    }


def test_a_key_that_roots_own_file_has_too_is_pinned(tmp_path: Path) -> None:
    theirs, own = (tmp_path / name / ".ssh" / "known_hosts" for name in ("theirs", "own"))
    found = []
    for file in (theirs, own):
        known_hosts.pin(file, "jump.example", 22, KEYS[:1])
        line = pasted.parse("ssh -p 22 -R 40000:localhost:3306 u@jump.example", environ={"HOME": "/"})
        found.append(FoundTunnel(line, Source(SourceKind.TEXT, "a line"), str(file.parents[1])))
    os.chown(theirs, ordinary_user.NOBODY, ordinary_user.NOBODY)
    tunnel = Tunnel("orders", HostPort("jump.example", 40000), HostPort("localhost", 3306), ssh_port=22)

    for order in (found, found[::-1]):
        planned = PlannedTunnel(tunnel, tuple(order), is_new=True)
        (keys,) = inherited_keys.host_keys([planned], tmp_path / "pins").values()

        assert (keys.blobs, keys.offered) == ((KEYS[0],), ())
        assert keys.taken[0].file == own


def test_a_users_own_file_is_taken_as_before(theirs: Path) -> None:
    """Whatever the folders on its path allow; another user's is offered only."""
    own, other = theirs / "own", theirs / "other"
    for file in (own, other):
        known_hosts.pin(file, "jump.example", 22, KEYS[:1])
        file.chmod(0o644)
    os.chown(own, ordinary_user.NOBODY, ordinary_user.NOBODY)
    os.chown(other, ordinary_user.NOBODY - 1, ordinary_user.NOBODY - 1)
    theirs.chmod(0o777)
    code = "from pathlib import Path; from ioconnect.importing.inherited_keys import _other_account as other; "

    told = ordinary_user.run("", f"{code}print([other(Path(name)) for name in ('{own}', '{other}')])")

    assert told == f"['', 'uid {ordinary_user.NOBODY - 1}']\n"


def inherited(home: Path) -> inherited_keys.HostKeys:
    """The host keys of a tunnel whose ssh line is run by the account with this home folder."""
    line = pasted.parse("ssh -p 22 -R 40000:localhost:3306 u@jump.example", environ={"HOME": str(home)})
    tunnel = Tunnel("orders", HostPort("jump.example", 40000), HostPort("localhost", 3306), ssh_port=22)
    found = FoundTunnel(line, Source(SourceKind.TEXT, "a line"), str(home))
    (keys,) = inherited_keys.host_keys([PlannedTunnel(tunnel, (found,), is_new=True)], home / "pins").values()
    return keys


@pytest.mark.parametrize("marker", ["@revoked", "@Revoked"])
def test_what_one_of_its_files_revokes_another_does_not_vouch_for(tmp_path: Path, marker: str) -> None:
    """ssh reads known_hosts and known_hosts2 as one; a line that may revoke any of its keys leaves none."""
    ssh = tmp_path / ".ssh"
    known_hosts.pin(ssh / "known_hosts", "jump.example", 22, KEYS[:2])
    assert inherited(tmp_path).blobs == tuple(KEYS[:2])

    (ssh / "known_hosts2").write_text(f"{marker} * {public_keys.encode(KEYS[0])}\n")

    assert inherited(tmp_path).blobs == ((KEYS[1],) if marker == "@revoked" else ())


def test_no_account_vouches_for_a_jumphost_that_is_known(tmp_path: Path) -> None:
    """Also by a line that is no pin."""
    known_hosts.pin(tmp_path / ".ssh" / "known_hosts", "jump.example", 22, KEYS[:1])
    (tmp_path / "pins").write_text(f"@revoked jump.example {public_keys.encode(KEYS[1])}\n")

    keys = inherited(tmp_path)

    assert (keys.blobs, keys.pinned) == ((), False)
    assert keys.description == "no usable key (line 1 of the pins says what was)"
