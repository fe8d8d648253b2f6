"""From what a command raises to the code that it leaves with, and the lines that say why.

The one place that knows both click's exceptions and ours.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

from ioconnect.console.terminal import complain
from ioconnect.errors import ExitCode, Fault, SystemRefused, UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.console.invocation import Invocation


def run(command: click.Command, arguments: Sequence[str], invocation: Invocation) -> int:
    """Run the command and return its exit code; raises nothing."""
    _prepare_streams()
    try:
        code = _invoke(command, arguments, invocation)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        _end_line()
    except Exception as error:  # noqa: BLE001  the last one to see it: nobody shall meet a traceback
        code = _explained(error, invocation)
    _let_go_of_streams()
    return code


def _invoke(command: click.Command, arguments: Sequence[str], invocation: Invocation) -> int:
    # Not command.main(): its standalone half prints and exits with codes of its own.
    try:
        with command.make_context("ioconnect", list(arguments), obj=invocation) as context:
            outcome = command.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    return int(outcome) if isinstance(outcome, int) else ExitCode.OK


def _explained(error: Exception, invocation: Invocation) -> int:
    """Say what happened, if anybody still listens, and return the code for it."""
    if isinstance(error, BrokenPipeError):
        return ExitCode.OK  # whoever read our output has had all that they wanted
    if isinstance(error, (EOFError, click.Abort)):
        _end_line()
        return ExitCode.INTERRUPTED
    fault = as_fault(error)
    with contextlib.suppress(OSError):
        if invocation.verbose and not isinstance(error, click.ClickException):
            traceback.print_exception(type(error), error, error.__traceback__)
        if fault.exit_code is ExitCode.OK:  # what was asked for is so already
            invocation.terminal.say(f"{fault.message}. {fault.hint}".rstrip())
        else:
            complain(fault)
    return fault.exit_code


def as_fault(error: Exception) -> Fault:
    """Return the fault that stands for any exception; one that nobody foresaw is a bug of ours."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "ioconnect"
        return UsageFault(error.format_message(), hint=f"{path} --help shows how it is used.")
    if isinstance(error, click.ClickException):
        return UsageFault(error.format_message())
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return SystemRefused(f"the system refused: {error.strerror or error}{where}")
    return Fault(
        f"unexpected {type(error).__name__}: {error}",
        hint="This is a bug in ioconnect. Run it again with -v and report what it shows.",
    )


def _prepare_streams() -> None:
    """Open the standard streams that our parent closed, on nothing; let no locale make a character a failure."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123  lives as long as we
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_line() -> None:
    """End the line on which ^C or a question stands."""
    with contextlib.suppress(OSError):
        if sys.stderr.isatty():
            sys.stderr.write("\n")


def _let_go_of_streams() -> None:
    """Flush; a stream that cannot be is pointed at nothing, so that the interpreter's last flush cannot fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # noqa: PERF203  two turns
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
