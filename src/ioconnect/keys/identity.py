"""The identity: generates the key pair, and loads the private key with checks of its owner, mode and format.

Only ssh-ed25519, the key type that the jumphost accepts. Safe in any thread: no state is kept between calls.
"""

from __future__ import annotations

import functools
import logging
import os
import shlex
import stat
from typing import TYPE_CHECKING

from ioconnect.custody.descriptors import open_regular, open_to_change
from ioconnect.custody.entries import Untrusted, entry
from ioconnect.custody.files import make_folder, read_opened, read_regular, write_atomically, write_new
from ioconnect.custody.mounts import may_be_secret
from ioconnect.errors import CannotCreate, IdentityMissing, IdentityUnreadable, UsageFault
from ioconnect.keys import private_keys, public_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ioconnect.custody.entries import Custody

log = logging.getLogger(__name__)
COMMENT = "integrateio-reverse-tunnel"
_MAX_FILE = 64 << 10  # an ed25519 key has 400 bytes, the largest RSA key 13 KiB
_REWRITE = "Check the passphrase; `ssh-keygen -p -Z aes256-ctr -f {}` writes the key with a cipher that can be read."
_POD = "KUBERNETES_SERVICE_HOST"  # in the environment of each container
_KEYGEN = "Run `ioconnect keygen` to make one."


def generate(
    path: Path, *, comment: str = COMMENT, passphrase: str | None = None, force: bool = False
) -> tuple[str, bool]:
    """Make a key pair (OpenSSH format; 0600, `.pub` 0644, folder 0700); return the public line and whether it is new.

    Without `force` an existing private key is not changed: its public line is returned, and a missing or wrong
    `.pub` file is written if possible. Raises IdentityUnreadable if the existing file is no usable key,
    CannotCreate, or UsageFault for an invalid comment or passphrase.
    """
    if not comment.isprintable():
        raise UsageFault("the key's comment has control characters", hint="Choose one line of plain text.")
    if passphrase == "":
        raise UsageFault("the passphrase is empty", hint="Type one, or leave out --passphrase.")
    if not force and os.path.lexists(path):
        return _existing(path), False
    secret, blob = private_keys.generate(passphrase)
    public = f"{public_keys.encode(blob)} {comment}".rstrip()
    make_folder(path.parent)
    if force:
        write_atomically(path, secret)
    elif not write_new(path, secret):  # created by another process meanwhile
        return _existing(path), False
    write_atomically(_public_path(path), f"{public}\n".encode(), mode=0o644)
    return public, True


def _existing(path: Path) -> str:
    public = public_line(path)
    try:
        written = read_regular(_public_path(path), limit=_MAX_FILE)[0].decode("utf-8", "replace")
    except (OSError, Untrusted):
        written = ""
    if written.split()[:2] != public.split()[:2]:
        try:
            write_atomically(_public_path(path), f"{public}\n".encode(), mode=0o644)
        except CannotCreate:
            return public  # read-only folder; the identity is usable without its .pub
    return public


def public_line(path: Path) -> str:
    """Return `ssh-ed25519 BASE64 COMMENT` for the private key in `path`, without its passphrase.

    The key is read from the private key file, the comment from the `.pub` file if that holds the same key. Raises
    IdentityMissing and IdentityUnreadable.
    """
    content = _read(path)
    try:
        public = public_keys.encode(private_keys.parse(content).blob)
    except ValueError as error:
        raise IdentityUnreadable(f"{path} {error}", hint=_key_hint(path, content)) from None
    try:
        written = read_regular(_public_path(path), limit=_MAX_FILE)[0].decode("utf-8")
    except (OSError, Untrusted, UnicodeDecodeError):
        return public
    line = written.split("\n", 1)[0].strip()
    return line if line.startswith(f"{public} ") and line.isprintable() else public


def load(
    path: Path, *, passphrase: Callable[[], str] | None = None, credential: bool = False, own: bool = False
) -> bytes:
    """Return the private key as an unencrypted OpenSSH PEM, to be kept in memory only.

    As with ssh, the file must not be accessible by others and must belong to this user or root; but for volumes of
    Kubernetes see `_check_owner_and_mode`, and `_is_fs_groups` for the agent's `own` key, which `keygen` makes. A
    systemd `credential` is not checked. `passphrase` is called only for an encrypted key. Raises IdentityMissing and
    IdentityUnreadable, and what `passphrase` raises.
    """
    content, facts, is_secret = _read_with_facts(path)
    is_fs_groups = own and not credential and _is_fs_groups(path, facts)
    try:
        key = private_keys.parse(content)  # first: nobody is told to take a file from others that is no key
        if not credential:
            _check_owner_and_mode(path, facts, is_taken=is_fs_groups or (is_secret and not facts.st_mode & 0o022))
        if is_fs_groups:
            _take_from_group(path, facts)
        if not key.encrypted:
            return private_keys.decrypt(key, None)
    except ValueError as error:
        raise IdentityUnreadable(f"{path} {error}", hint=_key_hint(path, content)) from None
    if passphrase is None:
        raise IdentityUnreadable(
            f"{path} needs a passphrase, and nobody is here to give it",
            hint="Keep it in the keyring (`ioconnect keygen --passphrase`), or use a key without one.",
        )
    secret = passphrase()
    try:
        return private_keys.decrypt(key, secret)
    except ValueError as error:
        raise IdentityUnreadable(f"{path} {error}", hint=_REWRITE.format(shlex.quote(str(path)))) from None


