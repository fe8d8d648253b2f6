"""Keys: known_hosts, authorized_keys, private and public keys."""

from __future__ import annotations

import base64
import hashlib
import hmac

from tests.fuzz.target import Target

from ioconnect.errors import UsageFault
from ioconnect.keys import authorized_keys, known_hosts, private_keys, public_keys

BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))
RSA = b"\0\0\0\x07ssh-rsa\0\0\0\3\1\0\1\0\0\1\1\0" + b"\xb5" * 256
LINE = b"ssh-ed25519 " + base64.b64encode(BLOB)
SALT = bytes(range(20))
HASHED = b"|1|%s|%s" % (
    base64.b64encode(SALT),
    base64.b64encode(hmac.new(SALT, b"[jump.example.com]:50683", hashlib.sha1).digest()),
)
KNOWN_HOSTS = (
    b"# pins\n[jump.example.com]:50683,[*.example.com]:22 " + LINE + b" comment\n" + HASHED + b" ssh-rsa "
    + base64.b64encode(RSA) + b"\n@revoked * " + LINE + b"\n@cert-authority *.b.com,!a?.b.com " + LINE + b"\n"
)  # fmt: skip
AUTHORIZED = (
    b'restrict,port-forwarding,permitlisten="localhost:58115" ' + LINE + b" ann@host\n" + LINE + b'\ncommand="\\" b" '
    + LINE + b"\n"
)  # fmt: skip
PLAIN = b"""-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQAAACA=
-----END OPENSSH PRIVATE KEY-----
"""
WORDS = (b"ssh-ed25519 ", b"AAAA", b"|1|", b"@revoked ", b"*", b"?", b",", b"!", b"[", b"]:", b'permitlisten="', b'"')


def _generated() -> bytes:
    return private_keys.generate(None)[0]


def _known_hosts(data: bytes) -> bool:
    try:
        pins = known_hosts.parse(data)
    except known_hosts.UnreadableMarker:
        return False
    for host, port in (("jump.example.com", 50683), ("a.example.com", 22)):
        accepted = pins.blobs_for(host, port)
        for blob in accepted:
            assert pins.check(host, port, blob) is known_hosts.HostKeyStatus.OK, "listed, and not accepted"
        other = pins.check(host, port, BLOB + b"x")
        assert other is not known_hosts.HostKeyStatus.OK, "a key that is not there was accepted"
    return bool(pins.entries)


def _authorized_keys(data: bytes) -> bool:
    grants, _ = authorized_keys.parse_authorized_keys(data.decode("utf-8", "replace"))
    return bool(grants)


def _private_key(data: bytes) -> bool:
    try:
        key = private_keys.parse(data)
        if not key.encrypted:  # else it is bcrypt's work that takes the time, which is its purpose
            private_keys.decrypt(key, None)
    except ValueError:
        return False
    return True


def _public_key(data: bytes) -> bool:
    try:
        line = data.decode("utf-8", "replace")
        key = authorized_keys.parse_public_key(line)
        assert authorized_keys.parse_public_key(key.line) == key, "a key reads differently once written"
    except UsageFault:
        pass
    else:
        return True
    try:
        return bool(public_keys.encode(data))
    except ValueError:
        return False


TARGETS = (
    Target("known_hosts", _known_hosts, (KNOWN_HOSTS,), (*WORDS, LINE, HASHED)),
    Target("authorized_keys", _authorized_keys, (AUTHORIZED,), (*WORDS, LINE, b"restrict,", b"port-forwarding,")),
    Target(
        "private_key",
        _private_key,
        (_generated(), PLAIN, b"-----BEGIN RSA PRIVATE KEY-----\n", b"PuTTY-User-Key-File-3: ssh-ed25519\n"),
        (b"b3BlbnNzaC1rZXktdjE", b"-----BEGIN ", b"-----END OPENSSH PRIVATE KEY-----", b"AAAA", b"bcrypt"),
    ),
    Target("public_key", _public_key, (LINE + b" ann", BLOB, RSA), WORDS),
)
