"""`ioconnect setup`: its options, which answer the questions beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ioconnect.commands.setup.answers import EXAMPLE, Answers
from ioconnect.console.command_group import PORT, command, name_argument

if TYPE_CHECKING:
    from ioconnect.console.invocation import Invocation
    from ioconnect.errors import ExitCode


@command("setup", examples=["ioconnect setup", EXAMPLE])
@name_argument
@click.option("--endpoint", metavar="HOST:PORT", help="The Tunnel Endpoint, as the Integrate.io UI shows it.")
@click.option("--paste", metavar="TEXT", help="Any ssh or autossh line that the UI shows; - reads it from stdin.")
@click.option("--to", "target", metavar="HOST:PORT", help="The database, as seen from this machine, or unix:/PATH.")
@click.option("--ssh-port", type=PORT, metavar="N", help="The jumphost's SSH port (50683).")
@click.option("--ssh-user", metavar="USER", help="The user on the jumphost (sshtunnel).")
@click.option("--proxy", metavar="URL", help="http://user@host:3128, socks5://host:1080, or none.")
@click.option("--fingerprint", metavar="SHA256:…", help="The host key that Integrate.io told you.")
@click.option("--yes", is_flag=True, help="Pin whatever host key is shown, if nothing is pinned yet.")
@click.option("--service/--no-service", default=None, help="Install a service, or just start it in the background.")
@click.option("--run-as", metavar="USER", help="As root: the account that runs the service (systemd makes one up).")
@click.option("--start/--no-start", default=True, help="Start it now (the default), or leave nothing running.")
@click.pass_obj
def setup(invocation: Invocation, /, **options: Any) -> ExitCode:
    """Set up a tunnel, step by step, up to a service that keeps it running.

    The key, the Tunnel Endpoint, the database, the host key, a test, the service: what is done already is skipped.
    Ctrl-C keeps what is done; run it again to go on. With all answers as options it asks nothing.
    """
    from ioconnect.commands.setup.steps import run  # noqa: PLC0415  only the options are needed for completion
    from ioconnect.registration.request import warn_of_visible_password  # noqa: PLC0415

    warn_of_visible_password(options["proxy"], invocation.paths.config, invocation.terminal.warn)
    return run(invocation, Answers(**options))
