"""A machine that runs tunnels of ssh and autossh: crontabs, units and processes, none of them the real machine's.

`crontab` and `systemctl` are stand-ins on PATH that keep their state in files; the folders of the system are the
rig's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.rigs import processes
from tests.rigs.customer import Customer

if TYPE_CHECKING:
    from pathlib import Path

# As Vixie's crontab: -l, -, -r, and -e by an editor.
CRONTAB = """#!/bin/sh
table="$RIG/crontab"
case "$1" in
-l) if [ -e "$table" ]; then cat "$table"; else echo "no crontab for me" >&2; exit 1; fi ;;
-e) [ -e "$table" ] || : >"$table"; sh -c "$VISUAL \\"$table\\"" ;;
-r) rm "$table" ;;
-) [ ! -e "$RIG/read-only" ] || { echo "cannot write" >&2; exit 1; }; cat >"$table" ;;
*) exit 2 ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$RIG/systemctl.log"
scope=system
[ "$1" != --user ] || { scope=user; shift; }
for unit; do :; done
state="$RIG/state/$scope/$unit"
case "$1" in
is-enabled) if [ -e "$state.enabled" ]; then echo enabled; else echo disabled; exit 1; fi ;;
is-active) if [ -e "$state.pid" ]; then echo active; else echo inactive; exit 3; fi ;;
disable)
    [ ! -e "$RIG/read-only" ] || { echo "Access denied" >&2; exit 1; }
    rm -f "$state.enabled"
    [ ! -e "$state.pid" ] || { kill "$(cat "$state.pid")"; rm "$state.pid"; } ;;
*) exit 2 ;;
esac
"""
DRIVER = """
import sys
from pathlib import Path
from ioconnect import cli
from ioconnect.importing import search_paths
root = Path(sys.argv.pop(1))
search_paths.of_this_machine = lambda environ: search_paths.SearchPaths(
    home=root / "home", user_units=root / "user", system_crontab=root / "crontab.system",
    cron_folder=root / "cron.d", system_units=root / "system",
)
cli.main()
"""


class OldTunnels(Customer):
    """A customer who has not changed to ioconnect yet; `close` ends the old processes, too."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("home", "user", "cron.d", "system", "bin", "state/system", "state/user"):
            (root / folder).mkdir(parents=True)
        super().__init__(root / "ours", HOME=str(root / "home"), RIG=str(root))
        self.environment["PATH"] = f"{root / 'bin'}{os.pathsep}{self.environment['PATH']}"
        self.command = [sys.executable, "-c", DRIVER, str(root)]
        self._running: list[subprocess.Popen[bytes]] = []
        for name, text in (("crontab", CRONTAB), ("systemctl", SYSTEMCTL)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)

    @property
    def crontab(self) -> bytes:
        """The user's crontab."""
        return (self.root / "crontab").read_bytes()

    @crontab.setter
    def crontab(self, table: bytes) -> None:
        (self.root / "crontab").write_bytes(table)

    def unit(self, name: str, text: str, *, scope: str = "system") -> None:
        """Install and enable a unit."""
        (self.root / scope / name).write_text(text)
        (self.root / "state" / scope / f"{name}.enabled").touch()

    def start(self, *words: str, program: str = "ssh", unit: str = "") -> int:
        """Run something that looks like this command, as a unit's main process if one is named; return its pid."""
        waits = self.root / "never"
        if not waits.exists():
            os.mkfifo(waits)
        argv = [program, "-c", 'read _ <"$0"', str(waits), *words]
        process = subprocess.Popen(argv, executable="/bin/sh", stdin=subprocess.DEVNULL)
        self._running.append(process)
        if unit:
            (self.root / "state" / "system" / f"{unit}.pid").write_text(str(process.pid))
        return process.pid

    def runs(self, pid: int) -> bool:
        """Say whether this process of `start` still runs."""
        return next(process for process in self._running if process.pid == pid).poll() is None

    def known_hosts(self, line: str, *, file: str = ".ssh/known_hosts") -> None:
        """Have its ssh trust a host key."""
        path = self.root / "home" / file
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(line + "\n")

    def snapshot(self) -> dict[str, Any]:
        """Return everything that an import might change, less its log of systemctl's calls."""
        files = [path for path in self.root.rglob("*") if path.is_file() and path.name != "systemctl.log"]
        return {str(path): (path.read_bytes(), path.stat().st_mode) for path in files}

    def close(self) -> None:
        """End all that was started."""
        for process in self._running:
            processes.end(process)
        super().close()
