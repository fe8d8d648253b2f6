"""Pinned host keys: known_hosts parsed, checked and written; against ssh-keygen where it is installed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.rigs import ordinary_user

from ioconnect.errors import ConfigInvalid, ExitCode
from ioconnect.keys import known_hosts, public_keys
from ioconnect.keys.known_hosts import HostKeyStatus, UnreadableMarker, line, load, name_for, parse, pin
from ioconnect.keys.public_keys import fingerprint, key_type

if TYPE_CHECKING:
    from pathlib import Path

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")

JUMP = "virginia-tunnel.flydata.app"
PORT = 50683


def strings(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def ed25519(number: int) -> bytes:
    return strings(b"ssh-ed25519", bytes([number]) * 32)


ONE, TWO, THREE = ed25519(1), ed25519(2), ed25519(3)
RSA = strings(b"ssh-rsa", b"\1\0\1", b"\0" + b"\xaa" * 256)
ECDSA = strings(b"ecdsa-sha2-nistp256", b"nistp256", b"\4" + b"\xbb" * 64)


def entry(hosts: str, blob: bytes, *, marker: str = "", comment: str = "") -> str:
    return f"{marker} {hosts} {public_keys.encode(blob)} {comment}".strip() + "\n"


def hashed(name: str, salt: bytes = b"s" * 20) -> str:
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def status(text: str, blob: bytes = ONE, *, host: str = JUMP, port: int = PORT) -> HostKeyStatus:
    pins = parse(text.encode())
    assert pins.warnings == ()
    return pins.check(host, port, blob)


def test_a_host_that_nobody_knows_is_unpinned() -> None:
    assert status("") is HostKeyStatus.UNPINNED
    assert status(entry(f"[other.example]:{PORT}", ONE)) is HostKeyStatus.UNPINNED
    assert status(entry(f"[{JUMP}]:22", ONE)) is HostKeyStatus.UNPINNED
    assert status(entry(JUMP, ONE)) is HostKeyStatus.UNPINNED, "a name without a port is port 22's"


def test_a_pinned_key_is_ok_and_another_is_a_change() -> None:
    text = entry(f"[{JUMP}]:{PORT}", ONE)

    assert status(text) is HostKeyStatus.OK
    assert status(text, TWO) is HostKeyStatus.CHANGED
    assert status(text, RSA) is HostKeyStatus.CHANGED, "a key of another type vouches for nothing"


def test_several_keys_of_one_type_and_several_types_are_all_good() -> None:
    text = "".join(entry(f"[{JUMP}]:{PORT}", blob) for blob in (TWO, ONE, RSA, ECDSA, ONE))

    assert all(status(text, blob) is HostKeyStatus.OK for blob in (ONE, TWO, RSA, ECDSA))
    assert status(text, THREE) is HostKeyStatus.CHANGED
    pins = parse(text.encode())
    assert pins.blobs_for(JUMP, PORT) == (TWO, ONE, RSA, ECDSA)
    assert pins.types_for(JUMP, PORT) == ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256")
    assert pins.fingerprints_for(JUMP, PORT) == tuple(map(fingerprint, (TWO, ONE, RSA, ECDSA)))
    assert pins.blobs_for("other", PORT) == pins.types_for("other", PORT) == ()


@pytest.mark.parametrize("order", [1, -1])
def test_a_revoked_key_is_never_good_whatever_else_is_said(order: int) -> None:
    lines = [entry(f"[{JUMP}]:{PORT}", ONE), entry("*", ONE, marker="@revoked"), entry(f"[{JUMP}]:{PORT}", TWO)]
    text = "".join(lines[::order])

    assert status(text) is HostKeyStatus.REVOKED
    assert status(text, TWO) is HostKeyStatus.OK
    assert parse(text.encode()).blobs_for(JUMP, PORT) == (TWO,)
    assert status(entry("*", ONE, marker="@revoked"), TWO) is HostKeyStatus.UNPINNED


def test_a_key_revoked_for_another_host_is_no_concern() -> None:
    text = entry(f"[{JUMP}]:{PORT}", ONE) + entry("[elsewhere]:1", ONE, marker="@revoked")

    assert status(text) is HostKeyStatus.OK


def test_an_authority_vouches_for_certificates_not_for_keys() -> None:
    assert status(entry("*", ONE, marker="@cert-authority")) is HostKeyStatus.UNPINNED


@pytest.mark.parametrize(
    ("hosts", "matches"),
    [
        (f"[{JUMP}]:{PORT}", True),
        (f"[{JUMP.upper()}]:{PORT}", True),
        (f"a.example,[{JUMP}]:{PORT},[::1]:22", True),
        ("*", True),
        ("[*.flydata.app]:50683", True),
        ("[virginia-tunnel.flydata.app]:*", True),
        ("[virginia?tunnel.flydata.app]:50683", True),
        ("*.flydata.app", False),
        ("[*.flydata.app]:5068", False),
        ("[?virginia-tunnel.flydata.app]:50683", False),
        (f"*,![{JUMP}]:{PORT}", False),
        (f"![{JUMP}]:{PORT},*", False),
        ("![other]:1,*", True),
        ("![other]:1", False),
        (f"[{JUMP}]:{PORT}x", False),
        ("[v-z]irginia", False),
        ("", False),
    ],
)
def test_patterns_are_openssh_s(hosts: str, matches: bool) -> None:  # noqa: FBT001  a table's column
    found = parse(entry(hosts or ",", ONE).encode()).check(JUMP, PORT, ONE)

    assert (found is HostKeyStatus.OK) is matches


def test_hashed_names_are_found() -> None:
    text = entry(hashed(f"[{JUMP}]:{PORT}"), ONE)

    assert status(text) is HostKeyStatus.OK
    assert status(text, host=JUMP.upper()) is HostKeyStatus.OK
    assert status(text, port=22) is HostKeyStatus.UNPINNED


@pytest.mark.parametrize("hosts", [JUMP, f"[{JUMP}]:22", hashed(JUMP), hashed(f"[{JUMP}]:22"), "*.app"])
def test_at_port_22_the_name_may_stand_alone(hosts: str) -> None:
    assert status(entry(hosts, ONE), port=22) is HostKeyStatus.OK


def test_many_stars_take_no_time() -> None:
    """Sixty stars would take a backtracking matcher longer than the universe has."""
    assert status(entry("*a" * 60 + "b", ONE), host="a" * 250) is HostKeyStatus.UNPINNED


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("jump ssh-ed25519", "HOST TYPE KEY"),
        ("jump", "HOST TYPE KEY"),
        ("jump ssh-rsa " + public_keys.encode(ONE).split()[1], "not the one written"),
        ("jump ssh-ed25519 AAAA!", "base64"),
        ("jump ssh-ed25519 é", "base64"),
        ("jump " + public_keys.encode(ONE)[:-4], "truncated"),
        ("jump " + public_keys.encode(ONE)[:-3], "base64"),
        ("jump ssh-ed25519 " + base64.b64encode(ONE + b"x").decode(), "too many"),
        ("jump ssh-ed25519 " + base64.b64encode(strings(b"ssh-ed25519", b"short")).decode(), "5 bytes"),
        ("|2|a|b " + public_keys.encode(ONE), "not known"),
        ("|1|a " + public_keys.encode(ONE), "not known"),
        ("|1|é|é " + public_keys.encode(ONE), "base64"),
        ("|1|AAAA|AAAA " + public_keys.encode(ONE), "length"),
        ("1024 35 1234567890 old@ssh1", "base64"),
        ("\x1b]0;title\x07 a b", "base64"),
    ],
)
def test_a_line_that_makes_no_sense_is_left_out_with_a_warning(broken: str, said: str) -> None:
    text = f"# ours\n\n{broken}\n" + entry(f"[{JUMP}]:{PORT}", ONE)

    pins = parse(text.encode())

    (warning,) = pins.warnings
    assert warning.startswith("line 3 is left out: ")
    assert said in warning
    assert warning.isprintable()
    assert pins.check(JUMP, PORT, ONE) is HostKeyStatus.OK


KEY = public_keys.encode(ONE)


@pytest.mark.parametrize(
    "line",
    [
        f"@Revoked [{JUMP}]:{PORT} {KEY}",
        f"@REVOKED * {KEY}",
        f"@revoke * {KEY}",
        f"@revoked\xa0* {KEY}",
        f"\ufeff@revoked * {KEY}",
        f"@revoked * {KEY[:-4]}",
        f"@revoked * {KEY[:-1]}",
        f"@revoked {KEY}",
        f"@revoked * ssh-rsa {KEY.split()[1]}",
        f"@revoked |2|a|b {KEY}",
        f"@trusted jump {KEY}",
        f"[{JUMP}]:{PORT} @revoked {KEY}",
        f"* revoked {KEY}",
        "@revoked",
    ],
)
def test_what_may_be_a_revocation_is_not_passed_over(tmp_path: Path, line: str) -> None:
    """It is not known which key it means, so none is trusted; which line it is, is said."""
    path = tmp_path / "known_hosts"
    path.write_text(entry(f"[{JUMP}]:{PORT}", ONE) + line + "\n" + entry(f"[{JUMP}]:{PORT}", TWO), encoding="utf-8")

    with pytest.raises(ConfigInvalid) as caught:
        load(path)

    assert f"no host key is trusted: {path}, line 2: " in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("hosts", [JUMP, JUMP.upper(), f"{JUMP}:{PORT}", f"[{JUMP}]", "*.app", hashed(JUMP)])
def test_a_key_is_revoked_however_the_host_is_written(hosts: str) -> None:
    """ssh looks a host up without its port too; and nobody notices that sshd(8) wants brackets."""
    text = entry(f"[{JUMP}]:{PORT}", ONE) + entry(hosts, ONE, marker="@revoked")

    assert status(text) is HostKeyStatus.REVOKED
    assert parse(text.encode()).blobs_for(JUMP, PORT) == ()
    assert status(entry(f"[{JUMP}]:{PORT}", ONE) + entry(f"*,![{JUMP}]:{PORT}", ONE, marker="@revoked")) is (
        HostKeyStatus.OK
    )


@pytest.mark.parametrize(
    "hosts",
    [f"{JUMP},!other", f"!other,{JUMP}", f"{JUMP.upper()},!*.example", f"[{JUMP}],!{JUMP}", f"*.app,![{JUMP}]:22"],
)
def test_an_exception_for_another_host_leaves_the_revocation(hosts: str) -> None:
    """Any "!" in the field switched the names without a port off."""
    text = entry(f"[{JUMP}]:{PORT}", ONE) + entry(hosts, ONE, marker="@revoked")

    assert status(text) is HostKeyStatus.REVOKED


@pytest.mark.parametrize("hosts", [f"*,![{JUMP}]:*", f"*.app,!{JUMP}", f"{JUMP},!{JUMP}"])
def test_an_exception_for_this_host_is_one(hosts: str) -> None:
    assert status(entry(f"[{JUMP}]:{PORT}", ONE) + entry(hosts, ONE, marker="@revoked")) is HostKeyStatus.OK


@pytest.mark.parametrize("hosts", [f"*,!{JUMP}", f"[*]:22,{JUMP},!{JUMP}", f"{JUMP},*,![{JUMP}]:22"])
def test_at_port_22_an_exception_holds_for_both_names(hosts: str) -> None:
    """A pin was one by the name that it did not except."""
    assert status(entry(hosts, ONE), port=22) is HostKeyStatus.UNPINNED


SHORT_RSA = strings(b"ssh-rsa", b"\1\0\1", b"\0" + b"\xc3" * 128)


@pytest.mark.parametrize(
    "line",
    [
        entry(f"[{JUMP}]:{PORT}", ONE),
        entry(hashed(f"[{JUMP}]:{PORT}"), ONE),
        entry("*.app", ONE),
        entry(JUMP, ONE),
        entry(f"[{JUMP}]:{PORT}", ONE, marker="@revoked"),
        entry("*", ONE, marker="@revoked"),
        entry(f"[{JUMP}]:{PORT}", ONE, marker="@cert-authority"),
        entry(f"[{JUMP}]:{PORT}", SHORT_RSA),
        entry(f"[{JUMP}]:{PORT}", ONE)[:-9],
        f"{JUMP} 2048 35 1234567890",
        f"[{JUMP}]:{PORT}\x0b{public_keys.encode(ONE)}",
        "|2|a|b " + public_keys.encode(ONE),
    ],
)
def test_every_line_about_a_host_is_known(line: str) -> None:
    """A host is only new if there is none: what cannot be used now was somebody's word once."""
    text = f"# nothing\n{entry('[other.example]:1', ONE)}{line}"

    assert parse(text.encode()).mentions(JUMP, PORT) == (3,)
    assert parse(text.encode()).mentions(JUMP.upper(), PORT) == (3,)


