"""The wall around what root may run: files are opened, changed and replaced by `custody`, but for this list.

A path that root follows by itself leads where the owner of one of its folders wants.
"""

from __future__ import annotations

import ast
import re

import pytest
from tests.rigs.source_tree import SOURCES

ROOMS = ("config/", "keys/", "status/", "installers/", "importing/", "doctor/", "agent/process/", "commands/")

METHODS = (
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "chmod", "lchmod", "touch", "rename", "unlink"),
    *("mkdir", "rmdir", "symlink_to", "hardlink_to"),
)
BY_PATH = re.compile(
    r"open"
    rf"|.*\.({'|'.join(METHODS)})"
    r"|os\.(open|l?chmod|l?chown|replace|renames?|link|symlink|unlink|remove(dirs)?|mkdir|makedirs|rmdir|truncate)"
    r"|shutil\.(copy.*|move|rmtree|chown|make_archive|unpack_archive)|tempfile\..*|tarfile\.open"
)

TAKEN_APART = "by the descriptor of the folder, which was judged"
OWN = "the agent's own folder: root runs no agent where others may write"
PROC = "the kernel's files"
# File → call → why it may stand there.
ALLOWED = {
    "agent/process/control_socket.py": {
        "os.unlink": TAKEN_APART,
        "os.chmod": TAKEN_APART,
        "path.parent.mkdir": OWN,
    },
    "agent/process/stop.py": {"LOCKS.read_text": PROC, "entry.read_text": PROC},
    "commands/setup/local_databases.py": {"table.open": PROC},
    "doctor/bundle.py": {"tarfile.open": "in memory"},
    "doctor/environment.py": {"FIPS.read_text": PROC},
    "importing/old_processes.py": {"(entry / 'cmdline').read_bytes": PROC},
    "installers/apply.py": {"tempfile.TemporaryFile": "has no path"},
    "installers/installed.py": {"Path('/proc/self/cgroup').read_text": PROC},
    "installers/journal.py": {"Path(f'/proc/{pid}/cgroup').read_text": PROC},
    "installers/machine.py": {"path.read_text": PROC},
    "installers/service_manager.py": {"Path(f'/proc/{pid}/cgroup').read_text": PROC},
    "installers/user_crontab.py": {
        "tempfile.TemporaryDirectory": "a private folder",
        "copy.read_bytes": "in that folder",
    },
    "status/control_folder.py": {
        "os.open": "a folder, not a link, judged by its owner and mode before it is used",
        "tempfile.TemporaryDirectory": "a private folder",
        "link.symlink_to": "in that folder",
    },
    "status/lock.py": {"self.path.parent.mkdir": OWN},
}


def calls_by_path(text: str) -> set[str]:
    """Return the calls in a file that follow a path, as they are written there."""
    calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return {name for name in map(ast.unparse, calls) if BY_PATH.fullmatch(name)}


@pytest.mark.parametrize("file", [file for file in SOURCES if file.startswith(ROOMS)])
def test_what_root_may_run_follows_no_path_by_itself(file: str) -> None:
    assert calls_by_path(SOURCES[file].text) == set(ALLOWED.get(file, {}))


def test_the_list_names_files() -> None:
    assert [file for file in ALLOWED if file not in SOURCES] == []


def test_the_reader_sees_every_kind() -> None:
    text = (
        "open(a); os.open(a, 0); os.replace(a, b); os.chown(a, 0, 0); os.lchown(a, 0, 0); path.chmod(0)\n"
        "a[b].open()\n"
        "path.read_bytes(); shutil.move(a, b); tempfile.mkstemp(); os.link(a, b); path.rename(b); path.unlink()\n"
        "os.fchmod(0, 0); os.fchown(0, 0, 0); os.fdopen(0); read_regular(a); reopen(a); text.replace(a, b)\n"
    )

    assert len(calls_by_path(text)) == 13
