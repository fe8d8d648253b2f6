"""Redacts secrets in text for the support archive; prefers redacting too much to missing a secret.

Pure. Known secrets are matched literally; others by their form: private keys, userinfo in URLs, values of names like
token or password, and long random strings. A secret that is not known and has none of these forms stays. Fingerprints
are kept.
"""

from __future__ import annotations

import base64
import json
import re
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REDACTED = "[redacted]"
MAX_KNOWN = 300
_MIN_LENGTH = 4  # characters of a known secret; shorter ones match too much, and their form gives them away

_NAMES_OF_SECRETS = (
    r"pass(?:word|wd|phrase)|pwd|(?<![a-z])pw|secret|token|cookie|api[_-]?key|private[_-]?key"
    r"|credentials?|authorization"
)
_GIVEN = r"\s*(?:(?<=\s)(?:is|was)\b\s*(?:[:=]\s*)?|[:=]\s*)"  # between a name and its value
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'"
_BRACED = r"\{(?:[^}\n]|\}\})*\}?"  # of ODBC; one that is not closed ends with its line
_VALUE = rf"(?:{_QUOTED}|{_BRACED}|[^\s,;]+)"
_GAP = r"(?:[\"'],)?\s{1,8}"  # between an option and its argument, also of a list in Python or JSON
_ARGUMENT = rf"(?:{_QUOTED}|\S+)"
# Linear in the text: a pattern begins at one place of a run of characters only, or looks at a bounded number of them.
_RULES = (
    # PEM, complete or truncated; also with newlines written as \n.
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        REDACTED,
    ),
    (re.compile(r"b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=\s\\]*"), REDACTED),  # "openssh-key-v1" in base64
    # A line of the configuration: a password may contain quotes and blanks.
    (
        re.compile(
            r"(?mi)^([ \t]*(?:#[ \t]*)?\w{0,40}?proxy\w{0,40}[ \t]*=[ \t]*(?![ \t])[\"']?)([a-z][a-z0-9+.-]{0,20}://)?.*@"
        ),
        r"\1\2***@",
    ),
    (re.compile(r"[^\s\"'<>]+"), lambda run: _without_userinfo(run[0])),
    (re.compile(r"(?<![^\s\"'@/])([^\s\"'@/]+)@(?=[\w\[])"), lambda run: _without_password(run[1])),
    (re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)[ \t]*[:=][^\n]*"), rf"\1: {REDACTED}"),  # headers
    (re.compile(r"(?i)\b(bearer|basic|digest|negotiate)\s+[^\s\"',;]{6,}"), rf"\1 {REDACTED}"),
    (re.compile(rf"(?i)((?:{_NAMES_OF_SECRETS})[\w-]{{0,40}}[\"']?{_GIVEN}){_VALUE}"), rf"\1{REDACTED}"),
    # Without a sign between name and value: SQL, redis.conf(5), netrc(5).
    (re.compile(rf"(?i)\b(identified\b[^\n;]{{0,80}}?\b(?:by|as)\s+(?:password\s+)?){_VALUE}"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)\b((?:requirepass|masterauth)\s+){_ARGUMENT}"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)\b((?:machine|login|account)\s+\S+\s+password\s+){_ARGUMENT}"), rf"\1{REDACTED}"),
    (re.compile(rf"\b(PASSWORD\s+){_VALUE}"), rf"\1{REDACTED}"),
    (re.compile(rf"(?i)\b(password\s+)(?:{_QUOTED})"), rf"\1{REDACTED}"),
    # Options of programs.
    (
        re.compile(rf"(?i)((?<![\w-])--?[\w-]{{0,40}}(?:token|password|secret|cookie)\s+)(?!-){_ARGUMENT}"),
        rf"\1{REDACTED}",
    ),
    (re.compile(rf"(?<!\S)(-pw\s+|sshpass\s+-p\s*){_ARGUMENT}"), rf"\1{REDACTED}"),
    # USER/PASSWORD@DATABASE of Oracle, whose programs and SQL*Plus also take it without the database.
    (
        re.compile(
            r"(?<![\w$#./~\"@-])([a-zA-Z][\w$#]{0,127}(?:\[[\w$#]{1,128}\])?|\"[^\"\n/]{1,128}\")"
            r"/(?:\"[^\"\n]{1,128}\"|[^\s\"'@]{1,128})@(?=[\w/(\[])"
        ),
        r"\1/***@",
    ),
    (
        re.compile(
            r"(?i)\b((?:(?:sqlplus|sqlldr|rman|expdp|impdp)\s(?:[^\n/@]{0,80}\s)?|(?:exp|imp|conn|connect)\s|userid=)"
            rf"\w{{1,128}}/)(?!/){_ARGUMENT}"
        ),
        rf"\1{REDACTED}",
    ),
    # USER:PASSWORD of curl; without a colon it is a name, as in sudo -u.
    (
        re.compile(
            rf"(?<![^\s\"'(\[,])(--(?:proxy-)?user(?:=|{_GAP})|-[a-zA-Z]{{0,10}}[uU](?:{_GAP})?)"
            r"(?:\"[^\":\n]{0,80}:(?:[^\"\\\n]|\\.)*\"|'[^':\n]{0,80}:[^'\n]*'|[^\s:\"']{1,80}:(?!//)\S+)"
        ),
        rf"\1{REDACTED}",
    ),
    # An option of redis-cli; and Redis' command, in capitals or at its prompt, with or without a user.
    (re.compile(rf"((?:redis|valkey|keydb)-cli\b[^\n]{{0,200}}?(?:-a|--pass){_GAP}){_ARGUMENT}"), rf"\1{REDACTED}"),
    (
        re.compile(
            rf"((?:\bAUTH|>[ \t]{{0,8}}(?i:auth))[\"']?,?[ \t]{{1,8}}){_ARGUMENT}(?:,?[ \t]{{1,8}}{_ARGUMENT})?"
        ),
        rf"\1{REDACTED}",
    ),
    # A password of mysql; what ssh has there is a port.
    (re.compile(rf"(?<![^\s\"'])-p(?!\d{{1,5}}(?![^\s\"',;]))(?:{_QUOTED}|[^\s-]\S*)"), f"-p{REDACTED}"),
    (re.compile(r"(?<![A-Za-z0-9])A(?:KIA|SIA|IDA|ROA|BIA|CCA)[A-Z0-9]{12,}"), REDACTED),  # access keys of AWS
    (re.compile(r"(?<![\w-])ey[IJ][\w-]{6,}(?:\.[\w-]*){1,4}", re.ASCII), REDACTED),  # JWT (RFC 7519)
)
_TOKEN = re.compile(r"(?<![A-Za-z0-9_+=-])(?<!SHA256:)[A-Za-z0-9_+=-]{24,}")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=])(?<!SHA256:)[A-Za-z0-9+/]{40,}={0,2}")
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])")
_CHARACTER_KINDS = (re.compile(r"[a-z]"), re.compile(r"[A-Z]"), re.compile(r"[0-9]"))
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,20}://")


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Return the text without its secrets; the strings in `known` are removed in every encoding.

    Of more than `MAX_KNOWN` the first ones are; of the others the form gives them away.
    """
    encodings = {encoded for secret in islice(known, MAX_KNOWN) for encoded in _encodings(secret)}
    for secret in sorted(encodings, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    for pattern in (_TOKEN, _BASE64):
        text = pattern.sub(
            lambda run: REDACTED if all(kind.search(run[0]) for kind in _CHARACTER_KINDS) else run[0], text
        )
    return _HEX.sub(REDACTED, text)


def _without_userinfo(run: str) -> str:
    """Return text without blanks with all between the first scheme and the last @ replaced."""
    scheme, at = _SCHEME.search(run), run.rfind("@")
    return f"{run[: scheme.end()]}***{run[at:]}" if scheme and at >= scheme.end() else run


def _without_password(before: str) -> str:
    """Return what stands before an @, with user:password replaced."""
    user, colon, password = before.partition(":")
    kept = re.match(r"[^\w.%+~-]*", user)
    if not (colon and password and kept and kept[0] != user):
        return f"{before}@"
    return f"{kept[0]}***@"


def secrets_of_url(url: str) -> Iterator[str]:
    """Yield the secrets in a proxy's URL, valid or not, and their form in an Authorization header (RFC 7617)."""
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
    """Return the lines of a private key file that hold key material."""
    return [line.strip() for line in pem.splitlines() if line.strip() and not line.startswith("-----")]


def _encodings(secret: str) -> Iterator[str]:
    """Yield a secret as it is, URL-encoded, and as a JSON string (as in TOML)."""
    for encoded in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]):
        if len(encoded) >= _MIN_LENGTH:
            yield encoded
