"""The identity's passphrase in the operating system's keyring.

Every keyring call runs in a process of its own under a deadline: a locked collection puts up a prompt and waits for
ever where nobody sees it, and a backend is free to break at import. The passphrase goes through pipes only.
Deadlines are in seconds.
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
DEADLINE = 20.0  # a person may have to unlock the keyring meanwhile
_WITHOUT = "Use a key without a passphrase (mode 0600), or a credential of systemd's."

# Runs in the other process. Usable means: a real backend, and a value of no worth survives the round trip.
# Nothing is imported from the folder that the command was started in, which `-c` would put first.
_WORK = r"""
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


def keyring_backend(*, deadline: float = DEADLINE) -> str:
    """Return the name of the keyring's backend if one is usable; raises SystemRefused, which says why not."""
    return _ask({"task": "probe"}, deadline)["backend"] or ""


def keep_passphrase(path: Path, passphrase: str, *, deadline: float = DEADLINE) -> None:
    """Keep the passphrase of the key in `path`; raises SystemRefused if no keyring is usable. Blocks."""
    _ask({"task": "set", "name": str(path.absolute()), "secret": passphrase}, deadline)


def passphrase_from_keyring(path: Path, *, deadline: float = DEADLINE) -> str:
    """Return the passphrase kept for the key in `path`; raises IdentityUnreadable. Blocks."""
    try:
        secret = _ask({"task": "get", "name": str(path.absolute())}, deadline)["secret"]
    except SystemRefused as error:
        raise IdentityUnreadable(f"{path} needs a passphrase, and {error.message}", hint=error.hint) from error
    if secret is None:
        raise IdentityUnreadable(
            f"{path} needs a passphrase, and the keyring has none for it",
            hint="Keep it there with `ioconnect keygen --passphrase`, or use a key without one.",
        )
    return secret


def kept_secret(name: str, *, deadline: float = DEADLINE) -> str | None:
    """Return what the keyring holds for this user name of our service, or None. Raises SystemRefused. Blocks."""
    return _ask({"task": "get", "name": name}, deadline)["secret"]


def _ask(request: dict[str, str], deadline: float) -> dict[str, str | None]:
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and text
            [sys.executable, "-c", _WORK],
            input=json.dumps({**request, "service": SERVICE}),
            capture_output=True,
            encoding="utf-8",
            timeout=deadline,
            check=True,
        )
        answer: dict[str, str | None] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        message = f"the keyring did not answer within {deadline:g} s; it may be locked"
        raise SystemRefused(message, hint=f"Unlock it and try again. {_WITHOUT}") from None
    except (OSError, subprocess.CalledProcessError, ValueError):
        raise SystemRefused("the keyring cannot be asked: its process failed", hint=_WITHOUT) from None
    if "error" in answer:
        raise SystemRefused(f"the keyring is not usable: {escaped(answer['error'] or '')}", hint=_WITHOUT)
    return answer