@pytest.mark.parametrize("line", ["", f"# [{JUMP}]:{PORT}", entry(f"[{JUMP}]:22", ONE), entry("*,![*.app]:*", ONE)])
def test_no_line_about_a_host(line: str) -> None:
    assert parse(line.encode()).mentions(JUMP, PORT) == ()


def test_what_is_about_a_host_says_the_same_of_it() -> None:
    lines = [
        entry(f"[{JUMP}]:{PORT}", ONE),
        entry(hashed(f"[{JUMP}]:{PORT}"), TWO),
        entry(JUMP, TWO, marker="@revoked"),
        entry("[other]:1", THREE),
        entry(f"[{JUMP}]:{PORT}", ONE)[:-9],
    ]
    pins = parse("".join(lines).encode())
    few = pins.about(JUMP, PORT)

    assert len(few.entries) == 3
    assert few.warnings == pins.warnings != ()
    for blob in (ONE, TWO, THREE):
        assert few.check(JUMP, PORT, blob) is pins.check(JUMP, PORT, blob)
    assert few.blobs_for(JUMP, PORT) == pins.blobs_for(JUMP, PORT) == (ONE,)


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u2028", "\r"])
def test_only_blanks_and_tabs_separate(tmp_path: Path, separator: str) -> None:
    """Reading and pinning see the same words and lines, OpenSSH's."""
    path = tmp_path / "known_hosts"
    path.write_text(f"[{JUMP}]:{PORT}{separator}{KEY}\n", encoding="utf-8", newline="")
    before = path.read_bytes()

    assert load(path).blobs_for(JUMP, PORT) == ()
    pin(path, JUMP, PORT, [TWO])
    assert path.read_bytes() == before + line(JUMP, PORT, TWO).encode() + b"\n"


