"""Keys of the stand-in jumphost: its own host key, and the public keys that may sign in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ioconnect.errors import IdentityUnreadable, UsageFault
from ioconnect.files import write_replacing

if TYPE_CHECKING:
    from pathlib import Path

ED25519 = "ssh-ed25519"
ED25519_SIZE = 32  # bytes of a public key (RFC 8709 §4)
LINE_LIMIT = 16_384  # characters; the longest line that is read as a key
PERMIT_HOST = "localhost"  # what a key with an allocated port must ask for
# sshd(8) AUTHORIZED_KEYS FILE FORMAT: options that take away what a jumphost without shells does not have anyway
HARMLESS_OPTIONS = frozenset({"no-agent-forwarding", "no-pty", "no-user-rc", "no-x11-forwarding", "port-forwarding"})


class NotEd25519(UsageFault):
    """A text that should be an ssh-ed25519 public key is none."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An ssh-ed25519 public key; `blob` is its RFC 8709 encoding."""

    blob: bytes

    @property
    def line(self) -> str:
        """`ssh-ed25519 AAAA…`, without a comment."""
        return f"{ED25519} {base64.b64encode(self.blob).decode('ascii')}"

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh-keygen -l shows it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii")
        return "SHA256:" + digest.rstrip("=")


@dataclass(frozen=True, slots=True)
class Grant:
    """A key that may sign in, and the ports where it may listen (None: any)."""

    key: PublicKey
    ports: frozenset[int] | None


def parse_public_key(text: str) -> PublicKey:
    """Return the key of a public key line; a comment is allowed. Raises NotEd25519."""
    words = text.split(maxsplit=2) if len(text) <= LINE_LIMIT else []
    if len(words) < 2 or words[0] != ED25519:  # noqa: PLR2004  type and key
        raise NotEd25519("not an ssh-ed25519 public key", hint="Paste the whole line of id_ed25519.pub.")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        blob = b""
    head = struct.pack(">I", len(ED25519)) + ED25519.encode() + struct.pack(">I", ED25519_SIZE)
    if not blob.startswith(head) or len(blob) != len(head) + ED25519_SIZE:
        raise NotEd25519("a damaged ssh-ed25519 public key", hint="Paste the whole line of id_ed25519.pub.")
    return PublicKey(blob)


def parse_authorized_keys(text: str) -> tuple[list[Grant], list[str]]:
    """Return the grants of an authorized_keys file, and a complaint for each line that was not understood.

    A line is an optional `permitlisten="localhost:PORT"` (repeatable, beside options that change nothing here) and
    an ssh-ed25519 key. A line with any other option grants nothing: what it would restrict is not known here.
    """
    grants, complaints = [], []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            grants.append(_parse_grant(line))
        except (NotEd25519, ValueError) as error:
            complaints.append(f"line {number}: {error}")
    return grants, complaints


def _parse_grant(line: str) -> Grant:
    if line.startswith(ED25519 + " "):
        return Grant(parse_public_key(line), None)
    options, rest = _split_options(line)
    ports: set[int] = set()
    for option in options:
        name, _, value = option.partition("=")
        if name.lower() == "permitlisten":
            ports.add(_permitted_port(value))
        elif name.lower() == "restrict" and "port-forwarding" in options:
            continue
        elif name.lower() not in HARMLESS_OPTIONS:
            raise ValueError(f"the option {name!r} is not known here")
    return Grant(parse_public_key(rest), frozenset(ports) or None)


def _permitted_port(value: str) -> int:
    host, _, port = value.strip('"').rpartition(":")
    if host != PERMIT_HOST or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65_535:  # noqa: PLR2004
        raise ValueError(f'permitlisten must be "{PERMIT_HOST}:PORT"')
    return int(port)


def _split_options(line: str) -> tuple[list[str], str]:
    """Split off the options: comma-separated up to the first space outside double quotes."""
    quoted, start = False, 0
    options: list[str] = []
    for index, character in enumerate(line):
        if character == '"':
            quoted = not quoted
        elif character in ", \t" and not quoted:
            options.append(line[start:index])
            start = index + 1
            if character != ",":
                return options, line[index:].strip()
    raise NotEd25519("no key", hint="")


class HostKey:
    """The jumphost's ed25519 key: what clients pin (`public`), and the signer that paramiko uses."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        self.signer: Any = paramiko.Ed25519Key.from_private_key(io.StringIO(self.pem.decode("ascii")))
        self.public = PublicKey(self.signer.asbytes())

    @classmethod
    def generate(cls) -> HostKey:
        """Make a fresh one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> HostKey:
        """Read an unencrypted OpenSSH key file. Raises IdentityUnreadable."""
        try:
            private = serialization.load_ssh_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable(path, str(error)) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise _unreadable(path, "not an ed25519 key")
        return cls(private)

    @classmethod
    def load_or_generate(cls, path: Path) -> HostKey:
        """Read the key, or make one and keep it there (0600). Raises IdentityUnreadable, CannotCreate."""
        if path.exists():
            return cls.load(path)
        key = cls.generate()
        write_replacing(path, key.pem)
        return key


def _unreadable(path: Path, why: str) -> IdentityUnreadable:
    return IdentityUnreadable(
        f"cannot use the host key {path}: {why}", hint="Remove the file; the stub then makes a new one."
    )
