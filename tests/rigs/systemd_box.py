"""A real systemd, booted in half a second in namespaces of its own, for what only a real one can show.

Needs root, util-linux, systemd and overlayfs on Linux; a machine that lacks one skips the test and names the package.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import signal
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.rigs import processes

import ioconnect

if TYPE_CHECKING:
    import subprocess

SCRIPT = Path(__file__).with_suffix(".sh")
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc")  # and one of control groups, see systemd_box.sh
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8")
UP = {"running", "degraded"}  # systemctl(1), is-system-running


class SystemdBox:
    """One machine: `boot`, `run` in it, `reboot` (which keeps what was written), `close`. Use it from one thread."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            pytest.skip("systemd runs on Linux only")
        if os.geteuid() != 0:
            pytest.skip("booting a systemd needs root")
        self.nsenter = processes.need_program("nsenter", package="util-linux")
        self.unshare = processes.need_program("unshare", package="util-linux")
        processes.need_program("systemctl", package="systemd")
        processes.need_program("pivot_root", package="util-linux, or where that lacks it util-linux-extra")
        self.folder = Path(tempfile.mkdtemp(prefix="ioconnect-box-", dir="/var/tmp"))
        self._mounted = processes.checked(["stat", "-f", "-c", "%T", str(self.folder)]).strip() == "overlayfs"
        if self._mounted:  # as in a container: an overlay's changes cannot be kept in another overlay
            processes.checked(["mount", "-t", "tmpfs", "tmpfs", str(self.folder)])
        self._script = ("bash", str(SCRIPT), str(self.folder), self.folder.name)
        self.console = self.folder / "console"
        self._outer: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self, *, deadline: float = 30) -> None:
        """Start it and wait until it has started all that it wants to start."""
        argv = [self.unshare, *NAMESPACES, "--fork", "--kill-child", *self._script]
        outer = self._outer = processes.start(argv, log=self.console)

        def alive() -> None:
            assert outer.poll() is None, f"systemd did not boot:\n{self.console_text()}"

        def first_process() -> int | None:
            alive()
            return next(iter(processes.descendants(outer.pid)), None)

        def is_up() -> bool:
            alive()
            return self._state() in UP

        self._init = processes.wait_until(first_process, what="the box has a process 1") or 0
        processes.wait_until(is_up, deadline=deadline, what="systemd is up", instead=self.console_text)

    def shut_down(self) -> None:
        """Stop every service in order, then end process 1; what was written stays."""
        if self._outer is not None:
            self.try_run("systemctl", "stop", "*.service", deadline=60)
            self.power_off()

    def power_off(self) -> None:
        """End everything in it at once, as pulling the plug does."""
        if self._outer is not None:
            processes.end(self._outer, by=signal.SIGKILL)
            processes.wait_until(lambda: not Path(f"/proc/{self._init}").exists(), what="the box is off")
            processes.checked([self.unshare, "--mount", *self._script, "remove"])
            self._outer = None

    def reboot(self) -> None:
        """Shut down and boot again."""
        self.shut_down()
        self.boot()

    def close(self) -> None:
        """Power off and remove all that it wrote."""
        self.power_off()
        if self._mounted:
            processes.checked(["umount", str(self.folder)])
        shutil.rmtree(self.folder, ignore_errors=True)

    def try_run(self, *argv: str, deadline: float = 60, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, whatever comes of it."""
        entered = [self.nsenter, "-t", str(self._init), *NAMESPACES, "--cgroup", "--root", "--wd", "env", "-i"]
        settings = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
        ]
        return processes.run([*entered, *settings, *argv], deadline=deadline, **how)

    def run(self, *argv: str, expect: int = 0, **how: Any) -> str:
        """Run a command in it as root, which must leave with `expect`, and return its standard output."""
        done = self.try_run(*argv, **how)
        assert done.returncode == expect, (
            f"{' '.join(argv)} left with {done.returncode}, not {expect}\n--- stdout\n{done.stdout}\n"
            f"--- stderr\n{done.stderr}\n--- journal\n{self.journal()}"
        )
        return done.stdout

    def path(self, inside: str) -> Path:
        """Return where a file of the box is for us; valid while it runs."""
        return Path(f"/proc/{self._init}/root") / inside.lstrip("/")

    def runs(self, pid: int) -> bool:
        """Say whether it has this process, by its own numbers."""
        return self.path(f"/proc/{pid}").exists()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit (systemctl(1), show)."""
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def journal(self, unit: str = "ioconnect.service") -> str:
        """Return what a unit has logged, and what systemd said about it."""
        return self.try_run("journalctl", "--unit", unit, "--output=cat", "--no-pager").stdout

    def console_text(self) -> str:
        """Return what systemd itself had to say."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def _state(self) -> str:
        return self.try_run("systemctl", "is-system-running").stdout.strip()


def install_program(box: SystemdBox, folder: str) -> str:
    """Put this ioconnect, its dependencies and an interpreter into the box, as a virtual environment in `folder`.

    Return the command's path. None of it is reached through a home or temporary folder, wherever the tests run from.
    """
    target = box.path(folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix).resolve()
    if base == Path("/usr"):
        home = Path("/usr/bin")
    else:  # an interpreter that somebody built at home
        home = Path(folder, "interpreter/bin")
        _copy(base / "bin" / version, target / "interpreter/bin" / version)
        _copy(Path(sysconfig.get_path("stdlib")), target / "interpreter/lib" / version)
        for library in (base / "lib").glob("libpython*.so*"):
            _copy(library, target / "interpreter/lib" / library.name)
    site = target / "lib" / version / "site-packages"
    for package in _dependencies("ioconnect"):
        for name in _top_level(package):
            _copy(_site() / name, site / name)
    _copy(Path(ioconnect.__file__).parent, site / "ioconnect")
    (target / "bin").mkdir()
    (target / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    (target / "bin/python").symlink_to(home / version)
    script = target / "bin/ioconnect"
    # As pip writes it when the interpreter's path has a space in it: sh reads the second line, Python a string. A
    # shared libpython is looked for where it was built, which may be a home folder.
    script.write_text(
        f"#!/bin/sh\n'''exec' env LD_LIBRARY_PATH='{home.parent}/lib' '{folder}/bin/python' \"$0\" \"$@\"\n' '''\n"
        "import sys\nfrom ioconnect.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    return f"{folder}/bin/ioconnect"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        skipped = shutil.ignore_patterns("__pycache__", "test", "tests", "site-packages", "idlelib", "tkinter")
        shutil.copytree(source, target, ignore=skipped, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)


def _site() -> Path:
    return Path(importlib.metadata.distribution("click").locate_file("")).resolve()  # type: ignore[arg-type]


def _dependencies(name: str) -> set[str]:
    """Return what the distribution needs, all the way down, without extras."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for requirement in importlib.metadata.requires(waiting.pop()) or []:
            needed = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
            if "extra ==" not in requirement and needed not in found and _is_here(needed):
                found.add(needed)
                waiting.append(needed)
    return found


def _is_here(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _top_level(name: str) -> set[str]:
    """Return the files and folders of a distribution in site-packages."""
    files = importlib.metadata.distribution(name).files or []
    return {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}
