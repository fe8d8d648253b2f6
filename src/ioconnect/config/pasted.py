"""Parses pasted text into tunnels: ssh and autossh command lines, crontab lines, unit files, or a Tunnel Endpoint.

Pure: the environment is an argument. Text that cannot be parsed raises UsageFault, which quotes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.config import addresses, shell_words, ssh_line, text_limits
from ioconnect.config.addresses import HostPort, Target, quoted
from ioconnect.config.configuration import DEFAULT_SSH_PORT, DEFAULT_SSH_USER
from ioconnect.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 4 * text_limits.MAX_TEXT  # a character of UTF-8 has up to four
_MAX_INTERVAL = 86400  # seconds, as in the configuration
_EXAMPLE = "Paste a line like: ssh -NR 58115:localhost:3306 sshtunnel@virginia-tunnel.flydata.app -i KEY -p 50683"
# Typographic characters that web pages and word processors put into plain text: blanks, zero-width, quotes, dashes.
_TYPOGRAPHY = str.maketrans(
    "\u00a0\u201c\u201d\u201e\u2018\u2019\u2013\u2014\u2212", ' """\'\'---', "\u200b\u200e\u200f\ufeff"
)
_MENTIONS_SSH = re.compile(r"(?<![\w-])(?:auto)?ssh(?![\w-])")
_REMOTE_FORWARD = re.compile("remoteforward", re.IGNORECASE)
_OPTION_R = re.compile(r"""["']?-[A-Za-z0-9]*?R""")
_OPTIONS_TO_R = re.compile(r"""["']?-[A-Za-z0-9]*R""")
_PLACEHOLDER = re.compile(r"<[A-Za-z][^<>\s]{0,40}>")
_CONTINUED = re.compile(r"\\\n[ \t]*")
_EXEC_START = re.compile(r"\s*ExecStart\s*=\s*[-@:+!|]*(.*)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_LABEL = re.compile(r"tunnel endpoint\s*[:=]?\s*", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))|%([hdu%])")


@dataclass(frozen=True, slots=True)
class Pasted:
    """One parsed tunnel: `endpoint` is the jumphost and the port there; `target` is None for an endpoint alone.

    `identity` and `known_hosts` are paths with `~`, `$HOME` and `%h` expanded; `keepalive_interval` is in seconds.
    Missing options are None, but for the port (ssh's 22; for an endpoint alone the vendor's 50683) and the user.
    `ignored` names unsupported options (proxies, other forwards), for the caller to show.
    """

    endpoint: HostPort
    target: Target | None
    ssh_port: int
    ssh_user: str
    identity: str | None = None
    keepalive_interval: float | None = None
    keepalive_count_max: int | None = None
    known_hosts: str | None = None
    ignored: tuple[str, ...] = ()


class _NoForward(ValueError):
    """An ssh command without a remote forward; reported only if no other line has one."""


def parse(text: str, *, environ: Mapping[str, str] = {}) -> Pasted:
    """Parse the one tunnel in `text`. Raises UsageFault, also if there are several."""
    found = parse_all(text, environ=environ)
    if len(found) > 1:
        several = ", ".join(f"{tunnel.endpoint.port}:{tunnel.target}" for tunnel in found[:5])
        hint = "Register them one by one, or take them all with `ioconnect import -`."
        raise UsageFault(f"what was pasted describes {len(found)} tunnels: {several}", hint=hint)
    return found[0]


