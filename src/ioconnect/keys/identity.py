"""The private key that signs us in: made once, kept 0600, and checked before every use.

Only ssh-ed25519, which is what the jumphost takes. Any thread may call; nothing here is kept between calls.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ioconnect.config.files import make_folder, read_regular, write_atomically, write_new
from ioconnect.errors import CannotCreate, IdentityMissing, IdentityUnreadable, UsageFault
from ioconnect.keys import private_keys, public_keys
from ioconnect.keys.passphrases import keep_passphrase, passphrase_from_keyring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["fingerprint", "generate", "keep_passphrase", "load", "passphrase_from_keyring", "public_line"]

COMMENT = "integrateio-reverse-tunnel"
_MAX_FILE = 64 << 10  # an ed25519 key has 400 bytes, the largest RSA key 13 KiB
_REWRITE = "Check the passphrase; `ssh-keygen -p -Z aes256-ctr -f {}` writes the key with a cipher that can be read."
_KEYGEN = "Run `ioconnect keygen` to make one."


def generate(
    path: Path, *, comment: str = COMMENT, passphrase: str | None = None, force: bool = False
) -> tuple[str, bool]:
    """Make a key pair (OpenSSH format; 0600, `.pub` 0644, folder 0700); return the public line and whether it is new.

    A private key that exists is never touched without `force`: its public line is returned, and a `.pub` that is
    lost or not its own is written again where that is possible. Raises IdentityUnreadable if what exists is no
    usable key, CannotCreate, or UsageFault for a comment or passphrase that cannot be.
    """
    if not comment.isprintable():
        raise UsageFault("the key's comment has control characters", hint="Choose one line of plain text.")
    if passphrase == "":
        raise UsageFault("the passphrase is empty", hint="Type one, or leave out --passphrase.")
    if not force and os.path.lexists(path):
        return _existing(path), False
    secret, blob = private_keys.generate(passphrase)
    public = f"{public_keys.encoded(blob)} {comment}".rstrip()
    make_folder(path.parent)
    if force:
        write_atomically(path, secret)
    elif not write_new(path, secret):  # somebody else was quicker
        return _existing(path), False
    write_atomically(_beside(path), f"{public}\n".encode(), mode=0o644)
    return public, True


def _existing(path: Path) -> str:
    public = public_line(path)
    try:
        written = read_regular(_beside(path), limit=_MAX_FILE)[0].decode("utf-8", "replace")
    except OSError:
        written = ""
    if written.split()[:2] != public.split()[:2]:
        try:
            write_atomically(_beside(path), f"{public}\n".encode(), mode=0o644)
        except CannotCreate:
            return public  # a read-only place; the key is whole without its .pub
    return public


def public_line(path: Path) -> str:
    """Return `ssh-ed25519 BASE64 COMMENT` for the private key in `path`, which needs no passphrase.

    The key is always the private file's own; its comment comes from the `.pub` beside it, if that belongs to it.
    Raises IdentityMissing and IdentityUnreadable.
    """
    content, _ = _read(path)
    try:
        public = public_keys.encoded(private_keys.opened(content).blob)
    except ValueError as error:
        raise IdentityUnreadable(f"{path} {error}", hint=_remedy(path, content)) from None
    try:
        written = read_regular(_beside(path), limit=_MAX_FILE)[0].decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return public
    line = written.split("\n", 1)[0].strip()
    return line if line.startswith(f"{public} ") and line.isprintable() else public


def load(path: Path, *, passphrase: Callable[[], str] | None = None, credential: bool = False) -> bytes:
    """Return the private key as an unencrypted OpenSSH PEM, for memory only.

    Refused, as ssh does, if others may read the file or it is neither ours nor root's; with `credential` (a file of
    systemd's, which guards it otherwise) that is not looked at. `passphrase` is asked only if the key needs one.
    Raises IdentityMissing and IdentityUnreadable, and what `passphrase` raises.
    """
    content, facts = _read(path)
    if not credential:
        _check_custody(path, facts)
    try:
        key = private_keys.opened(content)
        if not key.encrypted:
            return private_keys.decrypted(key, None)
    except ValueError as error:
        raise IdentityUnreadable(f"{path} {error}", hint=_remedy(path, content)) from None
    if passphrase is None:
        raise IdentityUnreadable(
            f"{path} needs a passphrase, and nobody is here to give it",
            hint="Keep it in the keyring (`ioconnect keygen --passphrase`), or use a key without one.",
        )
    secret = passphrase()
    try:
        return private_keys.decrypted(key, secret)
    except ValueError as error:
        raise IdentityUnreadable(f"{path} {error}", hint=_REWRITE.format(path)) from None


def fingerprint(public_line: str) -> str:
    """Return `SHA256:…` of a public key line, as `ssh-keygen -l` shows it. Raises UsageFault if it is none."""
    words = public_line.split()
    try:
        if len(words) < 2:  # noqa: PLR2004  type and key
            raise ValueError("it is not TYPE KEY")  # noqa: TRY301  one place makes the fault
        return public_keys.fingerprint(public_keys.decoded(words[0], words[1]))
    except ValueError as error:
        raise UsageFault(f"not a public key line: {error}", hint="It looks like: ssh-ed25519 AAAA… comment") from None


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        return read_regular(path, limit=_MAX_FILE)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IdentityMissing(f"there is no private key at {path}", hint=_KEYGEN) from error
    except PermissionError as error:
        raise IdentityUnreadable(
            f"cannot read the private key {path}: {error.strerror}",
            hint="Run this as the key's owner, or make this user its owner.",
        ) from error
    except OSError as error:
        raise IdentityUnreadable(f"{path} is no private key: {error.strerror}", hint=_KEYGEN) from error


def _check_custody(path: Path, facts: os.stat_result) -> None:
    user = os.geteuid()
    if facts.st_mode & 0o077:
        raise IdentityUnreadable(
            f"others can read the private key {path} (mode {facts.st_mode & 0o7777:04o})",
            hint=f"chmod 600 {path}",
        )
    if user != 0 and facts.st_uid not in (user, 0):  # root may use anybody's key, as with ssh
        raise IdentityUnreadable(
            f"the private key {path} belongs to user {facts.st_uid}, who could change it",
            hint=f"Make this user its owner, or use another key. {_KEYGEN}",
        )


def _remedy(path: Path, content: bytes) -> str:
    if private_keys.is_public(content) and path.suffix == ".pub":
        return f"The private one is usually {path.with_suffix('')}."
    return "Name another key, or make a new one with `ioconnect keygen` and register that."


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".pub")