@pytest.mark.parametrize(("bits", "expected"), [(1024, HostKeyStatus.TOO_SHORT), (2047, HostKeyStatus.TOO_SHORT)])
def test_a_short_rsa_key_is_no_pin(bits: int, expected: HostKeyStatus) -> None:
    modulus = (1 << (bits - 1) | 1).to_bytes(bits // 8 + 1, "big")
    short = strings(b"ssh-rsa", b"\1\0\1", modulus)

    pins = parse(entry(f"[{JUMP}]:{PORT}", short).encode())

    assert pins.check(JUMP, PORT, short) is expected
    assert pins.check(JUMP, PORT, ONE) is HostKeyStatus.UNPINNED
    assert pins.blobs_for(JUMP, PORT) == ()
    assert pins.warnings == ("line 1 is left out: an RSA key of less than 2048 bits",)
    assert parse(entry(f"[{JUMP}]:{PORT}", RSA).encode()).check(JUMP, PORT, RSA) is HostKeyStatus.OK


def test_tabs_blanks_comments_and_windows_line_ends_do_no_harm() -> None:
    text = f"  # x\r\n\t[{JUMP}]:{PORT}\t{public_keys.encode(ONE).replace(' ', '   ')}   a comment here\r\n"

    assert status(text) is HostKeyStatus.OK


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.from_regex(r"(@revoked )?(\|1\|)?[a*?!,\[\]:|]{0,9} (ssh-ed25519|x) [A-Za-z+/=]{0,16}").map(str.encode)
)
def test_any_bytes_are_read(content: bytes) -> None:
    """Or, if a revocation may be among them, refused."""
    try:
        pins = parse(content)
    except UnreadableMarker:
        assert b"@" in content or b"revoked" in content.lower()
        return

    assert pins.check(JUMP, PORT, ONE) in (HostKeyStatus.UNPINNED, HostKeyStatus.CHANGED)
    assert {entry.number for entry in pins.about(JUMP, PORT).entries} <= set(pins.mentions(JUMP, PORT))
    assert all(warning.isprintable() for warning in pins.warnings)


