"""The identity: generated, checked and decrypted; against ssh-keygen where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.rigs import ordinary_user

from ioconnect.custody import mounts
from ioconnect.errors import CannotCreate, ExitCode, IdentityMissing, IdentityUnreadable, UsageFault
from ioconnect.keys import identity, private_keys
from ioconnect.keys.identity import generate, load, public_line

if TYPE_CHECKING:
    from pathlib import Path

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")

# Made by ssh-keygen -t ed25519 -C vector (OpenSSH 9.2); the second one with -N secret -a 2.
PLAIN = b"""-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBOLw+5y2rAyzH923pzv3sYxRUlIcg3a0d9Ulp3zRyxaAAAAJBBn7wyQZ+8
MgAAAAtzc2gtZWQyNTUxOQAAACBOLw+5y2rAyzH923pzv3sYxRUlIcg3a0d9Ulp3zRyxaA
AAAECUs1JJZgE+Tk4VgjCm9RIDKRTz6m+roPFj2Dmso62+tk4vD7nLasDLMf3benO/exjF
FSUhyDdrR31SWnfNHLFoAAAABnZlY3RvcgECAwQFBgc=
-----END OPENSSH PRIVATE KEY-----
"""
ENCRYPTED = b"""-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABB6uydSwb
IDbdGZo5ZOCee6AAAAAgAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIKPbT9ST8fU2bfMG
RJQim+oxlHSIl8zPFbDOqx9wrPoUAAAAkE4vcNIiari6dsswUFBJNJP9I5iaYsqQmJ6vtq
OzVGX/HSs0ki0bQOEn5OehNs5c6TtW2HCw/FzwcsFzUrke+01GnVeZq7mc9z/y1prxOuNQ
S9wGZ9pdp0mtg+ekpPRMfPQ/pBMQd7FrK0B2EHWsL9vZ6KNuQsfggAceHi28UFUfm3rAZK
h6pYlGC1lQF4nuoA==
-----END OPENSSH PRIVATE KEY-----
"""
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE4vD7nLasDLMf3benO/exjFFSUhyDdrR31SWnfNHLFo"
FINGERPRINT = "SHA256:t1qhcsDEl1k5UYFlBHKoy3suHmzUhOZBEnmQggDyUoU"


def ssh_keygen(*arguments: str) -> str:
    done = subprocess.run(
        ["ssh-keygen", *arguments], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(path: Path, content: bytes, *, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def blob_in(private: bytes) -> str:
    """Return the public line of an unencrypted private key (whose bytes differ from one writing to the next)."""
    key = serialization.load_ssh_private_key(private, None).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def refusal(path: Path, **given: object) -> IdentityUnreadable:
    with pytest.raises(IdentityUnreadable) as caught:
        load(path, **given)  # type: ignore[arg-type]
    assert str(path) in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.NO_INPUT
    return caught.value


def test_a_new_key_has_its_format_modes_and_comment(tmp_path: Path) -> None:
    path = tmp_path / "new" / "id_ed25519"

    line, made = generate(path)

    assert made
    assert line.split()[0] == "ssh-ed25519"
    assert line.split(" ", 2)[2] == "integrateio-reverse-tunnel"
    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert path.stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o700
    assert path.with_name("id_ed25519.pub").read_text() == f"{line}\n"
    assert path.with_name("id_ed25519.pub").stat().st_mode & 0o7777 == 0o644
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["id_ed25519", "id_ed25519.pub"]


def test_two_keys_differ(tmp_path: Path) -> None:
    assert generate(tmp_path / "a")[0] != generate(tmp_path / "b")[0]


def test_made_again_it_is_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "id"
    line, _ = generate(path, comment="mine")
    before = path.read_bytes()

    assert generate(path, comment="another") == (line, False)
    assert path.read_bytes() == before


def test_force_makes_another(tmp_path: Path) -> None:
    path = tmp_path / "id"
    line, _ = generate(path)

    other, made = generate(path, force=True)

    assert made
    assert other != line
    assert public_line(path) == other
    assert path.with_name("id.pub").read_text() == f"{other}\n"


@pytest.mark.parametrize("passphrase", [None, "secret"])
@pytest.mark.parametrize("wrong", [None, b"ssh-ed25519 AAAA other\n", b"\xff"])
def test_a_public_half_that_is_lost_or_wrong_comes_back(
    tmp_path: Path, wrong: bytes | None, passphrase: str | None
) -> None:
    """Only its comment is gone; a passphrase is not needed for it."""
    path = tmp_path / "id"
    line, _ = generate(path, passphrase=passphrase)
    public = path.with_name("id.pub")
    public.unlink()
    if wrong is not None:
        public.write_bytes(wrong)
    bare = " ".join(line.split()[:2])

    assert public_line(path) == bare
    assert generate(path) == (bare, False)
    assert public.read_text() == f"{bare}\n"


def test_a_comment_of_several_lines_or_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    for bad in ({"comment": "a\nb"}, {"comment": "\x1b[2J"}, {"passphrase": ""}):
        with pytest.raises(UsageFault):
            generate(tmp_path / "id", **bad)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_comment_may_be_empty_or_have_blanks(tmp_path: Path) -> None:
    assert len(generate(tmp_path / "a", comment="")[0].split()) == 2
    assert generate(tmp_path / "b", comment="Jörg's key")[0].endswith(" Jörg's key")
    assert public_line(tmp_path / "b").endswith(" Jörg's key")


def test_what_exists_and_is_no_key_is_not_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path / "id", b"precious")

    with pytest.raises(IdentityUnreadable, match="is not a private key"):
        generate(path)
    assert path.read_bytes() == b"precious"
    with pytest.raises(IdentityUnreadable, match="it is a folder"):
        generate(tmp_path)
    with pytest.raises(CannotCreate):
        generate(tmp_path, force=True)


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(IdentityMissing):
        generate(path)
    assert not (tmp_path / "elsewhere").exists()


@needs_ssh_keygen
@pytest.mark.parametrize("passphrase", [None, "pass phrase ü"])
def test_ssh_keygen_reads_what_we_make(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "id"
    line, _ = generate(path, passphrase=passphrase)

    derived = ssh_keygen("-y", "-P", passphrase or "", "-f", str(path))

    assert derived.split()[:2] == line.split()[:2]
    assert ssh_keygen("-l", "-f", str(path) + ".pub").split()[1] == identity.fingerprint(line)


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("passphrase", "cipher"),
    [("", None)] + [("secret", name) for name in ("aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com")],
)
def test_we_read_what_ssh_keygen_makes(tmp_path: Path, passphrase: str, cipher: str | None) -> None:
    path = tmp_path / "id"
    options = ["-Z", cipher] if cipher else []
    ssh_keygen("-q", "-t", "ed25519", "-N", passphrase, "-a", "2", *options, "-C", "c d", "-f", str(path))

    plain = load(path, passphrase=lambda: passphrase)

    assert public_line(path) == path.with_name("id.pub").read_text().strip()
    assert generate(path) == (public_line(path), False)
    copy = written(tmp_path / "copy", plain)
    assert ssh_keygen("-y", "-P", "", "-f", str(copy)).split()[:2] == public_line(path).split()[:2]


@needs_ssh_keygen
def test_a_cipher_that_cannot_be_read_is_not_taken_for_a_wrong_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "id"
    ssh_keygen(
        "-q", "-t", "ed25519", "-N", "secret", "-a", "2", "-Z", "chacha20-poly1305@openssh.com", "-f", str(path)
    )

    fault = refusal(path, passphrase=lambda: "secret")

    assert "is encrypted with a cipher that cannot be read here" in fault.message
    assert "aes256-ctr" in fault.hint


@needs_ssh_keygen
@pytest.mark.parametrize(("kind", "name"), [("rsa", "ssh-rsa"), ("ecdsa", "ecdsa-sha2-nistp256")])
@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_a_key_of_another_type_is_named(tmp_path: Path, kind: str, name: str, passphrase: str) -> None:
    """Its type is known without its passphrase, so that is not asked for."""
    path = tmp_path / "id"
    ssh_keygen("-q", "-t", kind, "-N", passphrase, "-a", "2", "-f", str(path))

    assert f"is an {name} key; only ssh-ed25519 is accepted" in refusal(path).message
    with pytest.raises(IdentityUnreadable, match=name):
        public_line(path)


def foreign_keys() -> list[tuple[str, bytes]]:
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    traditional, pkcs8 = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8
    key = Ed25519PrivateKey.generate()
    locked = serialization.BestAvailableEncryption(b"x")
    return [
        ("RSA", rsa.generate_private_key(65537, 2048).private_bytes(encoding, traditional, plain)),
        ("DSA", dsa.generate_private_key(1024).private_bytes(encoding, traditional, plain)),
        ("ECDSA", ec.generate_private_key(ec.SECP256R1()).private_bytes(encoding, traditional, plain)),
        ("PKCS#8", key.private_bytes(encoding, pkcs8, plain)),
        ("PKCS#8", key.private_bytes(encoding, pkcs8, locked)),
        ("PuTTY", b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"),
    ]


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_key_in_another_format_is_named(tmp_path: Path) -> None:
    for name, content in foreign_keys():
        assert name in refusal(written(tmp_path / name, content)).message


def test_the_fixed_vectors_open(tmp_path: Path) -> None:
    plain, locked = written(tmp_path / "plain", PLAIN), written(tmp_path / "locked", ENCRYPTED)

    assert public_line(plain) == PUBLIC
    assert identity.fingerprint(PUBLIC) == FINGERPRINT
    assert blob_in(load(plain)) == PUBLIC
    assert blob_in(load(locked, passphrase=lambda: "secret")) == public_line(locked)


def test_a_missing_key_leads_to_keygen(tmp_path: Path) -> None:
    for path in (tmp_path / "id", written(tmp_path / "file", b"") / "id"):
        with pytest.raises(IdentityMissing) as caught:
            load(path)
        assert "ioconnect keygen" in caught.value.hint
        assert caught.value.exit_code is ExitCode.NO_INPUT


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_can_read_is_refused_unless_systemd_guards_it(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "id", PLAIN, mode=mode)

    fault = refusal(path)

    assert fault.message == f"others can read the private key {path} (mode 0{mode:o})"
    assert fault.hint == f"chmod 600 {path}"
    assert load(path, credential=True).startswith(b"-----BEGIN OPENSSH")


def test_nobody_is_told_to_close_what_is_no_key(tmp_path: Path) -> None:
    """A script that root imported named /etc/passwd as its key, and the hint was `chmod 600 /etc/passwd`."""
    fault = refusal(written(tmp_path / "passwd", b"root:x:0:0::/root:/bin/sh\n", mode=0o644))

    assert "private key" in fault.message
    assert "chmod" not in fault.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root judges who leads a path")
def test_root_gets_no_command_for_what_was_replaced_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    path = written(tmp_path / "theirs" / "id", PLAIN, mode=0o644)
    for each in (path.parent, path):
        os.chown(each, ordinary_user.NOBODY, ordinary_user.NOBODY)
    parse = private_keys.parse

    def replacing(content: bytes) -> object:
        path.unlink()
        path.symlink_to("/etc/passwd")
        os.lchown(path, ordinary_user.NOBODY, ordinary_user.NOBODY)
        return parse(content)

    monkeypatch.setattr(private_keys, "parse", replacing)

    assert (
        refusal(path).hint
        == f"its owner is to close it (mode 0600), and not root, as {path.parent} belongs to nobody"
    )


VERSION = "..2026_11_26_20_00_00.123"
TMPFS = "/ {} ro,relatime - tmpfs tmpfs rw"
SECRETS = [
    (TMPFS, VERSION, 0o644, True),
    (TMPFS, VERSION, 0o440, True),
    (f"/{VERSION}/id {{}}/id ro - tmpfs tmpfs rw", None, 0o440, True),  # subPath
    ("/ {} rw - tmpfs tmpfs rw", VERSION, 0o644, False),
    (TMPFS, VERSION, 0o660, False),
    (TMPFS, None, 0o644, False),  # /run, for a service of systemd
    (TMPFS, "elsewhere", 0o644, False),
    ("/some/folder {} ro - tmpfs tmpfs rw", VERSION, 0o644, False),
    ("/ {} ro - ext4 /dev/sda1 rw", VERSION, 0o644, False),  # docker run -v KEY:KEY:ro
]


def mounted(path: Path, fields: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the folder be a mount, by the kernel's table."""
    table = path / "mountinfo"
    table.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:1 {fields.format(path)}\n")
    monkeypatch.setattr(mounts, "_MOUNTS", table)