def parse_all(text: str, *, environ: Mapping[str, str] = {}) -> tuple[Pasted, ...]:
    """Return the tunnels in a line, crontab, unit file or script, without repetitions; at least one.

    Comments and lines without ssh are skipped. Raises UsageFault if there is no tunnel, one cannot be parsed, or the
    text exceeds a limit (`text_limits`).
    """
    text_limits.lines(text)
    cleaned = _CONTINUED.sub(" ", text.translate(_TYPOGRAPHY).replace("\r\n", "\n")).strip()
    if not cleaned:
        raise UsageFault("nothing was pasted", hint=_EXAMPLE)
    bare = _bare_endpoint(cleaned)
    if bare is not None:
        return (bare,)
    found: dict[Pasted, None] = {}
    refused: UsageFault | None = None
    for line in _command_lines(cleaned):
        result = _parse_line(line, environ)
        if isinstance(result, UsageFault):
            refused = refused or result
            continue
        found.update(dict.fromkeys(result))
        if len(found) > text_limits.MAX_TUNNELS:
            raise UsageFault(f"the text describes more than {text_limits.MAX_TUNNELS} tunnels", hint=_EXAMPLE)
    if not found:
        raise refused or _no_command(cleaned)
    return tuple(found)


def mentions_tunnel(line: str) -> bool:
    """Say whether a line looks like an ssh command with a remote forward; `parse_all` may still refuse it."""
    return bool(_MENTIONS_SSH.search(line)) and _has_forward(line)


def _has_forward(line: str) -> bool:
    """Say whether a word is -R, alone or after other options, with a colon in what follows it; or RemoteForward."""
    words = line.split()
    for word, after in zip(words, [*words[1:], ""], strict=True):
        option = _OPTION_R.match(word)
        if option and (":" in word[option.end() :] or (":" in after and _OPTIONS_TO_R.fullmatch(word))):
            return True
    return bool(_REMOTE_FORWARD.search(line))


def _parse_line(line: str, environ: Mapping[str, str]) -> tuple[Pasted, ...] | UsageFault:
    """Return a line's tunnels, or the fault to raise if no other line has one.

    Raises UsageFault if the line has a remote forward and cannot be parsed.
    """
    try:
        return tuple(_tunnels(line, environ))
    except _NoForward as error:
        return _fault(str(error), line)
    except ValueError as error:
        fault = _fault(str(error), line)
        if _has_forward(line):
            raise fault from None
        return fault


def _command_lines(text: str) -> Iterator[str]:
    """Yield the lines that may hold a command; of a unit file, the values of ExecStart=."""
    lines = [line.strip() for line in text.split("\n")]
    started = [match[1] for line in lines if (match := _EXEC_START.match(line))]
    yield from started or (line for line in lines if line and not line.startswith("#"))


def _tunnels(line: str, environ: Mapping[str, str], *, depth: int = 0) -> list[Pasted]:
    """Return the tunnels of one line of a shell script, crontab or unit. Raises ValueError."""
    if not _MENTIONS_SSH.search(line):
        return []
    text_limits.check_line(line)
    placeholder = _PLACEHOLDER.search(line)
    if placeholder:
        raise ValueError(_placeholder_message(placeholder[0]))
    results = [_parse_command(words, environ, depth) for words in _split_commands(line)]
    found = [tunnel for result in results for tunnel in result or ()]
    if not found and any(result is not None for result in results):
        raise _NoForward("this ssh command opens no reverse tunnel: it has no -R")
    return found


def _parse_command(words: list[str], environ: Mapping[str, str], depth: int) -> list[Pasted] | None:
    """Return the tunnels of one simple command; None if it is not an ssh command."""
    at = _command_at(words)
    if at is not None:
        return _to_pasted(ssh_line.read(words[at + 1 :], autossh=_ssh_program(words[at]) == "autossh"), environ)
    nested = (word for word in words if " " in word) if depth == 0 else ()  # sh -c '…'
    return [tunnel for word in nested for tunnel in _tunnels(word, environ, depth=1)] or None


def _split_commands(line: str) -> Iterator[list[str]]:
    """Split a shell command line into simple commands without redirections. Raises ValueError."""
    command: list[str] = []
    in_redirection = False
    for token in list(shell_words.tokens(line)):  # all, as a line with a fault has no command
        if token and all(character in shell_words.OPERATORS for character in token):
            in_redirection = "<" in token or ">" in token
            if not in_redirection:
                yield command
                command = []
            elif command and command[-1] in ("0", "1", "2"):
                command.pop()  # the descriptor in 2>
        elif in_redirection:
            in_redirection = False
        else:
            command.append(token)
    yield command