def fingerprint(public_line: str) -> str:
    """Return the fingerprint `SHA256:…` of a public key line, as `ssh-keygen -l`. Raises UsageFault if it is none."""
    words = public_line.split()
    try:
        if len(words) < 2:  # noqa: PLR2004  type and key
            raise ValueError("it is not TYPE KEY")  # noqa: TRY301  one place makes the fault
        return public_keys.fingerprint(public_keys.decode(words[0], words[1]))
    except ValueError as error:
        raise UsageFault(f"not a public key line: {error}", hint="It looks like: ssh-ed25519 AAAA… comment") from None


def _read(path: Path) -> bytes:
    return _read_with_facts(path)[0]


def _read_with_facts(path: Path) -> tuple[bytes, os.stat_result, bool]:
    """Return the content, the fstat(2) result, and whether what was opened is a Secret of Kubernetes."""
    try:
        descriptor, facts = open_regular(path)
        try:
            return read_opened(descriptor, path, limit=_MAX_FILE), facts, may_be_secret(descriptor)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IdentityMissing(f"there is no private key at {path}", hint=_KEYGEN) from error
    except Untrusted as error:
        raise IdentityUnreadable(f"cannot use the private key {path}: {error.strerror}", hint=error.hint) from error
    except PermissionError as error:
        raise IdentityUnreadable(
            f"cannot read the private key {path}: {error.strerror}",
            hint="Run this as the key's owner, or make this user its owner.",
        ) from error
    except OSError as error:
        raise IdentityUnreadable(f"{path} is no private key: {error.strerror}", hint=_KEYGEN) from error


def _check_owner_and_mode(path: Path, facts: os.stat_result, *, is_taken: bool) -> None:
    """Check them as ssh does; what others may read `is_taken` if Kubernetes made it so. Raises IdentityUnreadable.

    It gives a Secret the mode 0644, or with fsGroup 0440, for an agent that is not root, in a mount where nobody can
    change that. Such a key is for this container, in which others are the processes of other accounts.
    """
    user = os.geteuid()
    if facts.st_mode & 0o077 and not is_taken:
        raise _readable_by_others(path, facts)
    if user != 0 and facts.st_uid not in (user, 0):  # root may use anybody's key, as with ssh
        raise IdentityUnreadable(
            f"the private key {path} belongs to user {facts.st_uid}, who could change it",
            hint=f"Make this user its owner, or use another key. {_KEYGEN}",
        )
    if facts.st_mode & 0o077 and not facts.st_mode & 0o022:
        _warn(f"others in this container may read the private key {path} (mode {facts.st_mode & 0o7777:04o})")


def _readable_by_others(path: Path, facts: os.stat_result) -> IdentityUnreadable:
    message = f"others can read the private key {path} (mode {facts.st_mode & 0o7777:04o})"
    try:
        with entry(path, follow=True) as found:
            return IdentityUnreadable(message, hint=how_to_close(path, found.custody))
    except Untrusted as untrusted:  # what lay there has been replaced since it was read
        return IdentityUnreadable(message, hint=how_to_close(path, untrusted.custody))
    except OSError:
        return IdentityUnreadable(message, hint="its owner is to close it (mode 0600)")


def how_to_close(path: Path, custody: Custody | None) -> str:
    """Return what takes a key from others; for root no command that whoever has `custody` may have act elsewhere."""
    if custody is not None:
        return f"its owner is to close it (mode 0600), and not root, as {custody.description}"
    return f"chmod 600 {shlex.quote(str(path))}"


def _is_fs_groups(path: Path, facts: os.stat_result) -> bool:
    """Whether fsGroup of Kubernetes gave a key of this user's to a group, in a pod; no link is followed to it.

    At each start of a pod the files of a volume get the mode 0660, folders the bit set-group-ID, and all one group.
    """
    is_in_pod = _POD in os.environ
    if not is_in_pod or facts.st_uid != os.geteuid() or facts.st_mode & 0o077 != stat.S_IRGRP | stat.S_IWGRP:
        return False
    try:
        folder, named = path.parent.stat(), path.lstat()
    except OSError:
        return False
    return os.path.samestat(named, facts) and folder.st_mode & stat.S_ISGID != 0 and folder.st_gid == facts.st_gid


def _take_from_group(path: Path, facts: os.stat_result) -> None:
    """Give the key its mode again. Raises IdentityUnreadable."""
    try:
        descriptor = open_to_change(path)
        try:
            if not os.path.samestat(facts, os.fstat(descriptor)):
                raise _readable_by_others(path, facts)
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except (OSError, Untrusted):
        raise _readable_by_others(path, facts) from None
    _warn(f"the group {facts.st_gid} could read the private key {path} (fsGroup of Kubernetes): it is 0600 again")


@functools.cache
def _warn(text: str) -> None:
    """Log a warning, once in a process: the key is read for each session."""
    log.warning("%s", text)


def _key_hint(path: Path, content: bytes) -> str:
    if private_keys.is_public_key(content) and path.suffix == ".pub":
        return f"The private one is usually {path.with_suffix('')}."
    return "Name another key, or make a new one with `ioconnect keygen` and register that."


def _public_path(path: Path) -> Path:
    return path.with_name(path.name + ".pub")
