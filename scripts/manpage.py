"""Prints ioconnect(1), made from the commands' own help: `./run python -m scripts.manpage > man/ioconnect.1`.

The macros are man(7)'s, which groff and mandoc both know.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from ioconnect import __version__
from ioconnect.cli import cli
from ioconnect.console.command_group import Subcommand
from ioconnect.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_STATUS = {
    ExitCode.OK: "All well; also a foreground up that was ended by TERM or by down.",
    ExitCode.USAGE: "The command line makes no sense.",
    ExitCode.NO_INPUT: "The identity is missing or cannot be read.",
    ExitCode.NO_HOST: "A name does not resolve.",
    ExitCode.UNAVAILABLE: "Unreachable, refused, silent, or the target is; with status: no agent runs.",
    ExitCode.SOFTWARE: "A bug.",
    ExitCode.OS_ERROR: "The system refused.",
    ExitCode.CANNOT_CREATE: "A file cannot be written.",
    ExitCode.TEMP_FAIL: "Alive but not connected, the port is busy, or turned away for now.",
    ExitCode.PROTOCOL: "The host key has changed, or is not the expected one.",
    ExitCode.NO_PERMISSION: "The key is not accepted, or the forward is not permitted.",
    ExitCode.CONFIG: "The configuration has a fault, or the host key is not pinned.",
    ExitCode.INTERRUPTED: "Interrupted (Ctrl-C).",
}
FILES = {
    "config.toml": "The tunnels. Written by setup and register; unknown keys are refused.",
    "id_ed25519, id_ed25519.pub": "The identity, mode 0600, and its public half.",
    "known_hosts": "The pinned host keys. The user's own known_hosts is never touched.",
    "state/status.json": "What every tunnel does now, as status shows it.",
    "log/ioconnect.log": "The daemon's log; rotated.",
}
WHERE = (
    "All of these are in the folder that IOCONNECT_HOME names. Without it root has them in /etc/ioconnect, "
    "/var/lib/ioconnect and /var/log/ioconnect, and everybody else where this system keeps such files (on Linux "
    "~/.config/ioconnect and ~/.local/state/ioconnect, on macOS ~/Library)."
)
ENVIRONMENT = {
    "IOCONNECT_HOME": "A folder for everything.",
    "IOCONNECT_CONFIG": "The configuration; --config comes before it.",
    "IOCONNECT_TOKEN_FILE": "The bearer token for register --api.",
    "NO_COLOR": "Plain lines on a terminal, too.",
    "https_proxy, all_proxy, no_proxy": "The proxy to the jumphost, unless the configuration says otherwise.",
}


def page() -> str:
    """Return the whole page."""
    context = click.Context(cli, info_name="ioconnect", **cli.context_settings)
    headline = (cli.help or "-").splitlines()[0].rstrip(".")
    own = [command for command in cli.commands.values() if not command.hidden]
    parts = [
        f'.TH IOCONNECT 1 "" "ioconnect {__version__}" "User Commands"',
        ".SH NAME",
        f"ioconnect \\- {_text(headline[0].lower() + headline[1:])}",
        ".SH SYNOPSIS",
        ".B ioconnect\n.RI [ options ]\n.I command\n.RI [ arguments ]",
        ".SH DESCRIPTION",
        *_paragraphs(cli.help or ""),
        ".SH COMMANDS",
        *(line for command in own for line in _command(command)),
        ".SH OPTIONS",
        "These stand before or after the command.",
        *(line for option in cli.get_params(context) for line in _option(option)),
        ".SH FILES",
        _text(WHERE),
        *_definitions(FILES),
        ".SH ENVIRONMENT",
        *_definitions(ENVIRONMENT),
        ".SH EXIT STATUS",
        *_definitions({str(int(code)): EXIT_STATUS[code] for code in ExitCode}),
        ".SH SEE ALSO",
        ".BR ssh (1),\n.BR sshd (8),\n.BR sysexits (3)",
    ]
    return "\n".join(parts) + "\n"


def _command(command: click.Command) -> Iterator[str]:
    yield f".SS {_text(_usage(command))}"
    yield from _paragraphs(command.help or "")
    for option in command.params:
        if isinstance(command, Subcommand) and option.name not in _global_names():
            yield from _option(option)
    examples = command.examples if isinstance(command, Subcommand) else ()
    if examples:
        yield ".PP\nExamples:\n.PP\n.EX"
        yield from (f"    {_text(example)}" for example in examples)
        yield ".EE"


def _usage(command: click.Command) -> str:
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    return " ".join([command.name or "", *(_placeholder(argument) for argument in arguments)])


def _placeholder(argument: click.Argument) -> str:
    if isinstance(argument.type, click.Choice):
        return "|".join(str(choice) for choice in argument.type.choices)
    return argument.metavar or f"[{(argument.name or '').upper()}]"


def _option(option: click.Parameter) -> Iterator[str]:
    """Yield an option's entry; nothing for a hidden one, or for an argument, which the heading has."""
    if not isinstance(option, click.Option) or option.hidden:
        return
    names = ", ".join(_text(name) for name in option.opts + option.secondary_opts)
    value = option.metavar or ("|".join(option.type.choices) if isinstance(option.type, click.Choice) else "")
    yield ".TP"
    yield f"\\fB{names}\\fR" + (f" \\fI{_text(value)}\\fR" if value else "")
    yield _text(option.help or "")


def _global_names() -> set[str | None]:
    return {parameter.name for parameter in cli.params}


def _definitions(entries: dict[str, str]) -> Iterator[str]:
    for term, meaning in entries.items():
        yield f".TP\n.B {_text(term)}\n{_text(meaning)}"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    r"""Escape what roff(7) would take for its own, or print as something that cannot be copied to a shell."""
    for plain, roff in (("\\", "\\e"), ("-", "\\-"), ("…", "..."), ("~", "\\(ti"), ("^", "\\(ha")):
        text = text.replace(plain, roff)
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(page())
