"""The program's files are found without a look at what may not answer; one that cannot be read hides no other."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import ioconnect
from ioconnect.custody import mounts, program, remedies, writers

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
    return [path for path in program._program() if path.parent.name == "library"]


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root judges what others may write")
@pytest.mark.parametrize(
    ("name", "argument", "remedy"),
    [
        ("pythonpath", "/opt/bin/ioconnect", "unset PYTHONPATH"),
        ("cwd", "/opt/site-packages/ioconnect/__main__.py", "start it from a folder that only root may change"),
        ("other", "/opt/bin/ioconnect", ""),
    ],
)
def test_what_is_no_part_of_the_installation_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, argument: str, remedy: str
) -> None:
    """It need not exist, as a folder in PYTHONPATH below another account's home."""
    home = tmp_path / "home"
    home.mkdir()
    folder = home / "lib" if name == "pythonpath" else home
    os.chown(home, 1000, 1000)
    monkeypatch.setattr(sys, "path", [str(folder)])
    monkeypatch.setattr(sys, "argv", [argument])
    if name == "pythonpath":
        monkeypatch.setenv("PYTHONPATH", f"/none:{folder}")
    monkeypatch.chdir("/")

    (found,) = [each for each in program.changeable(frozenset()) if each.path == folder]

    if name == "other":
        assert found.remedy.startswith(f"chown -R root {home} if that folder is for ioconnect alone, else install it")
        assert "python3 -m venv /opt/ioconnect" in found.remedy
    else:
        assert found.remedy.startswith(remedy)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root judges what others may write")
def test_a_checkout_is_mended_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole one that belongs to another uid, as from a build machine."""
    checkout = tmp_path / "checkout"
    package = checkout / "src" / "ioconnect"
    package.mkdir(parents=True)
    for file in (checkout / "pyproject.toml", package / "__init__.py"):
        file.touch()
    for each in (checkout, *checkout.rglob("*")):
        os.chown(each, 1234, 1234)
    monkeypatch.setattr(ioconnect, "__file__", str(package / "__init__.py"))

    (found,) = [each for each in program.changeable(frozenset()) if tmp_path in each.path.parents]

    assert found.remedy.startswith(f"chown -R root {checkout} if that folder is for ioconnect alone, else install it")


@pytest.mark.parametrize(("at", "python"), [("/root/.pyenv/bin/python3", "/usr/bin/python3"), ("/opt/p", "python3")])
def test_it_is_installed_anew_with_a_python_that_is_in_no_home(
    monkeypatch: pytest.MonkeyPatch, at: str, python: str
) -> None:
    monkeypatch.setattr(sys, "executable", at)
    monkeypatch.setattr(Path, "exists", lambda _: True)

    assert remedies.reinstall().startswith(f"sudo {python} -m venv /opt/ioconnect && ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root judges what others may write")
@pytest.mark.parametrize(
    ("owner", "uids", "told"),
    [(65534, "0 1000 1", True), (65534, "0 0 4294967295", False), (0, "0 100000 65536", False)],
)
def test_root_of_a_user_namespace_is_told_that_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, uids: str, *, told: bool
) -> None:
    """There `/` belongs to nobody, and nothing can be moved where that is not so (`unshare -r`)."""
    os.chown(tmp_path, owner, owner)
    (tmp_path / "uid_map").write_text(f"         {uids}\n")
    monkeypatch.setattr(remedies, "_TOP", tmp_path)
    monkeypatch.setattr(remedies, "_UID_MAP", tmp_path / "uid_map")

    assert remedies.move().startswith("run it outside of this user namespace" if told else "move it")
    way_out = program._way_out(tmp_path / "ioconnect", f"chown root, else {remedies.move()}")
    assert ("user namespace" in way_out, "install it anew" in way_out) == (told, not told)