def test_names_lines_and_fingerprints_have_their_form() -> None:
    assert name_for("Jump.Example", 50683) == "[jump.example]:50683"
    assert name_for("jump", 22) == "[jump]:22"
    assert name_for("::1", 50683) == "[::1]:50683"
    assert line("jump", 50683, ONE) == f"[jump]:50683 ssh-ed25519 {base64.b64encode(ONE).decode()}"
    expected = base64.b64encode(hashlib.sha256(ONE).digest()).decode()
    assert fingerprint(ONE) == "SHA256:" + expected.rstrip("=")
    assert expected.endswith("=")


@pytest.mark.parametrize("blob", [ONE, RSA, ECDSA, strings(b"ssh-mldsa44") + b"anything"])
def test_a_whole_key_names_its_type(blob: bytes) -> None:
    assert key_type(blob).encode() in blob


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0\0",
        b"\xff\xff\xff\xffssh-ed25519",
        strings(b""),
        strings(b"ssh\ned25519", b"x"),
        strings(b"a" * 65),
        strings(b"caf\xe9"),
        strings(b"ssh-ed25519"),
        ONE + b"\0",
        strings(b"ssh-rsa", b"\1"),
        strings(b"ssh-rsa", b"\1", b"\2", b"\3"),
        strings(b"x") + b"\0" * (1 << 16),
    ],
)
def test_what_is_no_key_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match=r"the key|key has"):
        key_type(blob)