def _command_at(words: list[str]) -> int | None:
    """Return the index of the ssh or autossh program in the words; a user of that name before it is not it."""
    for at, word in enumerate(words):
        after = words[at + 1] if at + 1 < len(words) else ""
        if _ssh_program(word) and not _ssh_program(after) and not _ASSIGNMENT.match(after):
            return at
    return None


def _ssh_program(word: str) -> str | None:
    name = word.rpartition("/")[2]
    return name if name in ("ssh", "autossh") else None


def _to_pasted(line: ssh_line.SshLine, environ: Mapping[str, str]) -> list[Pasted]:
    if not line.forwards:
        return []
    if line.host is None:
        raise ValueError("the jumphost is missing (user@host)")
    interval = line.keepalive_interval or 0
    return [
        Pasted(
            endpoint=HostPort(line.host, port),
            target=target,
            ssh_port=line.port or ssh_line.SSH_PORT,
            ssh_user=line.user or DEFAULT_SSH_USER,
            identity=_expanded(line.identity, environ),
            keepalive_interval=float(interval) if 0 < interval <= _MAX_INTERVAL else None,
            keepalive_count_max=line.keepalive_count_max or None,
            known_hosts=_known_hosts(line.known_hosts, environ),
            ignored=tuple(dict.fromkeys(line.ignored)),
        )
        for port, target in map(ssh_line.forward, line.forwards)
    ]


def _known_hosts(written: str | None, environ: Mapping[str, str]) -> str | None:
    first = written.split()[0] if written and written.strip() else None
    return None if first in ("none", "/dev/null") else _expanded(first, environ)


def _expanded(path: str | None, environ: Mapping[str, str]) -> str | None:
    """Expand variables of the shell and specifiers of ssh_config(5) and systemd.unit(5) that `environ` defines."""
    if path is None:
        return None
    home = environ.get("HOME")
    specifiers = {"h": home, "d": home, "u": environ.get("USER"), "%": "%"}

    def expand(match: re.Match[str]) -> str:
        value = specifiers[match[3]] if match[3] else environ.get(match[1] or match[2])
        return match[0] if value is None else value

    expanded = _VARIABLE.sub(expand, path)
    if home and (expanded == "~" or expanded.startswith("~/")):
        expanded = home + expanded[1:]
    if not expanded.isprintable():
        raise ValueError(f"{quoted(path)} is not a file's path")
    return expanded


def _bare_endpoint(text: str) -> Pasted | None:
    """Parse a Tunnel Endpoint alone, as the UI shows it, with or without its label."""
    try:
        endpoint = addresses.host_port(_LABEL.sub("", text, count=1))
    except ValueError:
        return None
    return Pasted(endpoint, None, DEFAULT_SSH_PORT, DEFAULT_SSH_USER)


def _no_command(text: str) -> UsageFault:
    """Return the fault of a text without an ssh command."""
    placeholder = _PLACEHOLDER.search(text)
    if placeholder:
        return _fault(_placeholder_message(placeholder[0]), text)
    words = _LABEL.sub("", text, count=1).split()
    if len(words) == 1 and ":" in words[0]:
        try:
            addresses.host_port(words[0])
        except ValueError as error:
            return _fault(f"as a Tunnel Endpoint: {error}", text)
    return _fault("this is neither an ssh or autossh command nor a Tunnel Endpoint", text)


def _placeholder_message(placeholder: str) -> str:
    return f"{quoted(placeholder)} is the page's placeholder and was not filled in"


def _fault(message: str, line: str) -> UsageFault:
    return UsageFault(f"{message}; read: {quoted(line)}", hint=_EXAMPLE)
