"""Pinned host keys: parses known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), checks host keys, writes pins.

Pure, but for `load` and `pin` at the end. A file is bytes: lines end in LF, words in blanks and tabs, nothing else
separates. A line that cannot be read pins nothing, and is named in a warning; but if it may be a revocation, nothing
in the file is trusted. `pin` preserves every byte of the lines of other hosts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING

from ioconnect.custody.files import hint_to_read, preserved_mode, read_regular, write_atomically
from ioconnect.custody.folder_lock import locked
from ioconnect.errors import ConfigInvalid
from ioconnect.escape import escaped
from ioconnect.keys import host_patterns
from ioconnect.keys.host_patterns import name_for, names_of
from ioconnect.keys.public_keys import MIN_RSA_BITS, decode, encode, fingerprint, is_too_short, key_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

REVOKED = b"@revoked"
CERT_AUTHORITY = b"@cert-authority"
_MAX_FILE = 16 << 20  # known_hosts files of some MiB exist


class HostKeyStatus(Enum):
    """The result of checking a host key against the pins (OpenSSH's hostfile.h, HostStatus)."""

    OK = "ok"
    UNPINNED = "unpinned"  # no key is pinned for this host
    CHANGED = "changed"  # only other keys are pinned for this host, of whatever type
    REVOKED = "revoked"  # the key has an @revoked line, which overrides all others
    TOO_SHORT = "too short"  # an RSA key of less than 2048 bits, pinned or not


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int  # of its line
    marker: bytes
    hosts: str
    blob: bytes  # empty: the line cannot be read

    def matches(self, host: str, port: int) -> bool:
        """Whether the line is about this host; one that revokes a key also by a name that `may_mean` takes."""
        names = names_of(host, port)
        return (
            self.may_mean(host, port) if self.marker == REVOKED else host_patterns.matches(self.hosts, names, names)
        )

    def may_mean(self, host: str, port: int) -> bool:
        """Whether it names the host, however: without its port (ssh(1) looks that up too), or not as sshd(8) wants.

        A line that cannot be read may do so wherever it has the host's name, or a hash that is not known.
        """
        name, names = host.lower(), names_of(host, port)
        if not self.blob and (name in self.hosts.lower() or self.hosts.startswith("|")):
            return True
        return host_patterns.matches(self.hosts, (*names, name, f"[{name}]", f"{name}:{port}"), names)


@dataclass(frozen=True, slots=True)
class Pins:
    """The entries of one known_hosts file; `warnings` names the lines that are left out and why."""

    entries: tuple[_Entry, ...] = ()
    warnings: tuple[str, ...] = ()

    def mentions(self, host: str, port: int) -> tuple[int, ...]:
        """Return the numbers of all lines about this host: pins, markers, and those that are left out.

        Only a host without any is one that nobody knows yet.
        """
        return tuple(entry.number for entry in self.entries if entry.may_mean(host, port))

    def say_the_same(self, other: Pins, host: str, port: int) -> bool:
        """Whether both have the same lines about this host, wherever in the file."""
        ours, theirs = (
            [replace(entry, number=0) for entry in pins.entries if entry.may_mean(host, port)]
            for pins in (self, other)
        )
        return ours == theirs

    def about(self, host: str, port: int) -> Pins:
        """Return this host's pins and revocations alone: few, so that all the rest is quick for this host."""
        return Pins(tuple(self._entries_for(host, port)), self.warnings)

    def check(self, host: str, port: int, blob: bytes) -> HostKeyStatus:
        """Check the host key that `host` presents at this SSH port."""
        found = self._entries_for(host, port)
        if any(entry.marker == REVOKED and entry.blob == blob for entry in found):
            return HostKeyStatus.REVOKED
        if is_too_short(blob):
            return HostKeyStatus.TOO_SHORT
        known = [entry.blob for entry in found if not entry.marker and not is_too_short(entry.blob)]
        if not known:
            return HostKeyStatus.UNPINNED
        return HostKeyStatus.OK if blob in known else HostKeyStatus.CHANGED

    def blobs_for(self, host: str, port: int) -> tuple[bytes, ...]:
        """Return the host keys that `check` accepts, without repetitions, in the file's order."""
        found = self._entries_for(host, port)
        revoked = {entry.blob for entry in found if entry.marker == REVOKED}
        known = (entry.blob for entry in found if not entry.marker)
        return tuple(dict.fromkeys(blob for blob in known if blob not in revoked and not is_too_short(blob)))

    def types_for(self, host: str, port: int) -> tuple[str, ...]:
        """Return the types of those keys, without repetitions: the host key algorithms to prefer."""
        return tuple(dict.fromkeys(key_type(blob) for blob in self.blobs_for(host, port)))

    def fingerprints_for(self, host: str, port: int) -> tuple[str, ...]:
        """Return the fingerprints of those keys."""
        return tuple(fingerprint(blob) for blob in self.blobs_for(host, port))

    def _entries_for(self, host: str, port: int) -> list[_Entry]:
        return [entry for entry in self.entries if entry.blob and entry.matches(host, port)]


def line(host: str, port: int, blob: bytes) -> str:
    """Return the known_hosts line without its newline. Raises ValueError if the blob is no key."""
    return f"{name_for(host, port)} {encode(blob)}"


def no_usable(lines: Sequence[int]) -> str:
    """Return what stands for the fingerprints of a host that these lines are about, none of them a pin."""
    return f"no usable key (line {', '.join(map(str, lines[:10]))} of the pins says what was)"


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
            entry = _entry(number, words)
        except ValueError as error:
            if b"@" in words[0] or b"revoked" in written.lower():
                raise UnreadableMarker(f"line {number}: {error}") from None
            warnings.append(f"line {number} is left out: {error}")
            entry = _Entry(number, b"", _text(words[0]), b"")
        if entry.blob and not entry.marker and is_too_short(entry.blob):
            warnings.append(f"line {number} is left out: an RSA key of less than {MIN_RSA_BITS} bits")
        entries.append(entry)
    return Pins(tuple(entries), tuple(warnings))


def _words(line: bytes) -> list[bytes]:
    """Split at blanks and tabs, as OpenSSH does; bytes.split() also takes other control characters."""
    return [word for word in line.removesuffix(b"\r").replace(b"\t", b" ").split(b" ") if word]


def _entry(number: int, words: list[bytes]) -> _Entry:
    """Parse a line: [marker] hosts type base64 [comment]. Raises ValueError."""
    marker, *words = words if words[0].startswith(b"@") else (b"", *words)
    if marker not in (b"", REVOKED, CERT_AUTHORITY):
        raise ValueError(f"the marker {escaped(marker.decode('utf-8', 'replace'), limit=40)} is not known")
    if len(words) < 3:  # noqa: PLR2004  hosts, type, base64
        raise ValueError("it is not HOST TYPE KEY")
    hosts, kind, key = map(_text, words[:3])
    if hosts.startswith("|"):
        host_patterns.salt_and_digest(hosts)
    return _Entry(number, marker, hosts, decode(kind, key))


def _text(word: bytes) -> str:
    return word.decode("ascii", "surrogateescape")


def load(path: Path, *, trusted: frozenset[int] | None = None) -> Pins:
    """Read the file; a missing file has no pins. Raises ConfigInvalid if it, or a marker in it, cannot be read."""
    return _parsed(path, _content(path, trusted))


def _parsed(path: Path, content: bytes) -> Pins:
    try:
        return parse(content)
    except UnreadableMarker as error:
        raise ConfigInvalid(
            f"no host key is trusted: {path}, {error}",
            hint="It may revoke a key: mend or remove that line (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).",
        ) from None


def pin(path: Path, host: str, port: int, blobs: Sequence[bytes], *, seen: Pins | None = None) -> None:
    """Replace the host's keys in the file by `blobs`, atomically; every other byte is preserved.

    Wildcard patterns and lines with a marker are preserved too, so `Pins.check` may return REVOKED for a pinned key.
    With `seen`, only if the file says of this host what it said then. Raises ValueError without a key or for an
    invalid one, ConfigInvalid if the file cannot be read or says another thing, CannotCreate if it cannot be written,
    SystemRefused if another program keeps the folder locked.
    """
    if not blobs:
        raise ValueError("no key to pin")
    added = "".join(line(host, port, blob) + "\n" for blob in dict.fromkeys(blobs)).encode()
    with locked(path):
        content = _content(path)
        if seen is not None and not seen.say_the_same(_parsed(path, content), host, port):
            raise ConfigInvalid(f"the pins of {name_for(host, port)} were changed meanwhile", hint="Run it again.")
        preserved = b"".join(_lines_without(content, names_of(host, port)))
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
        field = _text(words[0])
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
        return host_patterns.matches(field, names, names)
    except ValueError:  # invalid: not known to be this host's
        return False


def _content(path: Path, trusted: frozenset[int] | None = None) -> bytes:
    try:
        return read_regular(path, limit=_MAX_FILE, trusted=trusted)[0]
    except FileNotFoundError:
        return b""
    except OSError as error:
        bound = f"It has at most {_MAX_FILE >> 20} MiB: take out what is no jumphost of yours."
        raise ConfigInvalid(
            f"cannot read the pinned host keys in {path}: {error.strerror}", hint=hint_to_read(error, too_large=bound)
        ) from error
