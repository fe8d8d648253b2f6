"""The wall around what root may run: files are opened, changed and replaced by `custody`, but for this list.

A path that root follows by itself leads where the owner of one of its folders wants.
"""

from __future__ import annotations

import ast
import re

import pytest
from tests.rigs.source_tree import SOURCES

JUDGES = "custody/"  # the one room that may

METHODS = (
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "chmod", "lchmod", "touch", "rename", "unlink"),
    *("mkdir", "rmdir", "symlink_to", "hardlink_to", "iterdir", "r?glob", "walk", "bind"),
)
BY_PATH = re.compile(
    r"(io\.|codecs\.)?open(_code)?"
    rf"|.*\.({'|'.join(METHODS)})"
    r"|os\.(open|l?chmod|l?chown|replace|renames?|link|symlink|unlink|remove(dirs)?|mkdir|makedirs|rmdir|truncate)"
    r"|os\.(scandir|listdir|f?walk|mkfifo|mknod|utime|chflags|(set|remove)xattr|chroot)"
    r"|shutil\.(copy.*|move|rmtree|chown|make_archive|unpack_archive)|tempfile\..*|tarfile\.open|zipfile\.ZipFile"
    r"|.*FileHandler"
)

TAKEN_APART = "by the descriptor of the folder, which was judged"
OWN = "the agent's own folder: root runs no agent where others may write"
PRIVATE = "a private folder"
PROC = "the kernel's files"
INTERNET = "an Internet address"
NAMES = "names only: each file is judged when it is read"
NO_FILE = "no file"
# File → call → why it may stand there.
ALLOWED = {
    "agent/dial/happy_eyeballs.py": {"sock.bind": INTERNET},
    "agent/process/control_socket.py": {
        "listener.bind": TAKEN_APART,
        "os.unlink": TAKEN_APART,
        "os.chmod": TAKEN_APART,
        "path.parent.mkdir": OWN,
    },
    "agent/network/network_monitor.py": {"event_socket.bind": "netlink"},
    "checks/tcp_check.py": {"probe.bind": INTERNET},
    "commands/setup/local_databases.py": {"table.open": PROC},
    "console/exits.py": {"open": "/dev/null", "os.open": "/dev/null"},
    "demo/environment.py": {"tempfile.TemporaryDirectory": PRIVATE},
    "doctor/bundle.py": {"tarfile.open": "in memory"},
    "doctor/environment.py": {"FIPS.read_text": PROC},
    "importing/find.py": {"folder.iterdir": NAMES},
    "importing/old_processes.py": {"processes.iterdir": PROC, "(entry / 'cmdline').open": PROC},
    "installers/programs.py": {"tempfile.TemporaryFile": "has no path"},
    "installers/installed.py": {"Path('/proc/self/cgroup').read_text": PROC},
    "installers/journal.py": {"Path(f'/proc/{pid}/cgroup').read_text": PROC},
    "installers/machine.py": {"path.read_bytes": PROC, "Path('/proc').glob": PROC},
    "installers/service_manager.py": {"Path(f'/proc/{pid}/cgroup').read_text": PROC},
    "installers/user_crontab.py": {"tempfile.TemporaryDirectory": PRIVATE},
    "keys/credentials.py": {"Path(folder or '').glob": NAMES},
    "registration/client.py": {"_opener(api).open": NO_FILE},
    "ssh/inbound.py": {"self.opener.open": NO_FILE},
    "status/control_folder.py": {
        "os.open": "a folder, not a link, judged by its owner and mode before it is used",
        "tempfile.TemporaryDirectory": PRIVATE,
        "link.symlink_to": "in that folder",
        "os.chmod": "the open folder itself, by its descriptor, after a look at its owner",
    },
    "status/lock.py": {"self.path.parent.mkdir": OWN},
    "stub/listener.py": {"sock.bind": INTERNET},
    "stub/registry.py": {"probe.bind": INTERNET},
}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Return what names stand for that a file imports: `from os import open as o` makes `o` stand for `os.open`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("ioconnect"):  # judged where it is
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def calls_by_path(text: str) -> set[str]:
    """Return the calls in a file that follow a path, as they are written there, with imported names in full."""
    tree = ast.parse(text)
    imported = imported_names(tree)
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    pairs = (name.partition(".") for name in calls)
    calls = [f"{imported.get(first, first)}{dot}{rest}" for first, dot, rest in pairs]
    return {name.removeprefix("pathlib.") for name in calls if BY_PATH.fullmatch(name)}


@pytest.mark.parametrize("file", [file for file in SOURCES if not file.startswith(JUDGES)])
def test_what_root_may_run_follows_no_path_by_itself(file: str) -> None:
    assert calls_by_path(SOURCES[file].text) == set(ALLOWED.get(file, {}))


def test_the_list_names_files() -> None:
    assert [file for file in ALLOWED if file not in SOURCES] == []


def test_the_reader_sees_every_kind() -> None:
    text = (
        "from os import open as o, scandir; import os as system; from pathlib import Path as P\n"
        "from tempfile import mkstemp; from ioconnect.custody.files import rename\n"
        "open(a); os.open(a, 0); os.replace(a, b); os.chown(a, 0, 0); os.lchown(a, 0, 0); path.chmod(0)\n"
        "a[b].open(); io.open(a); o(a, 0); system.unlink(a); os.setxattr(a, b, c); os.mkfifo(a)\n"
        "path.read_bytes(); shutil.move(a, b); mkstemp(); os.link(a, b); path.rename(b); path.unlink()\n"
        "scandir(a); os.listdir(a); P(a).iterdir(); path.rglob(b); os.walk(a); sock.bind(a); FileHandler(a)\n"
        "os.fchmod(0, 0); os.fchown(0, 0, 0); os.fdopen(0); read_regular(a); reopen(a); text.replace(a, b)\n"
        "rename(a, b)\n"
    )

    assert calls_by_path(text) == {
        *(
            "open",
            "os.open",
            "os.replace",
            "os.chown",
            "os.lchown",
            "path.chmod",
            "a[b].open",
            "io.open",
            "os.unlink",
        ),
        *("os.setxattr", "os.mkfifo", "path.read_bytes", "shutil.move", "tempfile.mkstemp", "os.link", "path.rename"),
        *(
            "path.unlink",
            "os.scandir",
            "os.listdir",
            "P(a).iterdir",
            "path.rglob",
            "os.walk",
            "sock.bind",
            "FileHandler",
        ),
    }
