"""Who may write a file or folder of root's: its mode, group and access control list, and the mount that it is in."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import struct
import subprocess
import sys
from pathlib import Path  # noqa: TC003
from types import SimpleNamespace

import pytest
from tests.rigs.ordinary_user import NOBODY

from ioconnect.custody import mounts, writers
from ioconnect.custody.entries import custody_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root judges what others may write")

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
READ, WRITE = 5, 7
ANY = 0xFFFFFFFF


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of root's, with its folder."""
    folder = tmp_path / "ioconnect"
    folder.mkdir(mode=0o755)
    path = folder / "config.toml"
    path.touch(mode=0o644)
    return path


def give_list(path: Path, *named: tuple[int, int, int], group: int = READ, mask: int = WRITE) -> None:
    """Give the file a POSIX access control list that grants more than its mode."""
    entries = [(USER_OBJ, WRITE, ANY), (GROUP_OBJ, group, ANY), *named, (MASK, mask, ANY), (OTHER, READ, ANY)]
    packed = b"".join(struct.pack("<HHI", *each) for each in sorted(entries))
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            pytest.skip("this file system has no access control lists")
        raise


def give_to_group(path: Path, gid: int, mode: int = 0o775) -> None:
    os.chown(path, 0, gid)
    path.chmod(mode)


def accounts(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int, int], members: tuple[str, ...] = ()) -> None:
    """Have the machine these accounts (name, uid, gid), and in every group these members."""
    rows = [SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid) for name, uid, gid in (("root", 0, 0), *found)]
    monkeypatch.setattr(pwd, "getpwall", lambda: rows)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=f"g{gid}", gr_mem=list(members)))


def sources(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    path.write_text(text)
    monkeypatch.setattr(writers, "_NSSWITCH", path)


@pytest.mark.parametrize("on", ["folder", "file"])
def test_an_account_in_the_list_may_write(file: Path, on: str) -> None:
    """Its mode is 0775 or 0674, and its group is root's, whom the mode would leave alone."""
    path = file if on == "file" else file.parent
    give_list(path, (USER, WRITE, NOBODY))

    found = custody_of(file)

    assert found is not None
    assert found.uids == {NOBODY}
    assert found.description == f"the account nobody (in its access control list) may write {path}"
    assert found.remedy.startswith(f"setfacl -b {path}")


@pytest.mark.parametrize(
    "entries", [[(USER, READ, NOBODY)], [(USER, WRITE, 0)], [(GROUP, READ, NOBODY)], [(USER, 1, NOBODY)]]
)
def test_a_list_that_lets_nobody_else_write_is_none(file: Path, entries: list[tuple[int, int, int]]) -> None:
    """As /var/log/journal has one for the group adm, which may read."""
    give_list(file.parent, *entries)
    give_list(file, *entries)

    assert custody_of(file) is None


def test_a_mask_takes_the_right_away(file: Path) -> None:
    give_list(file.parent, (USER, WRITE, NOBODY), mask=READ)

    assert custody_of(file) is None


def test_a_group_in_the_list_may_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_list(file.parent, (GROUP, WRITE, 5000))
    accounts(monkeypatch, ("ann", 1001, 1001), members=("ann",))

    found = custody_of(file)

    assert found is not None
    assert found.uids == {1001}
    assert found.description == f"the group g5000 (in its access control list) may write {file.parent}"


def nfs4(*entries: tuple[int, int, int, str]) -> bytes:
    """Return a list of NFSv4 (type, flags, mask, who) as the kernel's client gives it."""
    rows = [
        struct.pack(">IIII", kind, flags, mask, len(who)) + who.encode() + bytes(-len(who) % 4)
        for kind, flags, mask, who in entries
    ]
    return struct.pack(">I", len(rows)) + b"".join(rows)


READS = 0x1200A9
TRIVIAL = [(0, 0, 0x1601BF, "OWNER@"), (0, 0x40, READS, "GROUP@"), (0, 0, READS, "EVERYONE@")]


@pytest.mark.parametrize(
    ("content", "who"),
    [
        (nfs4(*TRIVIAL), None),
        (nfs4(*TRIVIAL, (0, 0, 0x2, "root@example.com"), (1, 0, 0x2, "ann@example.com")), None),
        (nfs4(*TRIVIAL, (0, 0xB, 0x2, "ann@example.com")), None),  # for new files only
        (nfs4(*TRIVIAL, (0, 0, 0x2, "ann@example.com")), "ann@example.com (in its access control list)"),
        (nfs4(*TRIVIAL, (0, 0x40, 0x40, "staff@example.com")), "staff@example.com (in its access control list)"),
        (nfs4(*TRIVIAL)[:-9], "anybody (its access control list cannot be read)"),
        (errno.EIO, "anybody (its access control list cannot be read)"),
        (errno.EOPNOTSUPP, None),
    ],
)
def test_a_list_of_nfs_is_read_whatever_the_mode_says(
    file: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | int, who: str | None
) -> None:
    def attribute(path: object, name: str, **_options: object) -> bytes:
        if name != "system.nfs4_acl" or path != file.parent:
            raise OSError(errno.ENODATA, "none")
        if isinstance(content, int):
            raise OSError(content, os.strerror(content))
        return content

    monkeypatch.setattr(os, "getxattr", attribute)

    found = custody_of(file)

    assert (found and found.description) == (who and f"{who} may write {file.parent}")


@pytest.mark.parametrize(
    ("found", "members", "uids"),
    [
        ([], (), set()),
        ([("sync", 5, 0), ("shutdown", 6, 0), ("halt", 7, 0), ("operator", 11, 0)], (), set()),  # Red Hat, Alpine
        ([], ("root",), set()),  # Alpine
        ([("toor", 0, 0)], ("toor",), set()),
        ([("default", 1001, 0)], (), {1001}),  # OpenShift's images
        ([("ann", 1000, 1000)], ("ann",), {1000}),
        ([("sync", 5, 0)], ("sync",), {5}),  # made a member
        ([], ("gone",), {writers.ANYBODY}),  # not in the list
    ],
)
def test_the_group_of_root_has_members_too(
    monkeypatch: pytest.MonkeyPatch, found: list[tuple[str, int, int]], members: tuple[str, ...], uids: set[int]
) -> None:
    accounts(monkeypatch, *found, members=members)

    assert writers.group_members(0) == uids


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\nhosts: files dns\n", True),
        ("passwd:\tcompat\n", True),
        ("# passwd: ldap\n", True),
        ("passwd: files sss\n", False),
        ("passwd: files\ngroup: files winbind\n", False),
    ],
)
def test_a_group_whose_members_cannot_be_listed_may_have_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, listed: bool
) -> None:
    """A directory service need not list its accounts. The group 0 is none of a directory's."""
    sources(monkeypatch, tmp_path / "nsswitch.conf", text)
    accounts(monkeypatch, ("ann", 1000, 5050))

    assert writers.group_members(5050) == ({1000} if listed else {writers.ANYBODY})
    assert writers.group_members(0) == set()


