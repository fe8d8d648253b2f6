"""The folder of a control socket: who may be trusted, and addresses that are too long."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ioconnect.agent.process.control_socket import bind
from ioconnect.status import control_folder
from ioconnect.status.control_folder import SocketRefused, address, check_trusted, opened

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def reach(path: Path) -> None:
    """Connect to the socket as a client does."""
    with opened(path.parent) as folder, socket.socket(socket.AF_UNIX) as client:
        check_trusted(folder, path)
        with address(folder, path) as name:
            client.connect(name)


@pytest.mark.parametrize("has_proc", [True, False])
@pytest.mark.parametrize("depth", [1, 5])
def test_a_long_path_can_be_bound_and_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int, *, has_proc: bool
) -> None:
    """Where there is no /proc, through a link in a temporary folder, of which nothing is left."""
    if not has_proc:
        monkeypatch.setattr(control_folder, "DESCRIPTORS", Path("/nowhere"))
    left = set(Path("/tmp").glob("ioc-*"))
    folder = tmp_path.joinpath(*["a" * 40] * depth)
    folder.mkdir(parents=True)
    bound = bind(folder / "run" / "control.sock")

    reach(bound.path)

    bound.close()
    assert not bound.path.exists()
    assert set(Path("/tmp").glob("ioc-*")) <= left


def test_a_socket_that_was_replaced_is_not_removed(tmp_path: Path) -> None:
    bound = bind(tmp_path / "run" / "control.sock")
    bound.path.unlink()
    bound.path.write_text("another's")
    bound.close()

    assert bound.path.read_text() == "another's"


def test_no_folder_is_made_where_its_parent_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bind(tmp_path / "gone" / "ioconnect" / "control.sock")


@root_only
@pytest.mark.parametrize("what", ["folder", "socket"])
def test_what_belongs_to_another_user_is_neither_used_nor_removed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run" / "control.sock"
    bind(path).listener.close()
    os.chown(path.parent if what == "folder" else path, NOBODY, NOBODY)

    with pytest.raises(SocketRefused, match="another user"):
        bind(path)
    assert path.is_socket()


@root_only
def test_root_trusts_the_account_for_which_root_made_the_folder_and_no_other(tmp_path: Path) -> None:
    """As systemd makes /run/ioconnect for the service's account; in a user's own folder anything may lie."""
    bound = bind(tmp_path / "run" / "control.sock")
    try:
        os.chown(bound.path, NOBODY, NOBODY)
        with pytest.raises(SocketRefused, match=f"uid {NOBODY}"):
            reach(bound.path)
        os.chown(bound.path.parent, NOBODY, NOBODY)
        reach(bound.path)
        os.chown(tmp_path, NOBODY, NOBODY)
        with pytest.raises(SocketRefused, match=f"uid {NOBODY}"):
            reach(bound.path)
    finally:
        os.chown(tmp_path, 0, 0)
        bound.close()


@root_only
def test_what_root_made_where_another_account_may_replace_it_is_not_trusted(tmp_path: Path) -> None:
    """Not only the folder around it counts, but all that lead there."""
    (tmp_path / "theirs" / "roots").mkdir(parents=True)
    bound = bind(tmp_path / "theirs" / "roots" / "run" / "control.sock")
    try:
        os.chown(bound.path, NOBODY, NOBODY)
        os.chown(bound.path.parent, NOBODY, NOBODY)
        reach(bound.path)
        os.chown(tmp_path / "theirs", NOBODY, NOBODY)
        with pytest.raises(SocketRefused, match=f"uid {NOBODY}"):
            reach(bound.path)
    finally:
        bound.close()


def test_what_fs_group_did_to_our_folder_is_undone(tmp_path: Path) -> None:
    """A pod's second start found it 2770, and had no control socket."""
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o2770)

    bound = bind(folder / "control.sock")

    try:
        reach(bound.path)
    finally:
        bound.close()
    assert folder.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o2777])
def test_a_folder_that_others_may_write_in_is_refused_at_both_ends(tmp_path: Path, mode: int) -> None:
    bound = bind(tmp_path / "run" / "control.sock")
    bound.path.parent.chmod(mode)
    try:
        with pytest.raises(SocketRefused, match="others may write"):
            reach(bound.path)
    finally:
        bound.close()
    with pytest.raises(SocketRefused, match="others may write"):
        bind(bound.path)
