"""The command line: parse, one call, render, exit code.

Every command is a few lines that import the room it calls when it runs: `--version` and `status` must be light.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ioconnect.commands.configure.import_ import import_
from ioconnect.commands.inspect.doctor_options import doctor
from ioconnect.commands.inspect.test_options import test
from ioconnect.commands.machine.service import install_service, uninstall_service
from ioconnect.commands.setup.command import setup
from ioconnect.console import exits
from ioconnect.console.command_group import Commands, name_argument, names_argument
from ioconnect.console.invocation import Call

if TYPE_CHECKING:
    from ioconnect.errors import ExitCode

PORT = click.IntRange(1, 65535)
FILE = click.Path(path_type=Path)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.pass_context
def cli(context: click.Context) -> None:
    """Keep a reverse SSH tunnel from your database to Integrate.io up, and tell the truth about it.

    First step: setup, which leads through the others.
    """
    if context.invoked_subcommand is None:
        context.fail("say what to do")


cli.add_command(setup)


@cli.command(examples=["ioconnect keygen", "ioconnect keygen --file ~/.ssh/integrateio_reverse --comment orders-db"])
@click.option("--file", type=FILE, metavar="FILE", help="Where the private key goes; the public one beside it.")
@click.option("--comment", metavar="TEXT", help="What the public key ends with.")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase and keep it in the OS keyring.")
@click.option("--force", is_flag=True, help="Replace a key that exists; the old one is lost.")
@click.pass_obj
def keygen(call: Call, file: Path | None, comment: str | None, *, passphrase: bool, force: bool) -> None:
    """Make the SSH identity and print its public key.

    A key that exists is kept and printed again.
    """
    from ioconnect.commands.configure import keygen  # noqa: PLC0415

    keygen.make(call, keygen.Wish(file, comment, passphrase, force))


@cli.command(
    examples=[
        "ioconnect register --endpoint virginia-tunnel.flydata.app:58115 --to localhost:3306",
        "ioconnect register orders --paste 'ssh -NR 58115:db:3306 sshtunnel@virginia-tunnel.flydata.app -p 50683'",
        "pbpaste | ioconnect register orders --paste -",
        "ioconnect register orders --api https://api.example.com --token-file ~/.token --to localhost:3306",
    ]
)
@name_argument
@click.option("--endpoint", metavar="HOST:PORT", help="The Tunnel Endpoint, as the Integrate.io UI shows it.")
@click.option("--to", metavar="HOST:PORT", help="The database, as seen from this machine.")
@click.option("--paste", metavar="TEXT", help="Any ssh or autossh line that the UI shows; - reads it from stdin.")
@click.option("--api", metavar="URL", help="Hand the key over by HTTP; pins the host keys that come back.")
@click.option(
    "--token-file",
    type=FILE,
    metavar="FILE",
    help="With --api: holds the token (else IOCONNECT_TOKEN_FILE, or the keyring).",
)
@click.option("--ssh-port", type=PORT, metavar="N", help="The jumphost's SSH port (50683).")
@click.option("--ssh-user", metavar="USER", help="The user on the jumphost (sshtunnel).")
@click.option("--proxy", metavar="URL", help="http://user@host:3128, socks5://host:1080, or none.")
@click.option("--force", is_flag=True, help="Change a tunnel that exists.")
@click.pass_obj
def register(
    call: Call, /, to: str | None, paste: str | None, api: str | None, token_file: Path | None, **options: Any
) -> None:
    """Hand over the public key and save the tunnel that it is for.

    Shows the public key to paste in the Integrate.io UI, takes the Tunnel Endpoint that the UI gives back, and
    asks on a terminal for what is missing.
    """
    from ioconnect.commands.configure import register  # noqa: PLC0415
    from ioconnect.console.terminal import answer  # noqa: PLC0415

    if api is not None or token_file is not None:
        from ioconnect.registration import enrol  # noqa: PLC0415

        wish = enrol.from_options(api=api, token_file=token_file, to=to, paste=paste, **options)
        answer(enrol.enrol(wish, call.paths, call.terminal, os.environ))
        return
    request = register.Request(target=to, paste=register.read_paste(sys.stdin) if paste == "-" else paste, **options)
    answer(register.register(request, call.paths, call.terminal, os.environ))


@cli.command(
    examples=[
        "ioconnect pin",
        "ioconnect pin orders --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrtYkwPVq2W5hKsYk3WyPbCM",
    ]
)
@name_argument
@click.option("--fingerprint", metavar="SHA256:…", help="Pin the key that has this fingerprint, and no other.")
@click.option("--yes", is_flag=True, help="Pin whatever is shown, if nothing is pinned yet.")
@click.pass_obj
def pin(call: Call, name: str | None, fingerprint: str | None, *, yes: bool) -> None:
    """Fetch the jumphost's host keys and pin them.

    Their fingerprints are shown; compare them with what Integrate.io told you. Nothing is ever sent to a jumphost
    whose key is not pinned.
    """
    from ioconnect.commands.configure import pin  # noqa: PLC0415
    from ioconnect.console import selection  # noqa: PLC0415
    from ioconnect.console.terminal import answer  # noqa: PLC0415

    tunnel = selection.tunnel(call.config, name)
    consent = pin.Consent(fingerprint, yes=yes)
    answer("\n".join(pin.pin(tunnel, call.paths, call.terminal, consent)))


cli.add_command(import_)
cli.add_command(test)


@cli.command(examples=["ioconnect up", "ioconnect up orders --daemon --wait 10"])
@names_argument
@click.option("--daemon", is_flag=True, help="Go on in the background; return once all tunnels are connected.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=30.0,
    metavar="S",
    help="With --daemon: return 75 if one is not connected after S seconds (30); it keeps trying.",
)
@click.option("--ready-fd", type=click.IntRange(3), hidden=True)
@click.option("--log-to-file", is_flag=True, hidden=True)
@click.pass_obj
def up(
    call: Call, names: tuple[str, ...], wait: float, ready_fd: int | None, *, daemon: bool, log_to_file: bool
) -> ExitCode:
    """Keep all tunnels, or the named ones, up.

    Runs in the foreground until Ctrl-C, TERM or `ioconnect down`. Already running: says so and leaves with 0, so
    cron may repeat it.
    """
    from ioconnect.commands.run import running  # noqa: PLC0415

    if daemon:
        return running.start(call, names, wait)
    return running.run(call, names, ready_fd, log_to_file=log_to_file)


@cli.command(examples=["ioconnect down"])
@click.pass_obj
def down(call: Call) -> None:
    """Stop the agent cleanly: the jumphost frees the ports at once."""
    from ioconnect.commands.run import running  # noqa: PLC0415

    running.stop(call)


@cli.command(
    examples=[
        "ioconnect status --watch",
        "ioconnect status --json | jq '.tunnels[].state'",
        "ioconnect status --check",
    ]
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, schema 1.")
@click.option("--watch", is_flag=True, help="Go on showing it, until q or Ctrl-C.")
@click.option("--check", is_flag=True, help="No output, only the exit code.")
@click.pass_obj
def status(call: Call, *, as_json: bool, watch: bool, check: bool) -> ExitCode:
    """Show what every tunnel does now, and why.

    Leaves with 0 if all are connected, 75 if the agent runs but one is not, 69 if no agent runs.
    """
    from ioconnect.commands.inspect.status import Form, report  # noqa: PLC0415

    if as_json + watch + check > 1:
        raise click.UsageError("--json, --watch and --check exclude each other")
    if watch:
        from ioconnect.commands.inspect.watch import watch as go_on  # noqa: PLC0415

        return go_on(call)
    return report(call, Form.JSON if as_json else Form.NOTHING if check else Form.TABLE)


@cli.command(examples=["ioconnect reload"])
@click.pass_obj
def reload(call: Call) -> None:
    """Make the agent read the configuration again.

    Tunnels that did not change keep their connections. With a fault in the configuration the agent goes on as it
    was.
    """
    from ioconnect.commands.run import running  # noqa: PLC0415

    running.reload(call)


@cli.command(examples=["ioconnect reconnect"])
@name_argument
@click.pass_obj
def reconnect(call: Call, name: str | None) -> None:
    """Drop every wait and try now.

    A connected tunnel is not dropped, only asked for a sign of life.
    """
    from ioconnect.commands.run import running  # noqa: PLC0415

    running.reconnect(call, name)


@cli.command(examples=["ioconnect logs -n 20", "ioconnect logs -f"])
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0, 1_000_000), default=100, metavar="N", help="How many (100).")
@click.pass_obj
def logs(call: Call, lines: int, *, follow: bool) -> None:
    """Show the daemon's log."""
    from ioconnect.console.terminal import answer  # noqa: PLC0415
    from ioconnect.status import log_reader  # noqa: PLC0415

    path = call.paths.log
    if not log_reader.is_there(path):
        call.terminal.say(log_reader.absence(path))
    for line in log_reader.follow(path, lines) if follow else log_reader.last_lines(path, lines):
        answer(line)


