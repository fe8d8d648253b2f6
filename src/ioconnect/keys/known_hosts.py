"""Pinned host keys: parses known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), checks host keys, writes pins.

Pure, but for `load` and `pin` at the end. A file is bytes: lines end in LF, words in blanks and tabs, nothing else
separates. A line that cannot be read pins nothing, and is named in a warning; but if it may be a revocation, nothing
in the file is trusted. `pin` preserves every byte of the lines of other hosts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING

from ioconnect.custody.files import hint_to_read, preserved_mode, read_regular, write_atomically
from ioconnect.custody.folder_lock import locked
from ioconnect.errors import ConfigInvalid
from ioconnect.escape import escaped
from ioconnect.keys.public_keys import MIN_RSA_BITS, decode, encode, fingerprint, is_too_short, key_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SSH_PORT = 22
REVOKED = b"@revoked"
CERT_AUTHORITY = b"@cert-authority"
_MAX_FILE = 16 << 20  # known_hosts files of some MiB exist
_HASHED = "|1|"  # HMAC-SHA1, OpenSSH's only hash scheme (HashKnownHosts)


class HostKeyStatus(Enum):
    """The result of checking a host key against the pins (OpenSSH's hostfile.h, HostStatus)."""

    OK = "ok"
    UNPINNED = "unpinned"  # no key is pinned for this host
    CHANGED = "changed"  # only other keys are pinned for this host, of whatever type
    REVOKED = "revoked"  # the key has an @revoked line, which overrides all others
    TOO_SHORT = "too short"  # an RSA key of less than 2048 bits, pinned or not


@dataclass(frozen=True, slots=True)
class _Entry:
    marker: bytes
    hosts: str
    blob: bytes

    def matches(self, host: str, port: int) -> bool:
        names = _names(host, port)
        if self.marker == REVOKED and "!" not in self.hosts:
            # A key is revoked however the host is written: without its port (which ssh(1) looks up too), or not as
            # sshd(8) wants it.
            names = (*names, host.lower(), f"[{host.lower()}]", f"{host.lower()}:{port}")
        return any(_match_hosts(self.hosts, name) for name in names)


@dataclass(frozen=True, slots=True)
class Pins:
    """The entries of one known_hosts file; `warnings` names the skipped lines and why."""

    entries: tuple[_Entry, ...] = ()
    warnings: tuple[str, ...] = ()

    def check(self, host: str, port: int, blob: bytes) -> HostKeyStatus:
        """Check the host key that `host` presents at this SSH port."""
        matches = self._entries_for(host, port)
        if any(entry.marker == REVOKED and entry.blob == blob for entry in matches):
            return HostKeyStatus.REVOKED
        if is_too_short(blob):
            return HostKeyStatus.TOO_SHORT
        known = [entry.blob for entry in matches if not entry.marker and not is_too_short(entry.blob)]
        if not known:
            return HostKeyStatus.UNPINNED
        return HostKeyStatus.OK if blob in known else HostKeyStatus.CHANGED

    def blobs_for(self, host: str, port: int) -> tuple[bytes, ...]:
        """Return the host keys that `check` accepts, without repetitions, in the file's order."""
        matches = self._entries_for(host, port)
        revoked = {entry.blob for entry in matches if entry.marker == REVOKED}
        known = (entry.blob for entry in matches if not entry.marker)
        return tuple(dict.fromkeys(blob for blob in known if blob not in revoked and not is_too_short(blob)))

    def types_for(self, host: str, port: int) -> tuple[str, ...]:
        """Return the types of those keys, without repetitions: the host key algorithms to prefer."""
        return tuple(dict.fromkeys(key_type(blob) for blob in self.blobs_for(host, port)))

    def fingerprints_for(self, host: str, port: int) -> tuple[str, ...]:
        """Return the fingerprints of those keys."""
        return tuple(fingerprint(blob) for blob in self.blobs_for(host, port))

    def _entries_for(self, host: str, port: int) -> list[_Entry]:
        return [entry for entry in self.entries if entry.matches(host, port)]


def name_for(host: str, port: int) -> str:
    """Return the host field of a pin: `[host]:port` for every port, in lower case."""
    return f"[{host.lower()}]:{port}"


def line(host: str, port: int, blob: bytes) -> str:
    """Return the known_hosts line without its newline. Raises ValueError if the blob is no key."""
    return f"{name_for(host, port)} {encode(blob)}"


class UnreadableMarker(ValueError):
    """A line cannot be read, and may be a revocation."""


def parse(content: bytes) -> Pins:
    """Parse a known_hosts file; a line that cannot be read becomes a warning. Raises UnreadableMarker."""
    entries: list[_Entry] = []
    warnings: list[str] = []
    for number, written in enumerate(content.split(b"\n"), 1):
        words = _words(written)
        if not words or words[0].startswith(b"#"):
            continue
        try:
            entry = _entry(words)
        except ValueError as error:
            if b"@" in words[0] or b"revoked" in written.lower():
                raise UnreadableMarker(f"line {number}: {error}") from None
            warnings.append(f"line {number} is left out: {error}")
            continue
        if not entry.marker and is_too_short(entry.blob):
            warnings.append(f"line {number} is left out: an RSA key of less than {MIN_RSA_BITS} bits")
        entries.append(entry)
    return Pins(tuple(entries), tuple(warnings))


def _words(line: bytes) -> list[bytes]:
    """Split at blanks and tabs, as OpenSSH does; bytes.split() also takes other control characters."""
    return [word for word in line.removesuffix(b"\r").replace(b"\t", b" ").split(b" ") if word]


def _entry(words: list[bytes]) -> _Entry:
    """Parse a line: [marker] hosts type base64 [comment]. Raises ValueError."""
    marker, *words = words if words[0].startswith(b"@") else (b"", *words)
    if marker not in (b"", REVOKED, CERT_AUTHORITY):
        raise ValueError(f"the marker {escaped(marker.decode('utf-8', 'replace'), limit=40)} is not known")
    if len(words) < 3:  # noqa: PLR2004  hosts, type, base64
        raise ValueError("it is not HOST TYPE KEY")
    hosts, kind, key = (word.decode("ascii", "surrogateescape") for word in words[:3])
    if hosts.startswith("|"):
        _salt_and_digest(hosts)
    return _Entry(marker, hosts, decode(kind, key))


def _names(host: str, port: int) -> tuple[str, ...]:
    name = name_for(host, port)
    return (name, host.lower()) if port == SSH_PORT else (name,)


def _match_hosts(hosts: str, name: str) -> bool:
    """Say whether a hosts field, hashed or a list of patterns, matches `name`; a negated pattern (!) overrides."""
    if hosts.startswith("|"):
        salt, digest = _salt_and_digest(hosts)
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
    matched = False
    for pattern in hosts.lower().split(","):
        if pattern.startswith("!") and _match_pattern(pattern[1:], name):
            return False
        matched = matched or _match_pattern(pattern, name)
    return matched


def _salt_and_digest(hosts: str) -> tuple[bytes, bytes]:
    parts = hosts.removeprefix(_HASHED).split("|")
    if not hosts.startswith(_HASHED) or len(parts) != 2:  # noqa: PLR2004  the salt and the digest
        raise ValueError("its host name is hashed in a way that is not known")
    try:
        salt, digest = (base64.b64decode(part.encode("ascii"), validate=True) for part in parts)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("its hashed host name is not base64") from None
    size = hashlib.sha1(usedforsecurity=False).digest_size
    if len(salt) != size or len(digest) != size:
        raise ValueError("its hashed host name has the wrong length")
    return salt, digest


def _match_pattern(pattern: str, name: str) -> bool:
    """Match a pattern of `*` and `?` (fnmatch would read brackets as a set), in bounded time."""
    at = wildcard = resume = 0
    starred = False
    position = 0
    while position < len(name):
        if at < len(pattern) and pattern[at] == "*":
            starred, wildcard, resume = True, at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[position]):
            at, position = at + 1, position + 1
        elif starred:
            resume += 1
            at, position = wildcard + 1, resume
        else:
            return False
    return all(character == "*" for character in pattern[at:])


