"""Which identity a service's tunnel signs in with, and what is said of one that came after the service's start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ioconnect.config.configuration import AgentSettings, HostPort, Tunnel
from ioconnect.config.paths import under
from ioconnect.errors import IdentityMissing, IdentityUnreadable
from ioconnect.keys import credentials, identity

if TYPE_CHECKING:
    from pathlib import Path

RESTART = "sudo systemctl restart ioconnect"


@pytest.fixture
def tunnel(tmp_path: Path) -> Tunnel:
    """A tunnel with a key of its own, which is not there."""
    return Tunnel("stock", HostPort("jump", 1), HostPort("db", 1), identity=tmp_path / "stock")


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which systemd has handed another tunnel's key over."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    identity.generate(folder / "ssh-key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def load(tunnel: Tunnel, tmp_path: Path) -> bytes:
    return credentials.load_identity(tunnel, AgentSettings(), under(tmp_path))


@pytest.mark.usefixtures("copies")
def test_a_service_says_that_a_key_which_comes_back_takes_a_restart(tunnel: Tunnel, tmp_path: Path) -> None:
    """While it is missing, and once it is there and may not be read by the service's account."""
    assert tunnel.identity is not None
    with pytest.raises(IdentityMissing) as missing:
        load(tunnel, tmp_path)
    identity.generate(tunnel.identity)
    tunnel.identity.chmod(0o640)
    with pytest.raises(IdentityUnreadable) as unreadable:
        load(tunnel, tmp_path)
    tunnel.identity.chmod(0o600)

    assert RESTART in missing.value.hint
    assert "ioconnect keygen" in missing.value.hint
    assert RESTART in unreadable.value.hint
    assert "chmod 600" in unreadable.value.hint
    assert load(tunnel, tmp_path)


def test_elsewhere_nobody_speaks_of_systemd(tunnel: Tunnel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(IdentityMissing) as missing:
        load(tunnel, tmp_path)

    assert "systemctl" not in missing.value.hint


def test_only_the_default_identity_is_taken_back_from_fs_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tunnel: Tunnel
) -> None:
    """The key that `keygen` made on a volume of a pod; nothing that a configuration names."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    default, paths = replace(tunnel, identity=None), under(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    for key in (paths.identity, elsewhere):
        identity.generate(key)
        key.chmod(0o660)
        key.parent.chmod(0o2770)

    assert credentials.load_identity(default, AgentSettings(), paths)
    assert paths.identity.stat().st_mode & 0o7777 == 0o600
    with pytest.raises(IdentityUnreadable, match="others can read"):
        credentials.load_identity(default, AgentSettings(identity=elsewhere), paths)
    assert elsewhere.stat().st_mode & 0o7777 == 0o660
