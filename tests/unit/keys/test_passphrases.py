"""The passphrase in the keyring: real keyring calls in a child process, with backends of the test."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.rigs.source_tree import SOURCES

from ioconnect.errors import ExitCode, Fault, IdentityUnreadable, SystemRefused
from ioconnect.keys import identity, passphrases

KEY = Path("/keys/id_ed25519")
BACKENDS = """
import json, os, pathlib, time
from keyring.backend import KeyringBackend

class Kept(KeyringBackend):
    priority = 5
    file = pathlib.Path(__file__).with_name("kept.json")
    def _all(self):
        return json.loads(self.file.read_text()) if self.file.exists() else {}
    def get_password(self, service, username):
        return self._all().get(service + " " + username)
    def set_password(self, service, username, password):
        self.file.write_text(json.dumps({**self._all(), service + " " + username: password}))
    def delete_password(self, service, username):
        kept = self._all()
        del kept[service + " " + username]
        self.file.write_text(json.dumps(kept))

class Forgetful(Kept):
    def get_password(self, service, username):
        return None

class Locked(Kept):
    def set_password(self, service, username, password):
        raise RuntimeError("the \\x1b[2J collection is locked")
    get_password = delete_password = set_password

class Silent(Kept):
    def set_password(self, service, username, password):
        time.sleep(60)
    get_password = delete_password = set_password

class Crashing(Kept):
    def set_password(self, service, username, password):
        os._exit(3)
    get_password = delete_password = set_password
"""


@pytest.fixture
def backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return what chooses a backend: the child process reads these variables."""
    (tmp_path / "rings.py").write_text(textwrap.dedent(BACKENDS))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "rings.Kept")
    return monkeypatch


@pytest.mark.parametrize("secret", ["secret", "pass phrase ü\n'\"", "\udcff"])
def test_a_passphrase_is_kept_by_the_keys_path(backends: pytest.MonkeyPatch, tmp_path: Path, secret: str) -> None:
    assert backends
    passphrases.store_passphrase(KEY, secret)

    assert passphrases.passphrase_from_keyring(KEY) == secret
    assert passphrases.keyring_backend() == "rings.Kept"
    assert "probe" not in (tmp_path / "kept.json").read_text()
    with pytest.raises(IdentityUnreadable, match="the keyring has none for it") as caught:
        passphrases.passphrase_from_keyring(Path("/keys/other"))
    assert "ioconnect keygen --passphrase" in caught.value.hint


def test_keyring_is_imported_by_the_child_alone_and_for_a_passphrase_alone(tmp_path: Path) -> None:
    """A key without a passphrase opens without keyring, its backends, or a program that has them."""
    importing = [str(each) for source in SOURCES.values() for each in source.imports if each.reaches("keyring")]
    key = tmp_path / "id"
    identity.generate(key)
    code = (
        "import pathlib, sys\n"
        "started = []\n"
        "sys.addaudithook(lambda event, _: started.append(event) if event == 'subprocess.Popen' else None)\n"
        "from ioconnect.keys import identity, passphrases\n"
        "key = pathlib.Path(sys.argv[1])\n"
        "identity.load(key, passphrase=lambda: passphrases.passphrase_from_keyring(key))\n"
        "print(started, 'keyring' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(key)], capture_output=True, text=True, check=True)

    assert importing == []
    assert done.stdout == "[] False\n"


def test_nothing_is_imported_from_the_folder_it_is_started_in(backends: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("keyring", "json", "secrets"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / f"{name}.py").write_text("raise SystemExit('imported the wrong one')")
    backends.chdir(tmp_path / "elsewhere")

    assert passphrases.keyring_backend() == "rings.Kept"


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("keyring.backends.fail.Keyring", "there is none on this machine"),
        ("keyring.backends.null.Keyring", "there is none on this machine"),
        ("rings.Forgetful", "does not keep"),
        ("rings.Locked", "RuntimeError: the \\x1b[2J collection is locked"),
        ("rings.Missing", "Missing"),
        ("no.such.module", "no"),
        ("rings.Crashing", "its process failed"),
        ("rings.Silent", "did not answer within 2 s"),
    ],
)
def test_a_keyring_that_is_not_usable_is_refused(backends: pytest.MonkeyPatch, backend: str, said: str) -> None:
    backends.setenv("PYTHON_KEYRING_BACKEND", backend)
    timeout = 2 if backend == "rings.Silent" else passphrases.TIMEOUT

    for act in (
        lambda: passphrases.keyring_backend(timeout=timeout),
        lambda: passphrases.store_passphrase(KEY, "SECRET", timeout=timeout),
    ):
        with pytest.raises(SystemRefused) as caught:
            act()
        assert said in caught.value.message
        assert "SECRET" not in caught.value.message
        assert caught.value.hint
        assert caught.value.exit_code is ExitCode.OS_ERROR


def test_a_keyring_that_is_locked_makes_the_key_unreadable(backends: pytest.MonkeyPatch) -> None:
    backends.setenv("PYTHON_KEYRING_BACKEND", "rings.Locked")

    with pytest.raises(IdentityUnreadable, match="needs a passphrase, and the keyring is not usable") as caught:
        passphrases.passphrase_from_keyring(KEY)

    assert caught.value.exit_code is ExitCode.NO_INPUT


def test_a_protected_key_opens_with_the_passphrase_in_the_keyring(
    backends: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "id"
    identity.generate(path, passphrase="secret")
    passphrases.store_passphrase(path, "secret")

    assert identity.load(path, passphrase=lambda: passphrases.passphrase_from_keyring(path))

    backends.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    with pytest.raises(Fault):
        identity.load(path, passphrase=lambda: passphrases.passphrase_from_keyring(path))