@pytest.mark.parametrize(
    ("gid", "members", "uids"),
    [
        (1000, (), {1000}),  # ann's own
        (1000, ("bob",), {1000, 1001}),
        (5000, (), {5000}),  # of an account of the directory
        (6000, (), {writers.ANYBODY}),  # a group of the directory
        (4, (), set()),  # adm
        (4, ("ann", "dora"), {1000, 5000}),
        (4, ("gone",), {writers.ANYBODY}),
        (998, (), {998}),  # the account of a service
        (777, (), {writers.ANYBODY}),  # not in /etc/group
        (100, (), {writers.ANYBODY}),  # the group of all people: of accounts of the directory, too
        (984, ("ann",), {writers.ANYBODY}),  # that of Arch Linux
    ],
)
def test_a_directory_adds_nobody_to_an_accounts_own_group_nor_to_a_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gid: int, members: tuple[str, ...], uids: set[int]
) -> None:
    """With sss in nsswitch.conf every group was anybody."""
    sources(monkeypatch, tmp_path / "nsswitch.conf", "passwd: files sss\ngroup: files sss\n")
    (tmp_path / "group").write_text(
        "root:x:0:\nadm:x:4:ann,dora\nioconnect:x:998:\nann:x:1000:\nusers:x:984:\npeople:x:100:\n"
    )
    monkeypatch.setattr(writers, "_GROUP_FILE", tmp_path / "group")
    accounts(monkeypatch, ("ann", 1000, 1000), ("bob", 1001, 1001), ("svc", 998, 998))
    known = {each.pw_name: each for each in pwd.getpwall()}
    known["dora"] = SimpleNamespace(pw_name="dora", pw_uid=5000, pw_gid=5000)  # type: ignore[assignment]
    names = {1000: "ann", 5000: "dora", 6000: "staff", 4: "adm", 998: "ioconnect", 777: "other"}
    names |= {100: "people", 984: "users"}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=names[gid], gr_mem=list(members)))

    assert writers.group_members(gid) == uids


@pytest.mark.parametrize(("platform", "user", "service"), [("linux", 1000, 999), ("darwin", 501, 500)])
def test_users_begin_where_the_system_says(platform: str, user: int, service: int) -> None:
    assert user not in writers.system_ids(platform)
    assert service in writers.system_ids(platform)
    assert 0 not in writers.system_ids(platform)


def test_no_nsswitch_conf_means_passwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_NSSWITCH", tmp_path / "none")
    accounts(monkeypatch, ("ann", 1000, 1000))

    assert writers.group_members(50) == set()


