"""The program's files are found without a look at what may not answer; one that cannot be read hides no other."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ioconnect.custody import mounts, program, writers

Touched = list[str]
MOUNT = "36 35 0:48 / {} rw,relatime shared:1 - {} server:/export {} rw,hard\n"


@pytest.fixture
def touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Touched:
    """Have a `library` in sys.path, and tell what is looked at there, or at `/`, by any call of the system."""
    names: Touched = []

    def recording(name: str) -> None:
        original = getattr(os, name)

        def look(path: object, *rest: object, **options: object) -> object:
            names.append(str(path))
            if name == "stat" and str(path).endswith("/closed/__init__.py"):
                raise PermissionError(13, "Permission denied", path)
            return original(path, *rest, **options)

        monkeypatch.setattr(os, name, look)

    folder = tmp_path / "library"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    for name in ("stat", "lstat", "scandir", "listdir", "open"):
        recording(name)
    return names


def package(path: Path) -> Path:
    path.mkdir()
    (path / "__init__.py").touch()
    path.chmod(0o777)
    return path


def listed() -> list[Path]:
    return [path for path in program._program() if path.name in ("other", "closed", "dead", "link", "live")]


@pytest.mark.parametrize("entry", ["/", ""])
def test_of_the_root_folder_nothing_is_looked_at(
    touched: Touched, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    """It is the working folder of an agent in the background, and a dead mount there is anybody's."""
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "path", [entry])
    touched.clear()

    assert Path("/") in list(program._program())
    assert [name for name in touched if len(Path(name).parts) <= 3 and name.endswith(("/", "/__init__.py"))] == []


@pytest.mark.usefixtures("touched")
def test_what_cannot_be_read_is_no_end(tmp_path: Path) -> None:
    """Root is refused by a mount of another account (fuse(8)), or of NFS."""
    found = {package(tmp_path / "library" / name) for name in ("closed", "other")}

    assert set(listed()) == found - {tmp_path / "library" / "closed"}


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "autofs"])
def test_another_machines_mount_is_not_looked_at(
    tmp_path: Path, touched: Touched, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A hard mount whose server is dead lets no call return."""
    folder, away = tmp_path / "library", tmp_path / "a b"
    for path in (folder / "dead", folder / "live", away):
        package(path)
    (folder / "link").symlink_to("../a b/below")
    mounts = tmp_path / "mounts"
    written = str(away).replace(" ", "\\040")
    mounts.write_text(MOUNT.format(folder / "dead", kind, kind) + MOUNT.format(written, kind, kind))
    monkeypatch.setattr(program, "_MOUNTS", mounts)
    touched.clear()

    assert listed() == [folder / "live"]
    assert not [name for name in touched if name.startswith((str(folder / "dead"), str(away)))]


@pytest.mark.usefixtures("touched")
def test_a_library_on_such_a_mount_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself would hang with it."""
    package(tmp_path / "library" / "other")
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNT.format(tmp_path, "nfs4", "x"))
    monkeypatch.setattr(program, "_MOUNTS", mounts)

    assert listed() == [tmp_path / "library" / "other"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root judges what others may write")
@pytest.mark.parametrize("member", [False, True])
def test_accounts_and_mounts_are_looked_up_once_for_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, member: bool
) -> None:
    """A virtual environment made with umask 002 has thousands of files that a group may write."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number in range(20):
        (folder / f"module{number}.py").touch()
        (folder / f"module{number}.py").chmod(0o664)
    monkeypatch.setattr(sys, "path", [str(folder)])
    asked: list[str] = []
    rows = [SimpleNamespace(pw_name="ann", pw_uid=1000, pw_gid=0 if member else 1000)]
    (tmp_path / "nsswitch.conf").write_text("passwd: files\ngroup: files\n")
    (tmp_path / "mounts").write_text(MOUNT.format("/", "ext4", "x"))
    monkeypatch.setattr(pwd, "getpwall", lambda: asked.append("accounts") or rows)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=f"g{gid}", gr_mem=[]))
    monkeypatch.setattr(writers, "_NSSWITCH", tmp_path / "nsswitch.conf")
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "mounts")

    def opened(path: Path, *rest: object, **options: object) -> object:
        asked.extend(["mounts"] if path == tmp_path / "mounts" else [])
        return original(path, *rest, **options)  # type: ignore[arg-type]

    original = Path.open
    monkeypatch.setattr(Path, "open", opened)
    for _ in range(2):  # and each time anew: accounts change
        asked.clear()
        found = program.changeable(frozenset())

        assert [each.path.parent for each in found if tmp_path in each.path.parents] == [folder] * (20 * member)
        assert asked.count("accounts") == 1
        assert asked.count("mounts") <= 1