@pytest.mark.skipif(os.geteuid() != 0, reason="the kubelet is root")
@pytest.mark.parametrize(("fields", "data", "mode", "taken"), SECRETS)
def test_a_secret_of_kubernetes_is_taken_with_a_warning(  # noqa: PLR0917  pytest names them
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fields: str,
    data: str | None,
    mode: int,
    *,
    taken: bool,
) -> None:
    path = written(tmp_path / "id", PLAIN, mode=mode)
    (tmp_path / "link").symlink_to(path)
    mounted(tmp_path, fields, monkeypatch)
    if data is not None:
        (tmp_path / "..data").symlink_to(data)

    if not taken:
        assert "others can read" in refusal(path).message
        return
    assert blob_in(load(tmp_path / "link")) == blob_in(load(tmp_path / "link")) == PUBLIC
    assert len(caplog.messages) == 1
    assert "others in this container may read the private key" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
@pytest.mark.parametrize("name", ["..data", "id"])
def test_what_another_account_made_is_no_secret_of_kubernetes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = written(tmp_path / "id", PLAIN, mode=0o644)
    mounted(tmp_path, TMPFS, monkeypatch)
    (tmp_path / "..data").symlink_to(VERSION)
    assert blob_in(load(path)) == PUBLIC

    os.chown(tmp_path / name, ordinary_user.NOBODY, -1, follow_symlinks=False)

    assert "others can read" in refusal(path).message


