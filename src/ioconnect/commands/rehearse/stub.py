"""`ioconnect stub`: the stand-in for Integrate.io's side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ioconnect.console.command_group import FILE, command

if TYPE_CHECKING:
    from pathlib import Path


@command("stub", examples=["ioconnect stub --listen 127.0.0.1:2222 --api 127.0.0.1:8080 --home /tmp/jumphost"])
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="For SSH (127.0.0.1, a free port).")
@click.option("--api", metavar="HOST:PORT", default="127.0.0.1:0", help="For the API (127.0.0.1, a free port).")
@click.option("--home", type=FILE, metavar="DIR", help="Where its keys and tunnels are kept from run to run.")
def stub(listen: str, api: str, home: Path | None) -> None:
    """Stand in for Integrate.io's side, in rehearsals.

    Runs an SSH jumphost and a registration API. Prints one line of JSON when it is ready.
    """
    from ioconnect.stub import serve  # noqa: PLC0415  brings paramiko

    serve(listen, api, home)
