"""The group of commands: each imported when it is run, global options before or after it, suggestions, examples."""

from __future__ import annotations

import importlib
from collections import UserDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ioconnect import __version__
from ioconnect.console.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

PORT = click.IntRange(1, 65535)
FILE = click.Path(path_type=Path)
JSON = "--json"


def _set_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config_file = value


def _add_verbosity(context: click.Context, _parameter: click.Parameter, value: int) -> None:
    context.ensure_object(Invocation).verbose += value


def _set_quiet(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  click calls
    context.ensure_object(Invocation).terminal.quiet |= value


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  click calls
    context.ensure_object(Invocation).as_json = value


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  click calls
    if value and not context.resilient_parsing:
        click.echo(f"ioconnect {__version__}")
        context.exit()


def _global_options() -> list[click.Parameter]:
    file = click.Path(path_type=Path, dir_okay=False)
    return [
        click.Option(
            ["--config"],
            type=file,
            metavar="FILE",
            expose_value=False,
            callback=_set_config,
            help="Use this configuration; identity and pins are looked for beside it.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_add_verbosity,
            help="Say more; also the traceback of a bug.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_set_quiet,
            help="Say only what failed.",
        ),
    ]


class Subcommand(click.Command):
    """A command that takes the global options, too, and prints its examples at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += _global_options()
        self.examples = examples

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse; a fault that the parser finds before any callback has run is answered in JSON, too, if asked for."""
        typed = list(args)
        try:
            return super().parse_args(context, args)
        except click.UsageError:
            if JSON in typed and any(option.callback is _set_json for option in self.params):
                context.ensure_object(Invocation).as_json = True
            raise

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, a line each and never wrapped: they are there to be copied."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def command(name: str, *, examples: Sequence[str]) -> Callable[[Callable[..., Any]], Subcommand]:
    """Make a `Subcommand` of the decorated function, whose docstring is the help."""
    return click.command(name, cls=Subcommand, examples=examples)


class LazyCommand(click.Command):
    """A command's entry in the list: its name and the first sentence of its help, enough for --help and completion.

    The command itself is the object in `module` that is called like the module.
    """

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.module = module

    def load(self) -> click.Command:
        """Import the command."""
        command: click.Command = getattr(importlib.import_module(self.module), self.module.rpartition(".")[2])
        return command


class LazyCommands(UserDict[str, click.Command]):
    """A group's commands by name in the order of the list; a look-up imports the command, `listed` does not."""

    def __getitem__(self, name: str) -> click.Command:
        found = self.listed(name)
        if isinstance(found, LazyCommand):
            found = self.data[name] = found.load()
        return found

    def listed(self, name: str) -> click.Command:
        """Return the command if it is imported already, else its entry. Raises KeyError."""
        return self.data[name]


class CommandGroup(click.Group):
    """A group that imports a command when it is run, and suggests the nearest name for one that is misspelt.

    click documents the pattern as "Lazily Loading Subcommands".
    """

    commands: LazyCommands

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += [
            *_global_options(),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_version,
                help="Show the version and leave.",
            ),
        ]

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the commands in the order of the list, not of the alphabet."""
        return list(self.commands)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Return what help and completion show of the command, None if there is none."""
        return self.commands.listed(name) if name in self.commands else None

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Import the command that is meant; for a misspelt one, fail with the nearest."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not context.resilient_parsing:
            import difflib  # noqa: PLC0415  for a mistake only

            alike = difflib.get_close_matches(args[0], self.commands, n=2)
            also = f"; did you mean {' or '.join(alike)}?" if alike else ""
            context.fail(f"there is no command {args[0]!r}{also}")
        name, found, rest = super().resolve_command(context, args)
        if name is None:
            return name, found, rest
        try:
            return name, self.commands[name], rest
        except Exception:  # a bug in its file: a -v behind the command asks for the traceback as well
            lenient = {"ignore_unknown_options": True, "allow_extra_args": True}
            Subcommand(name, add_help_option=False, context_settings=lenient).make_context(name, rest, parent=context)
            raise


def tunnel_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the configured tunnels that begin with `incomplete`; none if the configuration cannot be read."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415  only a completion script asks

    from ioconnect.errors import Fault  # noqa: PLC0415

    try:
        tunnels = context.ensure_object(Invocation).config.tunnels
    except Fault:
        return []
    return [
        CompletionItem(tunnel.name, help=f"{tunnel.endpoint} to {tunnel.target}")
        for tunnel in tunnels
        if tunnel.name.startswith(incomplete)
    ]


def name_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command an optional NAME."""
    return click.argument("name", required=False, shell_complete=tunnel_names)(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `--json`, which sets `Invocation.as_json` before the other options are checked."""
    return click.option(
        JSON,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_set_json,
        help="Answer with one JSON document; with its error if the command fails.",
    )(function)


def names_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command any number of NAMEs."""
    return click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=tunnel_names)(function)
