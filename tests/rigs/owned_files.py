"""Folders, files and links that belong to another account; made by root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.rigs.ordinary_user import NOBODY

if TYPE_CHECKING:
    from pathlib import Path

OTHER = NOBODY - 1  # a uid without an account


def folder_of(uid: int, path: Path) -> Path:
    path.mkdir(mode=0o755)
    os.chown(path, uid, uid)
    return path


def file_of(uid: int, path: Path, content: bytes = b"content", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def link_of(uid: int, path: Path, target: Path) -> Path:
    path.symlink_to(target)
    os.chown(path, uid, uid, follow_symlinks=False)
    return path
