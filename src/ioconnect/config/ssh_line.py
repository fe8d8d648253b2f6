"""Parses the arguments of one ssh or autossh command (ssh(1), ssh_config(5), autossh(1)).

Pure. Raises ValueError with a message for the user, to which the caller adds the command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioconnect.config import addresses
from ioconnect.config.addresses import HostPort, Target, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

SSH_PORT = 22
_OPTIONS_WITH_ARGUMENT = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
_OPTIONS_WITHOUT_ARGUMENT = frozenset("1246AaCfGgKkMNnqsTtVvXxYy")
_UNSUPPORTED_OPTIONS = frozenset("DJLWw")  # other forwards and jump hosts
_UNSUPPORTED_KEYWORDS = frozenset(
    {"dynamicforward", "localforward", "proxycommand", "proxyjump", "proxyusefdpass", "tunnel"}
)
_FIELD = r"(\[[^\[\]]*\]|[^:\[\]]*)"
_FORWARD = re.compile(f"(?:{_FIELD}:)?{_FIELD}:{_FIELD}:{_FIELD}")
_FORWARD_TO_SOCKET = re.compile(f"(?:{_FIELD}:)?([0-9]*):(/.*)")
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhdw])*(?:[0-9]{1,9})?")
_KEYWORD = re.compile(r"([^\s=]*)\s*=?\s*(.*)", re.DOTALL)  # of an -o option
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(slots=True)
class SshLine:
    """The options of one ssh command line; of a repeated option the first value counts (ssh_config(5)).

    `keepalive_interval` is in seconds, 0 if disabled; `ignored` names the unsupported options: proxies, jump hosts
    and other kinds of forwarding.
    """

    host: str | None = None
    hostname: str | None = None  # ssh_config(5) HostName: the name to connect to instead of `host`
    user: str | None = None
    port: int | None = None
    identity: str | None = None
    known_hosts: str | None = None
    keepalive_interval: int | None = None
    keepalive_count_max: int | None = None
    forwards: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def read(arguments: Sequence[str], *, autossh: bool) -> SshLine:
    """Parse the arguments of `ssh` or `autossh`. Raises ValueError."""
    found = SshLine()
    with_argument = _OPTIONS_WITH_ARGUMENT | {"M"} if autossh else _OPTIONS_WITH_ARGUMENT  # ssh's own -M is a flag
    remaining = list(reversed(arguments))
    while remaining:
        word = remaining.pop()
        if word == "--":
            if remaining and found.host is None:
                _read_destination(found, remaining.pop())
            break
        if len(word) > 1 and word.startswith("-"):
            _read_options(found, word[1:], remaining, with_argument)
        elif found.host is None:
            _read_destination(found, word)
        else:
            break  # the remote command; ssh parses no options after it
    if found.host is not None:
        found.host = addresses.host((found.hostname or found.host).removeprefix("[").removesuffix("]"))
    return found


def _read_options(found: SshLine, letters: str, remaining: list[str], with_argument: frozenset[str]) -> None:
    """Parse `NTfR` of `-NTfR value` or `p22` of `-p22`, as getopt(3) does."""
    for at, letter in enumerate(letters):
        if letter in with_argument:
            value = letters[at + 1 :] or (remaining.pop() if remaining else "")
            if not value:
                raise ValueError(f"there is nothing after -{letter}")
            _apply_option(found, letter, value)
            return
        if letter not in _OPTIONS_WITHOUT_ARGUMENT:
            raise ValueError(f"ssh has no option {quoted('-' + letter)}")


def _apply_option(found: SshLine, letter: str, value: str) -> None:
    match letter:
        case "R":
            found.forwards.append(value)
        case "p":
            _apply_keyword(found, "port", value)
        case "l":
            _apply_keyword(found, "user", value)
        case "i":
            _apply_keyword(found, "identityfile", value)
        case "o":
            match = _KEYWORD.fullmatch(value.strip())
            assert match is not None  # it takes any text
            _apply_keyword(found, match[1].lower(), match[2].strip('"'))
        case _ if letter in _UNSUPPORTED_OPTIONS:
            found.ignored.append(f"-{letter}")


def _apply_keyword(found: SshLine, keyword: str, value: str) -> None:
    match keyword:
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
        case _ if keyword in _UNSUPPORTED_KEYWORDS:
            found.ignored.append(keyword)


def _read_destination(found: SshLine, destination: str) -> None:
    """Parse `[user@]host` or `ssh://[user@]host[:port]`."""
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


def forward(spec: str) -> tuple[int, Target]:
    """Parse `[bind_address:]port:host:hostport` or `[bind_address:]port:local_socket` (ssh(1), -R).

    Return the jumphost's port and the target. Raises ValueError.
    """
    to_socket = _FORWARD_TO_SOCKET.fullmatch(spec)
    if to_socket is not None:
        return addresses.port(to_socket[2]), addresses.socket_path(to_socket[3])
    match = _FORWARD.fullmatch(spec)
    if match is None or "/" in spec:
        raise ValueError(f"-R must be PORT:HOST:HOSTPORT, like 58115:localhost:3306, not {quoted(spec)}")
    _, port, host, host_port = match.groups()
    return addresses.port(port), HostPort(
        addresses.host(host.removeprefix("[").removesuffix("]")), addresses.port(host_port)
    )


def _duration(text: str) -> int:
    """Parse a duration (ssh_config(5), TIME FORMATS) into seconds."""
    if not text or not _DURATION.fullmatch(text.lower()):
        raise ValueError(f"ServerAliveInterval must be a time like 10 or 1m, not {quoted(text)}")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw]?)", text.lower()))


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError(f"ServerAliveCountMax must be a number, not {quoted(text)}")
    return int(text)
