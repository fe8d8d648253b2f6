"""`ioconnect stub`: the stand-in for Integrate.io's side."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from ioconnect.config.addresses import HostPort, host_port
from ioconnect.console.command_group import FILE, command
from ioconnect.console.terminal import answer
from ioconnect.errors import ExitCode, UsageFault

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.console.invocation import Invocation

_ENDS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.OK}


@command("stub", examples=["ioconnect stub --listen 127.0.0.1:2222 --api 127.0.0.1:8080 --home /tmp/jumphost"])
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="For SSH (127.0.0.1, a free port).")
@click.option("--api", metavar="HOST:PORT", default="127.0.0.1:0", help="For the API (127.0.0.1, a free port).")
@click.option("--home", type=FILE, metavar="DIR", help="Where its keys and tunnels are kept from run to run.")
@click.pass_obj
def stub(invocation: Invocation, listen: str, api: str, home: Path | None) -> ExitCode:
    """Stand in for Integrate.io's side, in rehearsals.

    Runs an SSH jumphost and a registration API. Prints one line of JSON when it is ready.
    """
    from ioconnect.stub import Stub  # noqa: PLC0415  brings paramiko

    stub = Stub(_address(listen, "--listen"), _address(api, "--api"), home=home)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # before there are threads, which inherit it
    try:
        with stub:
            answer(stub.ready_line())
            if stub.authorized_keys is not None:
                invocation.terminal.say(f"Keys in {stub.authorized_keys} may sign in, too.")
            return _ENDS[signal.Signals(signal.sigwait(_ENDS))]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _address(text: str, option: str) -> HostPort:
    """Read host:port, where port 0 means any."""
    any_port = text.strip().endswith(":0")
    try:
        parsed = host_port(f"{text.strip()[:-1]}1" if any_port else text)  # which takes no port 0
    except ValueError as error:
        raise UsageFault(f"{option}: {error}", hint="Write it like 127.0.0.1:2222, or with port 0 for any.") from None
    return HostPort(parsed.host, 0) if any_port else parsed
