"""`ioconnect completion`: print the completion script for a shell."""

from __future__ import annotations

import click

from ioconnect.console.command_group import command
from ioconnect.console.completion import SCRIPTS


@command(
    "completion",
    examples=[
        'eval "$(ioconnect completion bash)"',
        "ioconnect completion fish > ~/.config/fish/completions/ioconnect.fish",
    ],
)
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print the completion script for a shell."""
    click.echo(SCRIPTS[shell], nl=False)
