"""What every command shares: global options before or after it, tunnel names that complete, suggestions, examples."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ioconnect import __version__
from ioconnect.console.invocation import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem


def _set_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(Call).config_file = value


def _add_verbosity(context: click.Context, _parameter: click.Parameter, value: int) -> None:
    context.ensure_object(Call).verbose += value


def _set_quiet(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  click calls
    context.ensure_object(Call).terminal.quiet |= value


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
    """A command that takes the global options too, and shows its examples as they are written."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += _global_options()
        self.examples = examples

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples, line by line as they are: they are to be copied."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class Commands(click.Group):
    """The group: commands in the order of their declaration, the nearest name for one that is misspelt."""

    command_class = Subcommand

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
        """Return the commands in the order of a tunnel's life, not of the alphabet."""
        return list(self.commands)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a misspelt one, fail with the nearest."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not context.resilient_parsing:
            alike = difflib.get_close_matches(args[0], self.commands, n=2)
            also = f"; did you mean {' or '.join(alike)}?" if alike else ""
            context.fail(f"there is no command {args[0]!r}{also}")
        return super().resolve_command(context, args)


def tunnel_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the configured tunnels that begin like this; none while the configuration cannot be read."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415  only a shell's question needs it

    from ioconnect.errors import Fault  # noqa: PLC0415

    try:
        tunnels = context.ensure_object(Call).config.tunnels
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


def names_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command any number of NAMEs."""
    return click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=tunnel_names)(function)
