"""What is logged, redacted and printed, and what is typed."""

from __future__ import annotations

import contextlib
import json

from tests.fuzz.target import Target

from ioconnect.console import keyboard
from ioconnect.doctor import redact
from ioconnect.escape import escaped
from ioconnect.installers import journal
from ioconnect.status.log_filter import LineFilter, LogFilter, parse_since

SECRETS = ("hunter2-correct", "p@ss w/rd%", "tok_9f8e7d6c5b4a")
LOG = (
    b"2026-11-22T10:00:00.000Z WARNING orders: connecting -> backoff: unreachable\n"
    b'Traceback (most recent call last):\n  File "x", line 1\n'
    b"2026-11-22T10:00:01.000Z INFO agent: started\n"
)
TEXT = (
    b'proxy = "http://ann:hunter2@proxy:3128"\npassword: "a \\" b"\nAuthorization: Bearer tok_9f8e7d6c5b4a\n'
    b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
    b"SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ --token x deadbeefdeadbeefdeadbeefdeadbeef\n"
)
ENTRY = {
    "__CURSOR": "s=1",
    "__REALTIME_TIMESTAMP": "1763805600000000",
    "MESSAGE": "orders: connected",
    "PRIORITY": "6",
    "SYSLOG_IDENTIFIER": "ioconnect",
}


def _redact(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    list(redact.secrets_of_url(text[:2000]))
    redact.secrets_of_key(text)
    shown = redact.redact(text, SECRETS)
    assert not any(secret in shown for secret in SECRETS), "a secret that is known came through"
    return redact.REDACTED in shown or "***" in shown


def _log_lines(data: bytes) -> bool:
    text = data.decode("utf-8", "backslashreplace")
    wanted = LineFilter(LogFilter(name="orders", since=0.0, level="warning"))
    taken = [line for line in text.split("\n") if wanted.takes(line)]
    with contextlib.suppress(ValueError):
        assert parse_since(text[:100], 1.7e9) >= 0
    return bool(taken)


def _journal(data: bytes) -> bool:
    entry = journal._entry(data, LogFilter())
    assert entry is None or entry.line.isprintable(), "a control character is printed"
    return entry is not None


def _escaped(data: bytes) -> bool:
    for text in (data, data.decode("utf-8", "surrogateescape")):
        shown = escaped(text, limit=80)
        assert shown.isprintable(), "a control character is printed"
        assert len(shown) <= 80
    return True


def _keyboard(data: bytes) -> bool:
    return bool(keyboard.meanings(data))


TARGETS = (
    Target(
        "redact",
        _redact,
        (TEXT, *(secret.encode() for secret in SECRETS)),
        (
            *(
                b"-----BEGIN PRIVATE KEY-----",
                b"-----BEGIN ",
                b"b3BlbnNzaC1rZXktdjE",
                b"://",
                b"@",
                b"password=",
                b"\\n",
            ),
            *(
                b"bearer ",
                b"--token ",
                b"proxy = ",
                b"SHA256:",
                b"a:b@",
                b"A1b",
                b"\n\n",
                b"_token",
                b"pw is",
                b"identified by ",
                b"login a password ",
                b"hunter2-correct",
            ),
        ),
    ),
    Target(
        "log_lines",
        _log_lines,
        (LOG, b"1h", b"2026-11-22T10:00:00Z"),
        (b"Z WARNING ", b"orders: ", b"\n", b"999999999w"),
    ),
    Target(
        "journal",
        _journal,
        (json.dumps(ENTRY).encode(), json.dumps({**ENTRY, "MESSAGE": [27, 91, 255]}).encode()),
        (b"[", b"{", b"null", b"1e999", b'"PRIORITY"', b"-1", b"99999999999999999999", b"\\ud800", b"256"),
    ),
    Target(
        "escaped", _escaped, (b"plain", b"\x1b[2J", "\u202eevil\u2028".encode(), b"\xff\xfe"), (b"\x9b", b"\x1b]")
    ),
    Target("keyboard", _keyboard, (b"q", b"\x1b[A\x1b[B", b"\x1b[6~ \x03"), (b"\x1b", b"\x1b[", b"\x1bO", b"~")),
)
