"""The hosts field of a known_hosts line: a list of patterns or a hash (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

SSH_PORT = 22
_HASHED = "|1|"  # HMAC-SHA1, OpenSSH's only hash scheme (HashKnownHosts)


def name_for(host: str, port: int) -> str:
    """Return the host field of a pin: `[host]:port` for every port, in lower case."""
    return f"[{host.lower()}]:{port}"


def names_of(host: str, port: int) -> tuple[str, ...]:
    """Return the names by which a pin may name this host at this port."""
    name = name_for(host, port)
    return (name, host.lower()) if port == SSH_PORT else (name,)


def matches(hosts: str, names: Collection[str], own: Collection[str]) -> bool:
    """Say whether a hosts field, hashed or a list of patterns, matches one of `names`.

    A negated pattern (!) excludes the name that it matches, and the whole host if that name is one of its `own`.
    """
    if hosts.startswith("|"):
        salt, digest = salt_and_digest(hosts)
        return any(hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest) for name in names)
    patterns = hosts.lower().split(",")
    negated = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    excluded = {name for name in names for pattern in negated if _match_pattern(pattern, name)}
    if not excluded.isdisjoint(own):
        return False
    return any(_match_pattern(pattern, name) for name in names if name not in excluded for pattern in patterns)


def salt_and_digest(hosts: str) -> tuple[bytes, bytes]:
    """Return the two parts of a hashed hosts field. Raises ValueError."""
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
