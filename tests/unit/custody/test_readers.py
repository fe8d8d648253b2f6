"""Who may read a file or enter a folder, by mode and access control list."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.ordinary_user import NOBODY

from ioconnect.custody import readers
from ioconnect.custody.readers import LIST, READ, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the owner of the files is root")

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
ANY = 0xFFFFFFFF
UID, GID = 54321, 54322
ACCOUNT = Reader(UID, frozenset({GID}))


def give_list(path: Path, *named: tuple[int, int, int], group: int = 0, mask: int = 7, other: int = 0) -> None:
    entries = [(USER_OBJ, 7, ANY), (GROUP_OBJ, group, ANY), *named, (MASK, mask, ANY), (OTHER, other, ANY)]
    packed = b"".join(struct.pack("<HHI", *each) for each in sorted(entries))
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            pytest.skip("this file system has no access control lists")
        raise


def may(path: Path, reader: Reader, needed: int = READ) -> bool:
    """Return what is said, which the kernel must say too."""
    said = readers.may(reader, path, path.stat(), needed)
    asked = subprocess.run(
        ["/usr/bin/test", "-r", path.name, "-a", *(("-x", path.name) if needed == LIST else ("-r", path.name))],
        user=reader.uid,
        group=NOBODY,
        extra_groups=list(reader.groups),
        cwd=path.parent,
        check=False,
    )
    assert said is (asked.returncode == 0)
    return said


@pytest.fixture
def file() -> Iterator[Path]:
    with ordinary_user.folder(own=False) as folder:
        path = folder / "file"
        path.touch(mode=0o600)
        yield path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"named": [(USER, 4, UID)]}, True),
        ({"named": [(USER, 4, UID)], "mask": 2}, False),
        ({"named": [(USER, 0, UID)], "other": 4}, False),
        ({"named": [(USER, 4, UID + 7)]}, False),
        ({"named": [(GROUP, 4, GID)]}, True),
        ({"named": [(GROUP, 0, GID)], "other": 4}, False),
        ({"named": [(GROUP, 4, GID)], "mask": 0}, False),
        ({"named": [], "group": 4}, False),
        ({"named": [], "other": 4}, True),
        ({"named": [(USER, 4, UID + 7)], "group": 0, "gid": GID}, False),
        ({"named": [(USER, 4, UID + 7)], "group": 4, "gid": GID}, True),
    ],
)
def test_a_list_is_read_as_the_kernel_reads_it(file: Path, given: dict[str, object], expected: object) -> None:
    gid, named = given.pop("gid", 0), given.pop("named")
    os.chown(file, 0, gid)  # type: ignore[arg-type]
    give_list(file, *named, **given)  # type: ignore[misc,arg-type]

    assert may(file, ACCOUNT) is expected


@pytest.mark.parametrize(
    ("owner", "gid", "mode", "expected"),
    [
        (0, 0, 0o604, True),
        (0, 0, 0o640, False),
        (0, GID, 0o640, True),
        (0, GID, 0o604, False),
        (UID, 0, 0o044, False),
    ],
)
def test_and_a_mode_likewise(file: Path, owner: int, gid: int, mode: int, expected: object) -> None:
    os.chown(file, owner, gid)
    file.chmod(mode)

    assert may(file, ACCOUNT) is expected


def test_a_folder_that_a_list_opens_is_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    give_list(tmp_path, (USER, 5, UID), group=5)

    assert readers.may(ACCOUNT, tmp_path, tmp_path.stat(), LIST)
    assert not readers.may(Reader(None), tmp_path, tmp_path.stat(), LIST)
    assert tmp_path not in readers.closed(ACCOUNT, tmp_path)
