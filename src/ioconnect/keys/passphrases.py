"""Stores the identity's passphrase in the operating system's keyring and reads it from there.

Every keyring call runs in a child process with a timeout: a locked keyring may wait for a prompt that nobody sees,
and a backend may fail at import. Passphrases pass through pipes only. Timeouts are in seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from ioconnect.errors import IdentityUnreadable, SystemRefused
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "ioconnect"
TIMEOUT = 20.0  # the user may have to unlock the keyring meanwhile
_ALTERNATIVES = "Use a key without a passphrase (mode 0600), or a credential of systemd's."

# Runs in the child process. Usable means: a real backend, and a random value can be stored and read back.
# The working folder, which `-c` puts first in sys.path, is removed from it.
_SCRIPT = r"""
import sys
sys.path[:] = [folder for folder in sys.path if folder]
import json, secrets
asked = json.load(sys.stdin)
def answer(**fields):
    json.dump(fields, sys.stdout)
    sys.exit()
try:
    import keyring
    from keyring.backends import fail, null
    ring = keyring.get_keyring()
    if isinstance(ring, (fail.Keyring, null.Keyring)) or ring.priority <= 0:
        answer(error="there is none on this machine")
    if asked["task"] == "get":
        answer(secret=ring.get_password(asked["service"], asked["name"]))
    name, value = "probe-" + secrets.token_hex(8), secrets.token_hex(8)
    ring.set_password(asked["service"], name, value)
    found = ring.get_password(asked["service"], name)
    ring.delete_password(asked["service"], name)
    if found != value:
        answer(error="it does not keep what it is given")
    if asked["task"] == "set":
        ring.set_password(asked["service"], asked["name"], asked["secret"])
    answer(backend=type(ring).__module__ + "." + type(ring).__name__)
except Exception as error:
    answer(error=(type(error).__name__ + ": " + str(error)))
"""


def keyring_backend(*, timeout: float = TIMEOUT) -> str:
    """Return the name of the keyring's backend. Blocks. Raises SystemRefused if none is usable."""
    return _call_keyring({"task": "probe"}, timeout)["backend"] or ""


def store_passphrase(path: Path, passphrase: str, *, timeout: float = TIMEOUT) -> None:
    """Store the passphrase of the identity `path`. Blocks. Raises SystemRefused if no keyring is usable."""
    _call_keyring({"task": "set", "name": str(path.absolute()), "secret": passphrase}, timeout)


def passphrase_from_keyring(path: Path, *, timeout: float = TIMEOUT) -> str:
    """Return the stored passphrase of the identity `path`. Blocks. Raises IdentityUnreadable."""
    try:
        secret = _call_keyring({"task": "get", "name": str(path.absolute())}, timeout)["secret"]
    except SystemRefused as error:
        raise IdentityUnreadable(f"{path} needs a passphrase, and {error.message}", hint=error.hint) from error
    if secret is None:
        raise IdentityUnreadable(
            f"{path} needs a passphrase, and the keyring has none for it",
            hint="Keep it there with `ioconnect keygen --passphrase`, or use a key without one.",
        )
    return secret


def stored_secret(name: str, *, timeout: float = TIMEOUT) -> str | None:
    """Return the secret stored for this user name of the service, or None. Blocks. Raises SystemRefused."""
    return _call_keyring({"task": "get", "name": name}, timeout)["secret"]


def _call_keyring(request: dict[str, str], timeout: float) -> dict[str, str | None]:
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and text
            [sys.executable, "-c", _SCRIPT],
            input=json.dumps({**request, "service": SERVICE}),
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=True,
        )
        answer: dict[str, str | None] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        message = f"the keyring did not answer within {timeout:g} s; it may be locked"
        raise SystemRefused(message, hint=f"Unlock it and try again. {_ALTERNATIVES}") from None
    except (OSError, subprocess.CalledProcessError, ValueError):
        raise SystemRefused("the keyring cannot be asked: its process failed", hint=_ALTERNATIVES) from None
    if "error" in answer:
        raise SystemRefused(f"the keyring is not usable: {escaped(answer['error'] or '')}", hint=_ALTERNATIVES)
    return answer
