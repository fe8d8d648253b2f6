"""Python code run as somebody who is not root, whoever runs the tests; and folders that such a one can reach."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOBODY = 65534
# All of ours before root's rights are dropped, also what ours imports lazily: the checkout may lie in root's home.
_IMPORT_ALL = """
import importlib, pkgutil
import ioconnect
for module in pkgutil.walk_packages(ioconnect.__path__, "ioconnect."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
_DROP = """
import os
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({uid})
    os.setuid({uid})
"""


def run(
    imports: str,
    code: str,
    *,
    environ: Mapping[str, str] | None = None,
    uid: int = NOBODY,
    only_environ: bool = False,
    deadline: float = 30,
) -> str:
    """Return what `code` prints; `imports` runs before root's rights are dropped (its interpreter may be closed to
    others), and must name what `code` imports lazily of others' too. A failure there is a failure here. With
    `only_environ` it has no other variables. A `uid` but root's takes effect only if the tests run as root."""
    done = subprocess.run(
        [sys.executable, "-c", imports + _IMPORT_ALL + _DROP.format(uid=uid) + code],
        env={**({} if only_environ else os.environ), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=deadline,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def folder(*, mode: int = 0o755, own: bool = True) -> Iterator[Path]:
    """Yield a folder below no private one; with `own` it belongs to the user that `run` becomes."""
    path = Path(tempfile.mkdtemp(prefix="ioconnect-test-"))
    try:
        if own and os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(mode)
        yield path
    finally:
        path.chmod(0o700)
        shutil.rmtree(path)