POD = "KUBERNETES_SERVICE_HOST"


def test_what_fs_group_did_to_a_key_of_ours_is_undone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod's second start found its key 0660, and its agent did not start."""
    monkeypatch.setenv(POD, "10.0.0.1")
    path = written(tmp_path / "id", PLAIN, mode=0o660)
    tmp_path.chmod(0o2770)

    assert blob_in(load(path, own=True)) == PUBLIC

    assert path.stat().st_mode & 0o7777 == 0o600
    assert "could read the private key" in caplog.text
    path.chmod(0o664)
    assert "others can read" in refusal(path, own=True).message


@pytest.mark.parametrize("case", ["no pod", "another's key", "no key", "a link", "no fsGroup"])
def test_the_mode_of_nothing_else_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """It was changed of a database's file that a script named after `-i`, whose group is to write it."""
    monkeypatch.delenv(POD, raising=False)
    if case != "no pod":
        monkeypatch.setenv(POD, "10.0.0.1")
    path = named = written(tmp_path / "data.db", b"precious" if case == "no key" else PLAIN, mode=0o660)
    tmp_path.chmod(0o770 if case == "no fsGroup" else 0o2770)
    if case == "a link":
        named = tmp_path / "id"
        named.symlink_to(path)

    refusal(named, own=case != "another's key")

    assert path.stat().st_mode & 0o7777 == 0o660


