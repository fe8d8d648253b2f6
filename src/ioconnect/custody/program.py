"""The files that this program consists of, and who besides root may change them.

One list for whoever judges them: `up`, `test`, `doctor` and `install-service`. It has script and interpreter, the
folders of sys.path, what may be imported from them, what is loaded already, and every file of this package. In a
virtual environment, which is for this program alone, it has every file of the libraries too.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import re
import shlex
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ioconnect
from ioconnect.custody.entries import Custody, custody_of
from ioconnect.custody.one_look import remembering
from ioconnect.custody.remedies import has_foreign_root, move, reinstall
from ioconnect.custody.writers import writers

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIXES = (*importlib.machinery.all_suffixes(), ".pth")  # what Python runs, at an import or at its start
_MOUNTS = Path("/proc/self/mountinfo")
_MAX_MOUNTS = 4 << 20  # bytes
# A hard mount of these waits for its server without end: for lstat(2), too.
_NETWORK = re.compile(r"nfs\d?|cifs|smb\w*|fuse.*|9p|afs|ceph|lustre|glusterfs|ocfs2|gfs2|autofs")
_OCTAL = re.compile(r"\\([0-7]{3})")
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Changeable:
    """One thing to mend: the first path with it, in words, what mends it, and who may change that path."""

    path: Path
    description: str
    remedy: str
    uids: frozenset[int]


def changeable(trusted: frozenset[int]) -> list[Changeable]:
    """Return all that others than root and the `trusted` accounts may change; works for any user.

    What lies in one folder of programs and libraries is told once, with one remedy for the whole.
    """
    found: dict[Path, tuple[Path, Custody]] = {}  # by the component that is wrong
    with remembering():
        paths = list(dict.fromkeys(_program()))
        for path in paths:
            each = custody_of(path)
            if each is not None and not each.uids <= trusted and each.component not in found:
                found[each.component] = (path, each)
    trees = _trees() if found else set()
    groups: dict[Path, list[Path]] = {}
    for component in found:
        around = [tree for tree in trees if tree == component or tree in component.parents]
        groups.setdefault(max(around, key=lambda tree: len(tree.parts), default=component), []).append(component)
    return [_as_one([found[each] for each in group], paths, is_tree=tree in trees) for tree, group in groups.items()]


def _as_one(found: list[tuple[Path, Custody]], paths: list[Path], *, is_tree: bool) -> Changeable:
    path, first = found[0]
    more = f", and so is {len(found) - 1} times more beside it" if len(found) > 1 else ""
    components = [each.component for _, each in found]
    uids = frozenset().union(*(each.uids for _, each in found))
    remedy = _recursive_remedy(Path(os.path.commonpath(components)), components, paths) if is_tree else ""
    return Changeable(path, first.description + more, _way_out(path, remedy or first.remedy), uids)


def _way_out(path: Path, remedy: str) -> str:
    """Return the remedy for a path of a program, which cannot be moved: its scripts and links name where it is."""
    if path in {Path(each).absolute() for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each}:
        return "unset PYTHONPATH"
    is_working_folder = sys.path[:1] in ([""], [str(path)]) and path == Path(sys.path[0] or ".").absolute()
    if is_working_folder and sys.argv[0].endswith("__main__.py") and path not in Path(ioconnect.__file__).parents:
        return "start it from a folder that only root may change (cd /)"
    if has_foreign_root():
        return move()  # installed anew it would have no owner either
    return remedy.replace(move(), f"install it anew: {reinstall()}")


def _recursive_remedy(top: Path, components: list[Path], paths: list[Path]) -> str:
    """Return the commands after which nothing at or below `top` is wrong; "" if its owner and mode are not what is.

    `paths` are judged along with the `components`: a folder that is wrong hides what is wrong in it.
    """
    inside = [each for path in paths if top in (each := Path(os.path.realpath(path.parent), path.name)).parents]
    facts = {path: found for path in (top, *components, *inside) if (found := _facts(path)) is not None}
    option, quoted = "-R " if top.is_dir() else "", shlex.quote(str(top))
    commands = [f"chown {option}root {quoted}"] if any(each.st_uid != 0 for each in facts.values()) else []
    if any(each.st_mode & _WRITABLE for each in facts.values() if not stat.S_ISLNK(each.st_mode)):
        commands.append(f"chmod {option}go-w {quoted}")
    takes = bool(option) and top in facts and facts[top].st_uid != 0
    return " && ".join(commands) + (f" if that folder is for ioconnect alone, else {move()}" if takes else "")


def _trees() -> set[Path]:
    """Return the folders that hold programs and libraries only: a recursive command does no harm there.

    None of the system's like /usr: chown(2) takes away the set-user-ID bit, of /usr/bin/sudo for example.
    """
    found = [Path(ioconnect.__file__).absolute().parent, *filter(_is_of_libraries, _folders())]
    found += [Path(sys.prefix)] if _is_virtual() else []
    source = found[0].parent
    found += [source.parent] if source.name == "src" and (source.parent / "pyproject.toml").exists() else []
    base = _facts(Path(sys.base_prefix))
    found += [Path(sys.base_prefix)] if base is not None and base.st_uid != 0 else []
    return {resolved for folder in found for resolved in (folder, Path(os.path.realpath(folder)))}


def _is_of_libraries(folder: Path) -> bool:
    return folder.name in ("site-packages", "dist-packages")


def _is_virtual() -> bool:
    return sys.prefix != sys.base_prefix


def _folders() -> list[Path]:
    return list(dict.fromkeys(Path(entry or ".").absolute() for entry in sys.path))  # "": the working folder


def _program() -> Iterator[Path]:
    if os.path.isabs(sys.argv[0]):  # noqa: PTH117  "-c" is none
        yield Path(sys.argv[0])
    yield from map(Path, (sys.executable, sys.prefix, sys.base_prefix))
    folders, loaded = _folders(), list(dict.fromkeys(_loaded()))
    yield from dict.fromkeys([*folders, *(file.parent for file in loaded)])
    package = Path(ioconnect.__file__).absolute().parent
    yield package
    libraries = [entry for entry in folders if _is_virtual() and Path(sys.prefix) in entry.parents]
    network = _network_mounts()
    listed = [entry for folder in folders for entry in _importable(folder, network)]
    listed += [entry for folder in dict.fromkeys([package, *libraries]) for entry in _below(str(folder))]
    yield from (file for file in dict.fromkeys([*loaded, *listed]) if not _is_roots_alone(file))


def _loaded() -> Iterator[Path]:
    """Yield the absolute paths of all files of modules that are loaded."""
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        for name in (getattr(module, "__file__", None), getattr(spec, "cached", None)):
            if isinstance(name, str):
                yield Path(name).absolute()


def _importable(folder: Path, network: list[Path]) -> Iterator[Path]:
    """Yield modules and packages that may be imported from there later, and .pth files, which the next start runs.

    Nothing of `/`, the working folder of an agent in the background: only root makes names there, and what is mounted
    there may be dead. For the same reason nothing that is on a `network` mount other than the folder's own: a package
    there is judged once it is loaded.
    """
    if folder == Path("/"):
        return
    others = [mount for mount in network if mount != folder and mount not in folder.parents]
    for entry in _entries(folder):
        path = Path(entry.path)
        with contextlib.suppress(OSError):  # of this entry alone
            if entry.is_symlink() and _is_at(_target(path), others):
                continue
            module = os.path.join(entry.path, "__init__.py")  # noqa: PTH118  of each entry: no path is made of it
            is_package = not _is_at(path, others) and os.path.exists(module)  # noqa: PTH110  as above
            if is_package or entry.name.endswith(_SUFFIXES):
                yield path


def _below(folder: str) -> Iterator[Path]:
    """Yield the folders and modules below a folder of libraries that need a closer look; links as such."""
    for entry in _entries(folder):
        with contextlib.suppress(OSError):
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not entry.name.endswith(_SUFFIXES):
                continue
            if not _are_roots_alone(entry.stat(follow_symlinks=False), entry.path):
                yield Path(entry.path)
            if is_folder:
                yield from _below(entry.path)


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # none, or an archive
        return list(entries)
    return []


def _target(link: Path) -> Path:
    """Return where a link leads, by its text alone."""
    return Path(os.path.normpath(link.parent / link.readlink()))


def _is_at(path: Path, mounts: list[Path]) -> bool:
    return any(mount == path or mount in path.parents for mount in mounts)


def _network_mounts() -> list[Path]:
    """Return the mount points whose server may not answer (proc_pid_mountinfo(5)); reading the list asks none."""
    try:
        with _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(_MAX_MOUNTS).splitlines()
    except OSError:
        return []
    fields = [line.split(" ") for line in lines if _NETWORK.fullmatch(line.partition(" - ")[2].split(" ")[0])]
    return [Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), each[4])) for each in fields]


def _is_roots_alone(path: Path) -> bool:
    """Whether a file in a folder that was judged needs no closer look."""
    facts = _facts(path)
    return facts is None or _are_roots_alone(facts, path)


def _are_roots_alone(facts: os.stat_result, path: Path | str) -> bool:
    """Whether these are of a file, not a link, that only root may change; an ACL shows in the group's bits."""
    if stat.S_ISLNK(facts.st_mode) or facts.st_uid != 0:
        return False
    return not facts.st_mode & _WRITABLE or writers(facts, Path(path)) is None


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None
