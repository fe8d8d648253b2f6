"""The bearer token for the registration API: from a file that nobody else can read, or from the keyring.

Never from the command line or the environment, which other processes can see.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ioconnect.config.paths import absolute
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import hint_of, read_regular
from ioconnect.errors import ExitCode, Fault, SystemRefused
from ioconnect.keys import passphrases

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "IOCONNECT_TOKEN_FILE"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1
_MAX_FILE = 16 << 10  # bytes


class TokenUnusable(Fault):
    """There is no token, or none that can be used."""

    exit_code = ExitCode.NO_INPUT


def find(base: str, file: Path | None, environ: Mapping[str, str]) -> str:
    """Return the token for the API at `base`.

    It is read from `file`, else from the file that IOCONNECT_TOKEN_FILE names, else from the keyring (user `base`).
    Blocks while the keyring is asked. Raises TokenUnusable.
    """
    named = file or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    if named is not None:
        return from_file(absolute(named))
    keep = f"Keep it in a file of mode 0600 and give --token-file FILE, or: keyring set {passphrases.SERVICE} {base}"
    try:
        token = passphrases.stored_secret(base)
    except SystemRefused as refused:
        raise TokenUnusable(f"there is no token for {base}, and {refused.message}", hint=keep) from refused
    if token is None:
        raise TokenUnusable(f"there is no token for {base}, neither in a file nor in the keyring", hint=keep)
    return _checked(token, "the keyring's token")


def from_file(path: Path) -> str:
    """Return the token in the file. Raises TokenUnusable, also if others can read the file."""
    try:
        content, facts = read_regular(path, limit=_MAX_FILE)
    except (OSError, Untrusted) as error:
        raise TokenUnusable(
            f"cannot read the token in {path}: {error.strerror}", hint=hint_of(error, "Check --token-file.")
        ) from error
    if facts.st_mode & 0o077:
        raise TokenUnusable(
            f"others can read the token in {path} (mode {facts.st_mode & 0o7777:04o})",
            hint=f"chmod 600 {shlex.quote(str(path))}",
        )
    if os.geteuid() != 0 and facts.st_uid not in (os.geteuid(), 0):
        raise TokenUnusable(f"the token in {path} belongs to user {facts.st_uid}", hint="Make this user its owner.")
    return _checked(content.decode("utf-8", "replace"), str(path))


def _checked(text: str, origin: str) -> str:
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise TokenUnusable(
            f"{origin} holds no token" if not token else f"what {origin} holds is not one bearer token",
            hint="It must hold the token alone, on one line.",
        )
    return token
