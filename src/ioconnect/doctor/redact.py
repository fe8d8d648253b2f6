"""Takes secrets out of text that leaves this machine: better a word too many than a key too few.

Pure. What is known to be secret goes by its very letters; what looks like one, by its looks: private keys, whatever
stands before an @ in a URL, values of things called token or password, and long random strings. Fingerprints stay.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GONE = "[redacted]"
_SHORTEST_KNOWN = 4  # characters; shorter ones would eat the text, and stand where their looks betray them

_CALLED = r"pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|credentials?|authorization|private[_-]?key"
_RULES = (
    # PEM, whole, or without its end in a log that was cut; also with its line ends written as \n.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), GONE),
    (re.compile(r"b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=\s\\]*"), GONE),  # "openssh-key-v1" in base64
    # The line of a configuration: a password may hold anything, also quotes and blanks.
    (re.compile(r"(?mi)^(\s*#?\s*\w*proxy\w*\s*=\s*[\"']?)([a-z][a-z0-9+.-]{0,20}://)?.*@"), r"\1\2***@"),
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s\"'<>]*@"), r"\1***@"),
    (
        re.compile(r"(?<![\w/])[\w.%+~-]{1,256}:[^\s\"'@/]{1,256}@(?=[\w\[])"),
        "***@",
    ),  # user:password@host without a scheme
    (re.compile(r"(?i)\b(bearer|basic|digest|negotiate)\s+[^\s\"',;]{6,}"), rf"\1 {GONE}"),
    (
        re.compile(
            rf"(?i)([\w-]{{0,40}}(?:{_CALLED})[\w-]{{0,40}}[\"']?\s*[:=]\s*)(\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s,;]+)"
        ),
        rf"\1{GONE}",
    ),
    (re.compile(r"(?i)(--?[\w-]{0,40}(?:token|password|secret)\s+)(?!-)\S+"), rf"\1{GONE}"),
)
_RUN = re.compile(r"(?<![A-Za-z0-9_+=-])(?<!SHA256:)[A-Za-z0-9_+=-]{24,}")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=])(?<!SHA256:)[A-Za-z0-9+/]{40,}={0,2}")
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])")
_MIXED = (re.compile(r"[a-z]"), re.compile(r"[A-Z]"), re.compile(r"[0-9]"))


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Return the text without its secrets; `known` are strings that must not stay, in whatever spelling."""
    spellings = {spelling for secret in known for spelling in _spellings(secret)}
    for secret in sorted(spellings, key=len, reverse=True):
        text = text.replace(secret, GONE)
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    for pattern in (_RUN, _BASE64):
        text = pattern.sub(lambda run: GONE if all(kind.search(run[0]) for kind in _MIXED) else run[0], text)
    return _HEX.sub(GONE, text)


def secrets_of_url(url: str) -> Iterator[str]:
    """Yield what is secret in a proxy's URL, well-formed or not, and what is sent in its place (RFC 7617)."""
    userinfo = url.rpartition("@")[0].rpartition("://")[2]
    user, _, password = userinfo.partition(":")
    if not password:
        return
    yield password
    yield unquote(password)
    for pair in (f"{user}:{password}", f"{unquote(user)}:{unquote(password)}"):
        yield base64.b64encode(pair.encode()).decode("ascii")
    try:
        parsed = urlsplit(url).password
    except ValueError:
        parsed = None
    if parsed:
        yield parsed


def secrets_of_key(pem: str) -> list[str]:
    """Return the lines of a private key, each of which tells of it."""
    return [line.strip() for line in pem.splitlines() if line.strip() and not line.startswith("-----")]


def _spellings(secret: str) -> Iterator[str]:
    """Yield a secret as it is, in a URL, and in quotes (JSON, which TOML follows)."""
    for spelling in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]):
        if len(spelling) >= _SHORTEST_KNOWN:
            yield spelling
