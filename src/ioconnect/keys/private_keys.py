"""Generates, parses and decrypts private keys in OpenSSH's format (PROTOCOL.key), without file access.

An invalid key raises ValueError, whose message continues after the file's name ("… is truncated").
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from ioconnect.keys.public_keys import key_type, take_string

KEY_TYPE = "ssh-ed25519"
_MAGIC = b"openssh-key-v1\0"
_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END = b"-----END OPENSSH PRIVATE KEY-----"
_ROUNDS = 24  # of bcrypt_pbkdf, as ssh-keygen since OpenSSH 9.4
_MAX_ROUNDS = 10_000  # minutes of work: more is taken for a damaged file
_PUBLIC = re.compile(rb"(ssh-|ecdsa-|sk-)\S+ AAAA")
_OTHER_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{0,40}?) ?PRIVATE KEY-----")
_OTHER_FORMATS = {
    b"RSA": "is an RSA key",
    b"DSA": "is a DSA key",
    b"EC": "is an ECDSA key",
    b"": "is a PKCS#8 key, not one in OpenSSH's format",
    b"ENCRYPTED": "is a PKCS#8 key, not one in OpenSSH's format",
}
_ONLY_ED25519 = f"; only {KEY_TYPE} is accepted"


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A parsed ed25519 private key file with its public key blob, which is never encrypted."""

    content: bytes
    blob: bytes
    encrypted: bool


def generate(passphrase: str | None) -> tuple[bytes, bytes]:
    """Return a new private key file's content, encrypted if there is a passphrase, and the public key blob."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  slow; most commands need no key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    openssh = serialization.PrivateFormat.OpenSSH
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = openssh.encryption_builder().kdf_rounds(_ROUNDS).build(_passphrase_bytes(passphrase))
    content = key.private_bytes(serialization.Encoding.PEM, openssh, encryption)
    return content, parse(content).blob


def is_public_key(content: bytes) -> bool:
    """Say whether the content is a public key line."""
    return _PUBLIC.match(content.lstrip()) is not None


def parse(content: bytes) -> ParsedKey:
    """Parse the unencrypted parts of a private key file. Raises ValueError."""
    text = content.strip()
    if not text.startswith(_BEGIN):
        raise ValueError(_other_format(text))
    if not text.endswith(_END):
        raise ValueError("is truncated: its last line is missing")
    try:
        decoded = base64.b64decode(b"".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
    except binascii.Error:
        raise ValueError("is damaged: what it holds is not base64") from None
    if not decoded.startswith(_MAGIC):
        raise ValueError("is damaged: it does not begin as an OpenSSH key does")
    try:
        cipher, rest = take_string(decoded[len(_MAGIC) :])
        _, rest = take_string(rest)
        options, rest = take_string(rest)
        count, (blob, rest) = rest[:4], take_string(rest[4:])
        secret, _ = take_string(rest)
        rounds = take_string(options)[1] if options else b""
        kind = key_type(blob)
    except ValueError as error:
        raise ValueError(f"is damaged: {error}") from None
    if count != b"\0\0\0\1" or not secret or int.from_bytes(rounds, "big") > _MAX_ROUNDS:
        raise ValueError("is damaged: its header makes no sense")
    if kind != KEY_TYPE:
        raise ValueError(f"is an {kind} key{_ONLY_ED25519}")
    return ParsedKey(content, blob, encrypted=cipher != b"none")


def decrypt(key: ParsedKey, passphrase: str | None) -> bytes:
    """Return the key as an unencrypted OpenSSH PEM. Raises ValueError: wrong passphrase, or damaged file."""
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm  # noqa: PLC0415  slow, as above
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    secret = _passphrase_bytes(passphrase) if passphrase is not None and key.encrypted else None
    try:
        private = serialization.load_ssh_private_key(key.content, secret)
    except UnsupportedAlgorithm:
        raise ValueError("is encrypted with a cipher that cannot be read here") from None
    except (ValueError, TypeError, InvalidTag):
        raise ValueError("does not open with this passphrase" if key.encrypted else "is damaged") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"is damaged: inside is no {KEY_TYPE} key")  # noqa: TRY004  one type for every refusal
    encoding, openssh = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    plain = private.private_bytes(encoding, openssh, serialization.NoEncryption())
    if parse(plain).blob != key.blob:
        raise ValueError("is damaged: its halves do not belong together")
    return plain


def _passphrase_bytes(passphrase: str) -> bytes:
    return passphrase.encode("utf-8", "surrogateescape")  # the terminal's bytes, also if they are not UTF-8


def _other_format(text: bytes) -> str:
    if not text:
        return "is empty"
    if is_public_key(text):
        return "is a public key, not the private one"
    if text.startswith(b"PuTTY-User-Key-File"):
        return "is a PuTTY key, not one in OpenSSH's format"
    other = _OTHER_PEM.match(text)
    if other and other[1] in _OTHER_FORMATS:
        return _OTHER_FORMATS[other[1]] + _ONLY_ED25519
    if _BEGIN.startswith(text):
        return "is truncated"
    return "is not a private key"
