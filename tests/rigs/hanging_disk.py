"""A disk that really hangs: a FUSE file system whose server never answers, in a mount namespace.

Needs root and util-linux on Linux, and /dev/fuse. Whoever asks it waits until a signal kills him, or the disk ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNT = """
import ctypes, os, sys, time
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
library = ctypes.CDLL(None, use_errno=True)
if library.mount(b"hangs", os.fsencode(sys.argv[1]), b"fuse", 0, options.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
time.sleep(600)  # the requests that nobody reads wait as long as this descriptor is open
"""


@contextlib.contextmanager
def over(folder: Path, log: Path, *, inside: list[str] | None = None) -> Iterator[list[str]]:
    """Mount it over the folder; yield what a command starts with for which that hangs.

    `inside`: in the namespace that a command with this start is in, and not in one of its own.
    """
    if sys.platform != "linux" or os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("needs root on Linux (mount namespaces), and /dev/fuse")
    nsenter = processes.need_program("nsenter", package="util-linux")
    prefix = inside or [processes.need_program("unshare", package="util-linux"), "--mount"]
    server = processes.start([*prefix, sys.executable, "-c", MOUNT, str(folder)], log=log)
    try:
        processes.wait_until(lambda: "mounted" in log.read_text(), what="the disk is mounted", instead=log.read_text)
        yield [nsenter, f"--mount=/proc/{server.pid}/ns/mnt"]
    finally:
        processes.end(server)
        if inside:
            processes.checked([*inside, "umount", "--lazy", str(folder)])
