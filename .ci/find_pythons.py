"""Print this machine's CPythons from 3.10 on, one a minor version: `3.12 /path/to/python3.12`.

Looked for in PATH, in what pyenv has installed, and where distributions put interpreters that are not in PATH. A name
that does not run (as a shim of pyenv for a version that is not chosen) is passed over. Only the standard library.
"""

# ruff: noqa: INP001  a script beside the shell scripts, not a package

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

OLDEST = (3, 10)
TELL = "import sys; print(sys.implementation.name, *sys.version_info[:3], sys.executable)"


def candidates() -> list[Path]:
    """Return every file that may be an interpreter; of the same version an earlier one is preferred."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += [*sorted(pyenv.glob("versions/3.*/bin")), *sorted(Path("/opt").glob("*/bin")), Path("/usr/local/bin")]
    names = re.compile(r"python3(\.\d+)?")
    return [path for folder in folders for path in sorted(folder.glob("python3*")) if names.fullmatch(path.name)]


def version(python: Path) -> tuple[tuple[int, ...], str]:
    """Return an interpreter's version and path as it tells them itself; () if it is none of ours."""
    try:
        done = subprocess.run(  # noqa: S603  what this machine's owner has put into PATH
            [str(python), "-c", TELL], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return (), ""
    implementation, _, told = done.stdout.strip().partition(" ")
    if done.returncode != 0 or implementation != "cpython":
        return (), ""
    major, minor, micro, path = told.split(" ", 3)
    return (int(major), int(minor), int(micro)), path


def main() -> None:
    """Print the newest of each minor version, oldest first."""
    found: dict[tuple[int, ...], tuple[tuple[int, ...], str]] = {}
    for python in candidates():
        full, path = version(python)
        if full[:2] >= OLDEST and full > found.get(full[:2], ((), ""))[0]:
            found[full[:2]] = full, path
    for (major, minor), (_, path) in sorted(found.items()):
        print(f"{major}.{minor} {path}")  # noqa: T201  the answer


if __name__ == "__main__":
    main()
