"""Public key blobs (RFC 4253 §6.6), their base64 form and their fingerprints.

Pure. Every length is checked; an invalid key raises ValueError with a message for the user.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

MAX_BLOB = 1 << 16  # the largest RSA key that OpenSSH accepts has 2 KiB
MIN_RSA_BITS = 2048  # as NIST SP 800-131A; OpenSSH takes 1024
_ED25519_KEY = 32  # bytes, RFC 8709 §4
# Number of strings (or mpints, encoded alike) after the type's name: RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4,
# OpenSSH's PROTOCOL.u2f. Of other types only the name is parsed.
_FIELDS = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ssh-dss": 4,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


def key_type(blob: bytes) -> str:
    """Return the key type of a complete public key blob. Raises ValueError."""
    if len(blob) > MAX_BLOB:
        raise ValueError(f"the key has {len(blob)} bytes, more than any key needs")
    name, rest = take_string(blob)
    if not 1 <= len(name) <= 64 or not all(0x21 <= byte <= 0x7E and byte != ord(",") for byte in name):  # noqa: PLR2004  RFC 4251 §6
        raise ValueError("the key names no type")
    kind = name.decode("ascii")
    count = _FIELDS.get(kind)
    if count is None:
        return kind
    first, rest = take_string(rest)
    for _ in range(count - 1):
        _, rest = take_string(rest)
    if rest:
        raise ValueError(f"the {kind} key has {len(rest)} bytes too many")
    if kind.endswith("ed25519") and len(first) != _ED25519_KEY:
        raise ValueError(f"the {kind} key has {len(first)} bytes instead of {_ED25519_KEY}")
    return kind


def is_too_short(blob: bytes) -> bool:
    """Whether a public key blob is an RSA key below MIN_RSA_BITS; one that is no valid key is not."""
    try:
        if key_type(blob) != "ssh-rsa":
            return False
    except ValueError:
        return False
    _, rest = take_string(blob)
    _, rest = take_string(rest)
    modulus, _ = take_string(rest)
    return int.from_bytes(modulus, "big").bit_length() < MIN_RSA_BITS


def take_string(data: bytes) -> tuple[bytes, bytes]:
    """Return the first string (RFC 4251 §5) of `data`, and the rest. Raises ValueError."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length or len(data) < 4:  # noqa: PLR2004  the size of a uint32
        raise ValueError("the key is truncated")
    return data[4 : 4 + length], data[4 + length :]


def fingerprint(blob: bytes) -> str:
    """Return `SHA256:` and the unpadded base64 of the blob's SHA-256 digest, as `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def encode(blob: bytes) -> str:
    """Return `TYPE BASE64`, the form in known_hosts and authorized_keys. Raises ValueError."""
    return f"{key_type(blob)} {base64.b64encode(blob).decode('ascii')}"


def decode(kind: str, text: str) -> bytes:
    """Return the blob of a key given as `TYPE BASE64`. Raises ValueError, also if the blob is of another type."""
    try:
        blob = base64.b64decode(text.encode("ascii", "strict"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("the key is not whole base64") from None
    inner = key_type(blob)
    if inner != kind:
        raise ValueError("the key's type is not the one written before it")
    return blob
