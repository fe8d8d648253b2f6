"""A disk of two megabytes, which really fills up and really becomes read-only: a tmpfs in a mount namespace.

Needs root and util-linux on Linux. What is to use the disk enters the namespace (`enter`, before a command).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rigs.agent_scene import AgentScene

SIZE = "2m"


class SmallDisk:
    """The disk, mounted at `at` in the namespace of the process `holder`; `seen` is where everybody else sees it."""

    def __init__(self, holder: int, at: Path) -> None:
        nsenter = processes.need_program("nsenter", package="util-linux")
        self.at = at
        self.seen = Path(f"/proc/{holder}/root", *at.parts[1:])
        self.enter = [nsenter, f"--mount=/proc/{holder}/ns/mnt"]
        shutil.copytree(at, self.seen, dirs_exist_ok=True)

    def fill(self) -> None:
        """Take all the space that is left."""
        with (self.seen / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 20)) == 1 << 20:  # the last of them is written in part
                pass
            with pytest.raises(OSError, match="No space left"):
                ballast.write(b"x")

    def make_room(self) -> None:
        """Give the space back."""
        (self.seen / "ballast").unlink()

    def make_read_only(self) -> None:
        """Refuse whatever would change a file by its path; a descriptor that is open for writing stays so.

        A mount on top: the kernel makes no filesystem read-only while files in it are open for writing (EBUSY).
        """
        processes.checked([*self.enter, "mount", "--bind", str(self.at), str(self.at)])
        processes.checked([*self.enter, "mount", "-o", "remount,bind,ro", str(self.at)])
        with pytest.raises(OSError, match="Read-only file system"):
            (self.seen / "file").touch()

    def make_writable(self) -> None:
        """End `make_read_only`."""
        processes.checked([*self.enter, "umount", str(self.at)])


@contextlib.contextmanager
def below(scene: AgentScene, folder: Path) -> Iterator[SmallDisk]:
    """Put everything of the scene's customer on a small disk, while no agent runs; its commands find it there."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux (mount namespaces)")
    unshare, log = processes.need_program("unshare", package="util-linux"), folder / "disk.log"
    home = scene.customer.home
    script = f'mount -t tmpfs -o size={SIZE},mode=0700 tmpfs "$1" && echo mounted && exec sleep 600'
    holder = processes.start([unshare, "--mount", "sh", "-c", script, "sh", str(home)], log=log)
    try:
        processes.wait_until(lambda: "mounted" in log.read_text(), what="the disk is mounted", instead=log.read_text)
        disk = SmallDisk(holder.pid, home)
        scene.customer.command = [*disk.enter, *scene.customer.command]
        scene.customer.home = disk.seen
        yield disk
    finally:
        scene.customer.close()
        processes.end(holder)
