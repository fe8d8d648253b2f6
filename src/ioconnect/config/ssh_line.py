"""The arguments of one ssh or autossh command → what they ask for (ssh(1), ssh_config(5), autossh(1)).

Pure. Raises ValueError with a message fit for people; the text it is about is the caller's to show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioconnect.config import addresses
from ioconnect.config.addresses import HostPort, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

SSH_PORT = 22
_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
_FLAGS = frozenset("1246AaCfGgKkMNnqsTtVvXxYy")
_ELSEWHERE = frozenset("DJLWw")  # other ways to go, which we don't
_ELSEWHERE_KEYS = frozenset(
    {"dynamicforward", "localforward", "proxycommand", "proxyjump", "proxyusefdpass", "tunnel"}
)
_FIELD = r"(\[[^\[\]]*\]|[^:\[\]]*)"
_FORWARD = re.compile(f"(?:{_FIELD}:)?{_FIELD}:{_FIELD}:{_FIELD}")
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhdw])*(?:[0-9]{1,9})?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(slots=True)
class SshLine:
    """What one command line asks for; of what is said twice, ssh takes the first, and so do we.

    `keepalive_interval` is in seconds, 0 if switched off; `ignored` names the options that send the connection
    another way or forward something else, which we do not do.
    """

    host: str | None = None
    hostname: str | None = None  # what ssh_config calls HostName: the name to dial instead of `host`
    user: str | None = None
    port: int | None = None
    identity: str | None = None
    known_hosts: str | None = None
    keepalive_interval: int | None = None
    keepalive_count_max: int | None = None
    forwards: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read(arguments: Sequence[str], *, autossh: bool) -> SshLine:
    """Read the words after `ssh` or `autossh`. Raises ValueError."""
    found = SshLine()
    with_value = _WITH_VALUE | {"M"} if autossh else _WITH_VALUE  # ssh's own -M is a flag
    waiting = list(reversed(arguments))
    while waiting:
        word = waiting.pop()
        if word == "--":
            if waiting and found.host is None:
                _read_destination(found, waiting.pop())
            break
        if len(word) > 1 and word.startswith("-"):
            _read_letters(found, word[1:], waiting, with_value)
        elif found.host is None:
            _read_destination(found, word)
        else:
            break  # a command for the other side; ssh reads no options after it
    if found.host is not None:
        found.host = addresses.host((found.hostname or found.host).removeprefix("[").removesuffix("]"))
    return found


def _read_letters(found: SshLine, letters: str, waiting: list[str], with_value: frozenset[str]) -> None:
    """Read `NTfR` of `-NTfR value` or `p22` of `-p22`, as getopt(3) does."""
    for at, letter in enumerate(letters):
        if letter in with_value:
            value = letters[at + 1 :] or (waiting.pop() if waiting else "")
            if not value:
                raise ValueError(f"there is nothing after -{letter}")
            _apply(found, letter, value)
            return
        if letter not in _FLAGS:
            raise ValueError(f"ssh has no option {quoted('-' + letter)}")


def _apply(found: SshLine, letter: str, value: str) -> None:
    match letter:
        case "R":
            found.forwards.append(value)
        case "p":
            _apply_key(found, "port", value)
        case "l":
            _apply_key(found, "user", value)
        case "i":
            _apply_key(found, "identityfile", value)
        case "o":
            parts = re.split(r"\s*=\s*|\s+", value.strip(), maxsplit=1)
            _apply_key(found, parts[0].lower(), parts[1].strip().strip('"') if len(parts) > 1 else "")
        case _ if letter in _ELSEWHERE:
            found.ignored.append(f"-{letter}")


def _apply_key(found: SshLine, key: str, value: str) -> None:
    match key:
        case "port" if found.port is None:
            found.port = addresses.port(value)
        case "user" if found.user is None:
            found.user = addresses.user(value)
        case "hostname" if found.hostname is None:
            found.hostname = value
        case "identityfile" if found.identity is None and value != "none":
            found.identity = value
        case "userknownhostsfile" if found.known_hosts is None:
            found.known_hosts = value
        case "serveraliveinterval" if found.keepalive_interval is None:
            found.keepalive_interval = _duration(value)
        case "serveralivecountmax" if found.keepalive_count_max is None:
            found.keepalive_count_max = _count(value)
        case "remoteforward":
            found.forwards.append(":".join(value.split()))
        case _ if key in _ELSEWHERE_KEYS:
            found.ignored.append(key)


def _read_destination(found: SshLine, destination: str) -> None:
    """Read `[user@]host` or `ssh://[user@]host[:port]`."""
    url = destination.startswith("ssh://")
    user, _, host = destination.removeprefix("ssh://").removesuffix("/" if url else "").rpartition("@")
    if user and found.user is None:
        found.user = addresses.user(user)
    if url and re.search(r":[^:\]]*\Z", host):
        written = addresses.host_port(host)
        host = written.host
        if found.port is None:
            found.port = written.port
    found.host = host


def forward(spec: str) -> tuple[int, HostPort]:
    """Read `[bind_address:]port:host:hostport` → the port on the jumphost, and the target. Raises ValueError."""
    match = _FORWARD.fullmatch(spec)
    if match is None or "/" in spec:
        raise ValueError(f"-R must be PORT:HOST:HOSTPORT, like 58115:localhost:3306, not {quoted(spec)}")
    _, port, host, host_port = match.groups()
    return addresses.port(port), HostPort(
        addresses.host(host.removeprefix("[").removesuffix("]")), addresses.port(host_port)
    )


def _duration(text: str) -> int:
    """Read ssh_config(5)'s TIME FORMATS, in seconds."""
    if not text or not _DURATION.fullmatch(text.lower()):
        raise ValueError(f"ServerAliveInterval must be a time like 10 or 1m, not {quoted(text)}")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw]?)", text.lower()))


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError(f"ServerAliveCountMax must be a number, not {quoted(text)}")
    return int(text)