def test_a_key_that_turns_into_links_in_a_circle_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was resolved by its name after it had been read: RuntimeError."""
    monkeypatch.setenv(POD, "10.0.0.1")
    path = written(tmp_path / "id", PLAIN, mode=0o644)
    read = identity.read_opened

    def exchanged(*given: Any, **named: Any) -> bytes:
        content = read(*given, **named)
        path.unlink()
        path.symlink_to(path)
        return content

    monkeypatch.setattr(identity, "read_opened", exchanged)

    assert "others can read" in refusal(path, own=True).message


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_that_only_we_can_read_is_taken_also_through_a_link(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "id", PLAIN, mode=mode)
    (tmp_path / "link").symlink_to(path)

    assert blob_in(load(tmp_path / "link")) == PUBLIC


AS_ORDINARY_USER = """
for act in (lambda: identity.load(path), lambda: identity.generate(path)):
    try:
        act()
        print("taken")
    except errors.Fault as error:
        print(type(error).__name__, error.message)
"""
IMPORTS = "from pathlib import Path; from ioconnect import errors; from ioconnect.keys import identity\n" + "\n".join(
    f"import {module}"
    for module in (
        "cryptography.hazmat.primitives.serialization",
        "cryptography.hazmat.primitives.asymmetric.ed25519",
        "bcrypt",
    )
)


def test_a_key_that_may_not_be_read_says_so() -> None:
    with ordinary_user.folder() as folder:
        path = written(folder / "id", PLAIN, mode=0)
        if os.geteuid() == 0:
            os.chown(path, 0, 0)
        shown = ordinary_user.run(IMPORTS, f"path = Path({str(path)!r})" + AS_ORDINARY_USER)

    assert shown.splitlines() == [f"IdentityUnreadable cannot read the private key {path}: Permission denied"] * 2


def test_a_key_cannot_be_made_in_a_read_only_folder_but_is_shown_there() -> None:
    with ordinary_user.folder() as folder:
        path = folder / "id"
        folder.chmod(0o555)
        code = f"path = Path({str(path)!r})" + AS_ORDINARY_USER
        empty = ordinary_user.run(IMPORTS, code)
        folder.chmod(0o755)
        written(path, PLAIN)
        if os.geteuid() == 0:
            os.chown(path, ordinary_user.NOBODY, ordinary_user.NOBODY)
        folder.chmod(0o555)
        there = ordinary_user.run(IMPORTS, code)
        names = [entry.name for entry in folder.iterdir()]

    assert empty.splitlines() == [
        f"IdentityMissing there is no private key at {path}",
        f"CannotCreate cannot write {path}: Permission denied",
    ]
    assert there.splitlines() == ["taken", "taken"]
    assert names == ["id"]


def test_a_full_disk_leaves_no_key(tmp_path: Path) -> None:
    code = (
        IMPORTS
        + """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    identity.generate(Path(sys.argv[1]))
