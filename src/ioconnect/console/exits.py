"""Runs a command, and turns whatever it raises into an error message and an exit code.

No other file knows both click's exceptions and ours.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from ioconnect.console.terminal import answer, print_error
from ioconnect.errors import ExitCode, Fault, SystemRefused, UsageFault
from ioconnect.fault_document import error_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.console.invocation import Invocation


def run(command: click.Command, arguments: Sequence[str], invocation: Invocation) -> int:
    """Run the command and return its exit code; raises nothing."""
    _prepare_streams()
    try:
        code = _invoke(command, arguments, invocation)
        if invocation.as_json:
            answer(json.dumps(invocation.document, indent=2))
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        _end_line()
    except Exception as error:  # noqa: BLE001  a bug is shown as one, without a traceback
        code = _report(error, invocation)
    _flush_streams()
    return code


def leave(code: int) -> NoReturn:
    """End the process with this exit code, also beside a daemon thread that hangs, as a cancelled sign-in may.

    The interpreter's end would stop that thread wherever it is. In native code glibc answers that with an abort
    (CPython issue 87135).
    """
    if any(thread.daemon for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


def _invoke(command: click.Command, arguments: Sequence[str], invocation: Invocation) -> int:
    # Not command.main(): its standalone mode prints errors in its own way and exits with its own codes.
    try:
        with command.make_context("ioconnect", list(arguments), obj=invocation) as context:
            outcome = command.invoke(context)
    except click.exceptions.Exit as leaving:  # --help, --version: their text is the answer
        invocation.as_json = False
        return leaving.exit_code
    return int(outcome) if isinstance(outcome, int) else ExitCode.OK


def _report(error: Exception, invocation: Invocation) -> int:
    """Print the error to standard error, if that is still open, and return its exit code."""
    if isinstance(error, BrokenPipeError):
        return ExitCode.OK  # the reader of a pipe, like head(1), has read enough
    if isinstance(error, (EOFError, click.Abort)):
        _end_line()
        return ExitCode.INTERRUPTED
    fault = as_fault(error)
    with contextlib.suppress(OSError):
        if invocation.verbose and not isinstance(error, click.ClickException):
            traceback.print_exception(type(error), error, error.__traceback__)
        if fault.exit_code is ExitCode.OK:  # nothing was to do
            invocation.terminal.say(f"{fault.message}. {fault.hint}".rstrip())
        else:
            print_error(fault)
    if invocation.as_json:
        document = invocation.document or {"schema": 1}
        error_part = {} if fault.exit_code is ExitCode.OK else {"error": error_of(fault, fault.exit_code)}
        with contextlib.suppress(OSError):
            answer(json.dumps({**document, **error_part}, indent=2))
    return fault.exit_code


def as_fault(error: Exception) -> Fault:
    """Return the fault for any exception; for one that is not expected, a fault that calls it a bug."""
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
    """Open standard streams that are closed on /dev/null; escape characters that the locale cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123  open until the process ends
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_line() -> None:
    """End the line that ^C or a question is on."""
    with contextlib.suppress(OSError):
        if sys.stderr.isatty():
            sys.stderr.write("\n")


def _flush_streams() -> None:
    """Flush; a stream that fails becomes /dev/null, so that the interpreter's flush at exit cannot fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # noqa: PERF203  two streams
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