def test_a_group_that_nobody_is_in_may_write(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As staff in /usr/local on older Debian systems."""
    sources(monkeypatch, tmp_path / "nsswitch.conf", "passwd: files\ngroup: files\n")
    accounts(monkeypatch, ("ann", 1000, 1000))
    give_to_group(file.parent, 50, 0o2775)

    assert custody_of(file) is None


def test_the_members_of_a_group_are_who_may_write(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of the account's own is that account (user private groups)."""
    sources(monkeypatch, tmp_path / "nsswitch.conf", "passwd: files\ngroup: files\n")
    accounts(monkeypatch, ("orders", 998, 998))
    give_to_group(file.parent, 998)

    found = custody_of(file)

    assert found is not None
    assert (found.uids, found.description) == ({998}, f"the group g998 may write {file.parent}")


POD = "/var/lib/kubelet/pods/0a-1b/volumes"
VERSION = "..2026_11_26_20_00_00.123456"


@pytest.mark.parametrize(
    ("fields", "is_volume"),
    [
        (f"{POD}/kubernetes.io~configmap/ioconnect {{}} ro,relatime - ext4 /dev/sda1 rw", True),
        (f"{POD}/kubernetes.io~projected/ioconnect/{VERSION}/sub {{}} ro - xfs /dev/sda1 rw", True),
        (f"{POD}/kubernetes.io~projected/ioconnect/sub {{}} ro - xfs /dev/sda1 rw", False),
        (f"{POD}/kubernetes.io~configmap/ioconnect {{}} rw - ext4 /dev/sda1 rw", False),
        (f"{POD}/kubernetes.io~empty-dir/ioconnect {{}} ro - ext4 /dev/sda1 rw", False),
        ("/ {} ro,relatime - tmpfs tmpfs rw,size=64k", False),  # an emptyDir that another container writes
        ("/ {} rw - tmpfs tmpfs rw,size=64k", False),
        ("/shared {} ro - tmpfs tmpfs rw", False),  # a folder of a tmpfs of the host
        ("/srv/ioconnect {} ro,relatime - ext4 /dev/sda1 rw", False),  # docker run -v /srv/ioconnect:…:ro
    ],
)
def test_a_read_only_mount_is_written_elsewhere_unless_it_is_of_kubernetes(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fields: str, *, is_volume: bool
) -> None:
    table = tmp_path / "mountinfo"
    blank = str(file.parent).replace(" ", "\\040")
    table.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:1 {fields.format(blank)}\n")
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    file.parent.chmod(0o777)
    if "/sub" not in fields:
        (file.parent / "..data").symlink_to(VERSION)

    assert (custody_of(file) is None) is is_volume
    (file.parent / "..data").unlink(missing_ok=True)
    assert (custody_of(file) is None) is (is_volume and VERSION in fields)


def test_a_config_map_is_followed_through_its_links(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder has 0777, `..data` leads to the version that counts."""
    folder = file.parent
    version = folder / VERSION
    version.mkdir(mode=0o755)
    (version / "config.toml").touch()
    (folder / "..data").symlink_to(version.name)
    file.unlink()
    file.symlink_to("..data/config.toml")
    folder.chmod(0o2777)
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 8:1 {POD}/kubernetes.io~configmap/c {folder} ro - ext4 /dev/sda1 rw\n"
    )
    monkeypatch.setattr(mounts, "_MOUNTS", table)

    assert custody_of(file) is None
    table.write_text("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    assert custody_of(file) is not None


MOUNTED = """
import os, subprocess, sys
from pathlib import Path
from ioconnect.custody.entries import custody_of
base = Path(sys.argv[1])
def mount(*words): subprocess.run(["mount", *words], check=True)
mount("--make-rprivate", "/")
secret, others, host, bound = (base / name for name in ("secret", "others", "host", "bound"))
for folder in (secret, others, host, bound):
    folder.mkdir(mode=0o755)
for folder in (secret, others):
    mount("-t", "tmpfs", "tmpfs", str(folder))
for folder in (secret, others, host):
    (folder / "..1").mkdir(mode=0o755)
    (folder / "..1" / "config.toml").touch()
    (folder / "..data").symlink_to("..1")
    (folder / "config.toml").symlink_to("..data/config.toml")
host.chmod(0o777)
(secret / "..1").chmod(0o2755)  # fsGroup
secret.chmod(0o3777)
os.lchown(others / "..data", 65534, 65534)
for folder in (secret, others):
    mount("-o", "remount,ro", str(folder))
mount("--bind", str(host), str(bound))
mount("-o", "remount,bind,ro", str(bound))
print(custody_of(secret / "config.toml"))
print(custody_of(others / "config.toml").description)
print(custody_of(bound / "config.toml").description)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1)")
def test_the_mounts_of_this_kernel(tmp_path: Path) -> None:
    """A Secret as Kubernetes mounts it, an emptyDir that a sidecar wrote, a folder of the host's; all read-only."""
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", MOUNTED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "unshare failed" in done.stderr or "permission denied" in done.stderr.lower():
        pytest.skip("no mount namespaces here")

    assert done.stdout.splitlines() == [
        "None",
        f"{tmp_path / 'others' / '..data'} belongs to nobody",
        f"anybody may write {tmp_path / 'bound'}",
    ], done.stderr
