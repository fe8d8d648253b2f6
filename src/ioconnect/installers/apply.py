"""Writes an installation's files, runs its commands, and rolls both back when a step fails."""

from __future__ import annotations

import contextlib
import pwd
import time
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import hint_of, make_folder, read_regular, remove_folder, write_atomically
from ioconnect.custody.files import remove as remove_file
from ioconnect.errors import CannotCreate, Fault, SystemRefused
from ioconnect.escape import escaped
from ioconnect.installers.programs import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ioconnect.installers.service import Command, File, Installation

MAX_FILE = 1 << 20  # bytes, of a file that is to be replaced or removed


def current(file: File) -> bytes | None:
    """Return the file's present content, None if there is none. Raises SystemRefused if it cannot be read."""
    return _read(file.path)


def install_files(installation: Installation, *, start: bool, account: str | None = None) -> bool:
    """Write the files and run the commands; return whether a file changed. Idempotent.

    `account` becomes the owner of new folders. A failure, also Ctrl-C, rolls everything back and is raised
    (SystemRefused, CannotCreate).
    """
    before = {file.path: _read(file.path) for file in installation.files}
    changed = [file for file in installation.files if before[file.path] != file.content]
    restore = [_restorer(file.path, before[file.path]) for file in changed]
    created: list[Path] = []
    try:
        for folder in installation.folders:
            created += _make_folder(folder, account)
        for file in changed:
            make_folder(file.path.parent, mode=0o755)
            write_atomically(file.path, file.content, mode=file.mode)
        _run_all((*(installation.reload if changed else ()), *installation.enable))
        if start:
            _start(installation.restart if changed else installation.start, installation.log_command)
    except BaseException:
        if not any(before.values()):
            _roll_back_new(installation, restore, created)
        elif changed:
            _roll_back_change(installation, restore, start=start)
        raise
    return bool(changed)


def remove(installation: Installation, *, is_ours: Callable[[bytes], bool]) -> bool:
    """Stop the service and remove its files; return whether there were any.

    Raises SystemRefused, and removes nothing, if `is_ours` is false for a file's content.
    """
    existing = {file.path: content for file in installation.files if (content := _read(file.path)) is not None}
    if not existing:
        return False
    for path, content in existing.items():
        if not is_ours(content):
            raise SystemRefused(
                f"{path} was not written by ioconnect install-service",
                hint="Remove it yourself, with whatever put it there.",
            )
    _run_all(installation.disable)
    for path in existing:
        _remove(path)
    _run_all(installation.cleanup)
    return True


def run_command(command: Command) -> None:
    """Run a command with its retries. Raises SystemRefused if it fails."""
    if command.skip_if is not None and run(command.skip_if).returncode == 0:
        return
    end = time.monotonic() + command.retry_seconds
    while True:
        result = run(command.argv, account=command.account)
        if result.returncode == 0 or result.returncode in command.accepted_codes:
            return
        if result.returncode not in command.retried_codes or time.monotonic() >= end:
            break
        time.sleep(0.25)
    raise SystemRefused(
        f"`{' '.join(command.argv)}` failed: {result.error_text or f'code {result.returncode}'}",
        hint="Mend that, then try again.",
    )


def _run_all(commands: Iterable[Command]) -> None:
    for command in commands:
        run_command(command)


def _start(commands: Iterable[Command], log_command: tuple[str, ...]) -> None:
    try:
        _run_all(commands)
    except SystemRefused as refused:
        raise _with_service_log(refused, log_command) from refused


def _with_service_log(refused: SystemRefused, log_command: tuple[str, ...]) -> SystemRefused:
    """Return the fault with the last lines of the service's log."""
    if not log_command:
        return refused
    with contextlib.suppress(SystemRefused):
        log_lines = run(log_command, timeout=20).stdout.splitlines()
        shown = "".join(f"\n  {escaped(line)}" for line in log_lines if line.strip())
        return SystemRefused(f"{refused.message}{shown}", hint=refused.hint)
    return refused


def _roll_back_new(installation: Installation, restore: list[Callable[[], None]], created: list[Path]) -> None:
    """Remove everything of a new installation, as `remove` does, ignoring faults."""
    disable = [partial(run_command, command) for command in installation.disable]
    cleanup = [partial(run_command, command) for command in installation.cleanup]
    _ignoring_faults(*disable, *restore, *cleanup, *(partial(remove_folder, folder) for folder in reversed(created)))


def _roll_back_change(installation: Installation, restore: list[Callable[[], None]], *, start: bool) -> None:
    """Restore the previous service, and restart it if this was to start it."""
    again = (*installation.reload, *(installation.restart if start else ()))
    _ignoring_faults(*restore, *(partial(run_command, command) for command in again))


def _ignoring_faults(*steps: Callable[[], object]) -> None:
    for step in steps:
        with contextlib.suppress(Fault, OSError):
            step()


def _remove(path: Path) -> None:
    try:
        remove_file(path)
    except (OSError, Untrusted) as error:
        hint = hint_of(error, "Remove it yourself.")
        raise CannotCreate(f"cannot remove {path}: {error.strerror}", hint=hint) from error


def _restorer(path: Path, content: bytes | None) -> Callable[[], None]:
    mode = 0o644 if content is None else path.stat().st_mode

    def restore() -> None:
        if content is None:
            remove_file(path)
        else:
            write_atomically(path, content, mode=mode)

    return restore


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, limit=MAX_FILE)[0]
    except FileNotFoundError:
        return None
    except (OSError, Untrusted) as error:
        raise SystemRefused(
            f"cannot read {path}: {error.strerror}", hint=hint_of(error, "Check it; with --kind systemd, use sudo.")
        ) from error


def _make_folder(folder: Path, account: str | None) -> list[Path]:
    """Make the folder if it does not exist; return the folders that were made."""
    if folder.exists():
        return []
    entry = None if account is None else pwd.getpwnam(account)
    make_folder(folder, owner=None if entry is None else (entry.pw_uid, entry.pw_gid))
    return [folder]