def load(path: Path) -> Pins:
    """Read the file; a missing file has no pins. Raises ConfigInvalid if it, or a marker in it, cannot be read."""
    try:
        return parse(_content(path))
    except UnreadableMarker as error:
        raise ConfigInvalid(
            f"no host key is trusted: {path}, {error}",
            hint="It may revoke a key: mend or remove that line (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).",
        ) from None


def pin(path: Path, host: str, port: int, blobs: Sequence[bytes]) -> None:
    """Replace the host's keys in the file by `blobs`, atomically; every other byte is preserved.

    Wildcard patterns and lines with a marker are preserved too, so `Pins.check` may return REVOKED for a pinned key.
    Raises ValueError without a key or for an invalid one, ConfigInvalid if the file cannot be read, CannotCreate if
    it cannot be written, SystemRefused if another program keeps the folder locked.
    """
    if not blobs:
        raise ValueError("no key to pin")
    added = "".join(line(host, port, blob) + "\n" for blob in dict.fromkeys(blobs)).encode()
    with locked(path):
        preserved = b"".join(_lines_without(_content(path), _names(host, port)))
        if preserved and not preserved.endswith(b"\n"):
            preserved += b"\n"
        write_atomically(path, preserved + added, mode=preserved_mode(path))


def _lines_without(content: bytes, names: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the lines without this host's; a line that also names other hosts loses only this host's name."""
    for raw in BytesIO(content):
        words = _words(raw.removesuffix(b"\n"))
        if not words or words[0].startswith((b"#", b"@")):
            yield raw
            continue
        field = words[0].decode("ascii", "surrogateescape")
        if field.startswith("|"):
            if not _is_hash_of(field, names):
                yield raw
            continue
        patterns = field.split(",")
        others = [pattern for pattern in patterns if pattern.lower() not in names]
        if len(others) == len(patterns):
            yield raw
        elif any(not pattern.startswith("!") for pattern in others):
            yield raw.replace(words[0], ",".join(others).encode("ascii", "surrogateescape"), 1)


def _is_hash_of(field: str, names: tuple[str, ...]) -> bool:
    try:
        return any(_match_hosts(field, name) for name in names)
    except ValueError:  # invalid: not known to be this host's
        return False


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, limit=_MAX_FILE)[0]
    except FileNotFoundError:
        return b""
    except OSError as error:
        bound = f"It has at most {_MAX_FILE >> 20} MiB: take out what is no jumphost of yours."
        raise ConfigInvalid(
            f"cannot read the pinned host keys in {path}: {error.strerror}", hint=hint_to_read(error, too_large=bound)
        ) from error