@pytest.mark.parametrize("blob", [ONE, RSA, ECDSA])
def test_no_shortened_key_passes(blob: bytes) -> None:
    for length in range(len(blob)):
        with pytest.raises(ValueError, match="key"):
            key_type(blob[:length])


@given(st.binary(max_size=80))
@example(b"\0\0\0\0")
def test_any_bytes_are_a_key_or_refused(blob: bytes) -> None:
    try:
        kind = key_type(blob)
    except ValueError:
        return
    assert kind.isascii()
    assert public_keys.decode(*public_keys.encode(blob).split()) == blob


def test_pinning_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"

    pin(path, JUMP, PORT, [ONE, RSA, ONE])

    assert path.read_text() == line(JUMP, PORT, ONE) + "\n" + line(JUMP, PORT, RSA) + "\n"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    assert load(path).check(JUMP, PORT, RSA) is HostKeyStatus.OK


def test_pinning_replaces_this_host_and_keeps_every_other_byte(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    ours = f"[{JUMP}]:{PORT}"
    kept = [
        b"# a comment \xff\r\n",
        b"\n",
        b"  \t\n",
        b"broken line\n",
        entry("[other]:1", ONE, comment="c").encode(),
        entry(f"[{JUMP}]:22", ONE).encode(),
        entry(JUMP, ONE).encode(),
        entry("[*.flydata.app]:50683", ONE).encode(),
        entry(ours, THREE, marker="@revoked").encode(),
        entry(ours, THREE, marker="@cert-authority").encode(),
        entry(hashed("[other]:1"), ONE).encode(),
        b"|1|nonsense ssh-ed25519 AAAA\n",
    ]
    shared = entry(f"[other]:1,{ours},10.0.0.1", ONE, comment="shared").encode()
    dropped = [
        entry(ours, ONE).encode(),
        entry(ours.upper(), TWO).encode(),
        entry(hashed(ours), ONE).encode(),
        entry(f"{ours},!x", ONE).encode(),
        f"{ours} ssh-ed25519 AAAAtruncated\n".encode(),
    ]
    mixed = [piece for pair in zip(kept, [*dropped, *[b""] * 7], strict=True) for piece in pair]
    path.write_bytes(b"".join([*mixed, shared]).removesuffix(b"\n"))

    pin(path, JUMP, PORT, [TWO])

    expected = shared.replace(f",{ours},".encode(), b",")
    assert path.read_bytes() == b"".join([*kept, expected, line(JUMP, PORT, TWO).encode(), b"\n"])


def test_pinning_at_port_22_replaces_the_bare_name_too(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(entry(JUMP, ONE) + entry(f"[{JUMP}]:22", ONE) + entry(f"[{JUMP}]:23", ONE))

    pin(path, JUMP, 22, [TWO])

    assert path.read_text() == entry(f"[{JUMP}]:23", ONE) + line(JUMP, 22, TWO) + "\n"


def test_pinning_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    pin(path, JUMP, PORT, [ONE])
    before = path.read_bytes()

    pin(path, JUMP, PORT, [ONE])

    assert path.read_bytes() == before


@pytest.mark.parametrize("blobs", [[], [b"no key"], [ONE, ONE + b"\0"]])
def test_what_is_no_key_is_not_pinned(tmp_path: Path, blobs: list[bytes]) -> None:
    path = tmp_path / "known_hosts"
    pin(path, JUMP, PORT, [TWO])
    before = path.read_bytes()

    with pytest.raises(ValueError, match="key"):
        pin(path, JUMP, PORT, blobs)

    assert path.read_bytes() == before


def test_a_file_that_is_not_there_holds_no_pins(tmp_path: Path) -> None:
    assert load(tmp_path / "known_hosts") == known_hosts.Pins()


def test_a_file_that_cannot_be_read_is_a_fault_not_an_empty_one(tmp_path: Path) -> None:
    for act in (lambda: load(tmp_path), lambda: pin(tmp_path, JUMP, PORT, [ONE])):
        with pytest.raises(ConfigInvalid, match="it is a folder") as caught:
            act()
        assert caught.value.exit_code is ExitCode.CONFIG


def test_pins_that_cannot_be_written_stay_as_they_were() -> None:
    with ordinary_user.folder(mode=0o755, own=False) as folder:
        path = folder / "known_hosts"
        pin(path, JUMP, PORT, [ONE])
        path.chmod(0o644)
        before = path.read_bytes()
        folder.chmod(0o555)
        shown = ordinary_user.run(
            "from pathlib import Path; from ioconnect import errors; from ioconnect.keys import known_hosts",
            f"""
try:
    known_hosts.pin(Path({str(path)!r}), "other", 1, [{TWO!r}])
except errors.CannotCreate as error:
    print(error.message)
""",
        )

        assert shown == f"cannot write {path}: Permission denied\n"
        assert path.read_bytes() == before


@needs_ssh_keygen
def test_ssh_keygen_agrees_about_our_lines(tmp_path: Path) -> None:
    """`ssh-keygen -F` finds what we pin and shows the same fingerprint; what -H hashes we find."""
    path = tmp_path / "known_hosts"
    pin(path, JUMP, PORT, [ONE])
    pin(path, "other.example", 2222, [TWO])

    def ssh_keygen(*arguments: str) -> str:
        done = subprocess.run(
            ["ssh-keygen", "-f", str(path), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert ssh_keygen("-l", "-F", f"[{JUMP}]:{PORT}").split()[-1] == fingerprint(ONE)
    ssh_keygen("-H")
    assert path.read_text().count("|1|") == 2
    pins = load(path)
    assert pins.check(JUMP, PORT, ONE) is HostKeyStatus.OK
    assert pins.check(JUMP, PORT, TWO) is HostKeyStatus.CHANGED
    assert pins.check("other.example", 2222, TWO) is HostKeyStatus.OK
    pin(path, JUMP, PORT, [THREE])
    assert load(path).blobs_for(JUMP, PORT) == (THREE,)
    assert load(path).blobs_for("other.example", 2222) == (TWO,)