cli.add_command(install_service)
cli.add_command(uninstall_service)
cli.add_command(doctor)


@cli.command(examples=["ioconnect stub --listen 127.0.0.1:2222 --api 127.0.0.1:8080 --home /tmp/jumphost"])
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="For SSH (127.0.0.1, a free port).")
@click.option("--api", metavar="HOST:PORT", default="127.0.0.1:0", help="For the API (127.0.0.1, a free port).")
@click.option("--home", type=FILE, metavar="DIR", help="Where its keys and tunnels are kept from run to run.")
def stub(listen: str, api: str, home: Path | None) -> None:
    """Stand in for Integrate.io's side, in rehearsals.

    Runs an SSH jumphost and a registration API. Prints one line of JSON when it is ready.
    """
    from ioconnect.stub import serve  # noqa: PLC0415

    serve(listen, api, home)


@cli.command(examples=["ioconnect demo"])
@click.pass_obj
def demo(call: Call) -> ExitCode:
    """Show a tunnel's whole life on this machine.

    Needs nothing set up: a stub is the jumphost, a tiny service the database. Key, registration, tunnel, a request
    through it, a dropped link and the recovery; cleans up after itself.
    """
    from ioconnect.demo import run  # noqa: PLC0415

    return run(call.terminal.say, busy=call.terminal.busy)


@cli.command(
    examples=[
        'eval "$(ioconnect completion bash)"',
        "ioconnect completion fish > ~/.config/fish/completions/ioconnect.fish",
    ]
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell."""
    from ioconnect.console.completion import SCRIPTS  # noqa: PLC0415

    click.echo(SCRIPTS[shell], nl=False)


def main() -> NoReturn:
    """Run the command line and leave with one of `ExitCode`."""
    call = Call()
    instruction = os.environ.get("_IOCONNECT_COMPLETE")
    if instruction:
        from ioconnect.console.completion import respond  # noqa: PLC0415

        sys.exit(respond(cli, instruction, call))
    sys.exit(exits.run(cli, sys.argv[1:], call))
