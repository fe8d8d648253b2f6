"""Writes what an installation consists of, runs its commands, and undoes both when one of them fails.

The only room that starts other programs. Every one of them has a deadline, and speaks English (LC_ALL=C).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.config.files import make_folder, read_regular, write_atomically
from ioconnect.errors import CannotCreate, Fault, SystemRefused
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ioconnect.installers.service import Command, File, Installation

DEADLINE = 120.0  # seconds; systemctl waits for READY=1, by default at most 90
LARGEST_FILE = 1 << 20  # bytes, of a file that is to be replaced or removed


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended and what it said."""

    code: int
    out: bytes
    err: bytes

    @property
    def words(self) -> str:
        """What it complained of, safe to print, on one line."""
        return escaped(b" ".join((self.err or self.out).split()))


def run(
    argv: Sequence[str], *, stdin: bytes = b"", deadline: float = DEADLINE, variables: Mapping[str, str] | None = None
) -> Ran:
    """Run a program to its end. Raises SystemRefused if it is not there or does not end in time."""
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0", **(variables or {})}
    runtime = f"/run/user/{os.getuid()}"
    if os.path.isdir(runtime):  # noqa: PTH112  su and cron leave it out, and `systemctl --user` finds no bus then
        environment.setdefault("XDG_RUNTIME_DIR", runtime)
    try:
        done = subprocess.run(  # noqa: S603  the commands are ours, no shell reads them
            list(argv), input=stdin, capture_output=True, timeout=deadline, env=environment, check=False
        )
    except OSError as error:
        # A folder of the PATH that one may not look into makes "not found" a refused permission.
        if shutil.which(argv[0]) is not None:
            raise SystemRefused(f"cannot run {argv[0]}: {error.strerror}", hint="Check its permissions.") from error
        raise SystemRefused(
            f"there is no {argv[0]} on this machine",
            hint="Choose another --kind, or see docs/services.md for machines without systemd, cron and launchd.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SystemRefused(
            f"`{' '.join(argv)}` was not done after {deadline:g} s", hint="Run it by hand to see what it waits for."
        ) from error
    return Ran(done.returncode, done.stdout, done.stderr)


def current(file: File) -> bytes | None:
    """Return what the file holds now; None if there is none. Raises SystemRefused if that cannot be told."""
    return _read(file.path)


def put(installation: Installation, *, start: bool, account: str | None = None) -> bool:
    """Write the files and run the commands; say whether a file changed. Installed already: changes nothing.

    `account` is to own the folders that are made. Whatever fails, also Ctrl-C: all that was done is undone, and the
    fault raised (SystemRefused, CannotCreate).
    """
    before = {file.path: _read(file.path) for file in installation.files}
    changed = [file for file in installation.files if before[file.path] != file.content]
    restored = [_restorer(file.path, before[file.path]) for file in changed]
    made: list[Path] = []
    try:
        for folder in installation.folders:
            made += _make_folder(folder, account)
        for file in changed:
            make_folder(file.path.parent, mode=0o755)
            write_atomically(file.path, file.content, mode=file.mode)
        _run_all((*(installation.reread if changed else ()), *installation.enable))
        if start:
            _begin(installation.restart if changed else installation.start, installation.explain)
    except BaseException:
        if not any(before.values()):
            _undo_new(installation, restored, made)
        elif changed:
            _undo_change(installation, restored, start=start)
        raise
    return bool(changed)


def take_away(installation: Installation, *, is_ours: Callable[[bytes], bool]) -> bool:
    """Stop the service and remove its files; say whether there were any.

    Raises SystemRefused, and removes nothing, if a file of that name holds something that `is_ours` denies.
    """
    there = {file.path: content for file in installation.files if (content := _read(file.path)) is not None}
    if not there:
        return False
    for path, content in there.items():
        if not is_ours(content):
            raise SystemRefused(
                f"{path} was not written by ioconnect install-service",
                hint="Remove it yourself, with whatever put it there.",
            )
    _run_all(installation.disable)
    for path in there:
        _remove(path)
    _run_all(installation.forget)
    return True


def perform(command: Command) -> None:
    """Run a command as it says of itself. Raises SystemRefused if it fails in the end."""
    if command.unless is not None and run(command.unless).code == 0:
        return
    end = time.monotonic() + command.patience
    while True:
        ran = run(command.argv)
        if ran.code == 0 or ran.code in command.tolerated:
            return
        if ran.code not in command.retried or time.monotonic() >= end:
            break
        time.sleep(0.25)
    raise SystemRefused(
        f"`{' '.join(command.argv)}` failed: {ran.words or f'code {ran.code}'}",
        hint="Mend that, then try again.",
    )


def _run_all(commands: Iterable[Command]) -> None:
    for command in commands:
        perform(command)


def _begin(commands: Iterable[Command], explain: tuple[str, ...]) -> None:
    try:
        _run_all(commands)
    except SystemRefused as refused:
        raise _explained(refused, explain) from refused


def _explained(refused: SystemRefused, explain: tuple[str, ...]) -> SystemRefused:
    """Return the fault with what the service itself said last."""
    if not explain:
        return refused
    with contextlib.suppress(SystemRefused):
        said = run(explain, deadline=20).out.splitlines()
        shown = "".join(f"\n  {escaped(line)}" for line in said if line.strip())
        return SystemRefused(f"{refused.message}{shown}", hint=refused.hint)
    return refused


def _undo_new(installation: Installation, restored: list[Callable[[], None]], made: list[Path]) -> None:
    """Leave nothing of what was not there before: the same as `take_away`, whatever fails of it."""
    forget = [partial(perform, command) for command in installation.forget]
    folders = [folder.rmdir for folder in reversed(made)]
    _whatever_fails(*(partial(perform, command) for command in installation.disable), *restored, *forget, *folders)


def _undo_change(installation: Installation, restored: list[Callable[[], None]], *, start: bool) -> None:
    """Bring back the service as it was, and running if this was to start it."""
    again = (*installation.reread, *(installation.restart if start else ()))
    _whatever_fails(*restored, *(partial(perform, command) for command in again))


def _whatever_fails(*steps: Callable[[], object]) -> None:
    for step in steps:
        with contextlib.suppress(Fault, OSError):
            step()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CannotCreate(f"cannot remove {path}: {error.strerror}", hint="Remove it yourself.") from error


def _restorer(path: Path, content: bytes | None) -> Callable[[], None]:
    mode = 0o644 if content is None else path.stat().st_mode & 0o7777

    def restore() -> None:
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, content, mode=mode)

    return restore


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, limit=LARGEST_FILE)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemRefused(
            f"cannot read {path}: {error.strerror}", hint="Check it; with --kind systemd, use sudo."
        ) from error


def _make_folder(folder: Path, account: str | None) -> list[Path]:
    """Make the folder if it is not there; return what was made."""
    if folder.exists():
        return []
    make_folder(folder)
    if account is not None and os.geteuid() == 0:
        entry = pwd.getpwnam(account)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    return [folder]