except errors.CannotCreate as error:
    print(error.message)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "id")], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == f"cannot write {tmp_path / 'id'}: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_is_asked_for_only_when_needed(tmp_path: Path) -> None:
    locked, plain = written(tmp_path / "locked", ENCRYPTED), written(tmp_path / "plain", PLAIN)
    asked: list[str] = []

    def answer() -> str:
        asked.append("")
        return "secret"

    load(plain, passphrase=answer)
    assert asked == []
    load(locked, passphrase=answer)
    assert asked == [""]


def test_without_or_with_a_wrong_passphrase_it_says_which(tmp_path: Path) -> None:
    path = written(tmp_path / "id", ENCRYPTED)

    assert "needs a passphrase" in refusal(path).message
    for wrong in ("Secret", "", "\udcff", "ü" * 100):
        assert "does not open with this passphrase" in refusal(path, passphrase=lambda wrong=wrong: wrong).message


def test_what_the_passphrase_raises_goes_through(tmp_path: Path) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(written(tmp_path / "id", ENCRYPTED), passphrase=interrupted)


def test_a_public_key_in_its_place_is_recognised(tmp_path: Path) -> None:
    fault = refusal(written(tmp_path / "id.pub", PUBLIC.encode()))

    assert "is a public key, not the private one" in fault.message
    assert str(tmp_path / "id") in fault.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"hello", "is not a private key"),
        (b"\x00\xff" * 100, "is not a private key"),
        (PLAIN[:20], "is truncated"),
        (PLAIN[:200], "is truncated"),
        (PLAIN.rstrip()[:-2], "is truncated"),
        (PLAIN.replace(b"\nb3Bl", b"\n!!!!"), "is damaged"),
        (PLAIN.replace(b"\nb3Bl", b"\nAAAA"), "is damaged"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n", "is damaged"),
        (b"x" * 100_000, "larger than"),
    ],
)
def test_a_damaged_key_says_how(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(written(tmp_path / "id", content)).message


def test_windows_line_ends_and_blanks_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path / "id", PLAIN.replace(b"\n", b"\r\n") + b"\n\n")

    assert blob_in(load(path)) == PUBLIC


def test_a_pipe_or_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    assert "not a regular file" in refusal(tmp_path / "pipe").message
    assert "it is a folder" in refusal(tmp_path).message


@given(st.data())
def test_no_damage_at_all_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any bytes of a key changed, lost or added: it opens, or is refused in words."""
    whole = bytearray(data.draw(st.sampled_from([PLAIN, ENCRYPTED])))
    at = data.draw(st.integers(0, len(whole)))
    whole[at : at + data.draw(st.integers(0, 4))] = data.draw(
        st.binary(max_size=4) | st.text("AZaz09+/=", max_size=4).map(str.encode)
    )
    path = written(tmp_path_factory.getbasetemp() / "damaged", bytes(whole))

    try:
        assert load(path, passphrase=lambda: "secret").startswith(b"-----BEGIN OPENSSH")
    except IdentityUnreadable as error:
        assert error.message.isprintable()  # noqa: PT017  a change of blanks leaves it whole


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-rsa " + PUBLIC.split()[1], "ssh-ed25519 AAAA", "ssh-ed25519 é", PUBLIC[:-8]]
)
def test_what_is_no_public_line_has_no_fingerprint(line: str) -> None:
    with pytest.raises(UsageFault, match="not a public key line"):
        identity.fingerprint(line)
