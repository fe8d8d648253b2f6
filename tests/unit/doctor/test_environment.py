"""Who may change what the agent trusts, as `doctor` tells it: all but its user, root and the agent's account."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.rigs import ordinary_user
from tests.rigs.ordinary_user import NOBODY

from ioconnect.config.configuration import Config
from ioconnect.config.paths import under
from ioconnect.doctor import environment
from ioconnect.errors import IdentityUnreadable
from ioconnect.keys import identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTHER = NOBODY - 1  # a uid without an account
PERMISSIONS = """
from pathlib import Path
from ioconnect.config.configuration import Config
from ioconnect.config.paths import discover
from ioconnect.doctor import environment
from ioconnect.errors import IdentityUnreadable
from ioconnect.keys import identity
paths = discover({{**__import__("os").environ, "IOCONNECT_HOME": "{home}"}})
print(environment.permissions(Config(), paths, {account}).detail)
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def home() -> Iterator[Path]:
    """A user's folder in another one of that user's, with a configuration."""
    with ordinary_user.folder() as around:
        home = around / "home"
        home.mkdir(mode=0o755)
        (home / "config.toml").touch()
        for path in (home, home / "config.toml"):
            os.chown(path, NOBODY, NOBODY)
        yield home


def told(home: Path, account: int | None = None, **environ: str) -> str:
    code = PERMISSIONS.format(home=home, account=account)
    return ordinary_user.run("import encodings.ascii", code, environ=environ)


def test_a_users_own_files_are_fine(home: Path) -> None:
    assert told(home) == "only their owner may read or write the identity\n"


def test_a_folder_further_up(home: Path) -> None:
    home.parent.chmod(0o777)

    assert told(home).startswith(f"anybody may write {home.parent}: ")
    assert told(home).count("\n") == 1, "once, and not for each file"


def test_another_owner_but_not_the_account_of_the_agent(home: Path) -> None:
    config = home / "config.toml"
    os.chown(config, OTHER, OTHER)

    assert f"{config} belongs to uid {OTHER}: " in told(home)
    assert "belongs to" not in told(home, OTHER)


def test_a_sticky_folder_of_the_users_keeps_others_from_replacing_files(home: Path) -> None:
    home.chmod(0o1777)
    identity = home / "id_ed25519"
    identity.touch(mode=0o600)
    os.chown(identity, NOBODY, NOBODY)
    (home / "known_hosts").touch()
    os.chown(home / "known_hosts", OTHER, OTHER)
    assert f"anybody may write {home}: " in told(home)  # who makes config.d
    (home / "config.d").mkdir()
    os.chown(home / "config.d", NOBODY, NOBODY)

    assert told(home).startswith(f"{home / 'known_hosts'} belongs to uid {OTHER}: ")


def test_what_systemd_handed_over_is_not_judged_and_all_else_is(home: Path) -> None:
    """Its mode says nothing: a list of systemd's gives it to the service's account."""
    copy = home / "credentials" / "ssh-key"
    copy.parent.mkdir(mode=0o755)
    copy.write_text("a key\n" * 50)
    copy.chmod(0o444)
    (home / "known_hosts").touch()
    (home / "known_hosts").chmod(0o666)
    (home / "config.toml").chmod(0o666)

    shown = told(home, CREDENTIALS_DIRECTORY=str(copy.parent))

    assert [line.partition(":")[0] for line in shown.splitlines()] == [
        f"anybody may write {home / name}" for name in ("config.toml", "known_hosts")
    ]


def test_a_user_is_told_what_a_user_can_do(home: Path) -> None:
    """Not to give files to root, whose configuration that user could not change then."""
    os.chown(home / "config.toml", OTHER, OTHER)

    assert f": sudo chown nobody {home / 'config.toml'}\n" in told(home)

    home.parent.chmod(0o777)

    assert told(home).endswith(": move it into folders that only you and root may change\n")


def test_no_command_is_told_for_a_secret_of_kubernetes(home: Path) -> None:
    """It is in a read-only mount."""
    (home / "id_ed25519").touch()
    (home / "id_ed25519").chmod(0o644)
    os.chown(home / "id_ed25519", 0, 0)
    code = PERMISSIONS.format(home=home, account=None)

    for is_secret, told in (
        (False, f"chmod 600 {home / 'id_ed25519'}"),
        (True, "it is used, as a Secret of Kubernetes"),
    ):
        mounted = code.replace("paths =", f"environment.may_be_secret = lambda path: {is_secret}\npaths =")
        shown = ordinary_user.run("import encodings.ascii", mounted)

        assert f"others may read {home / 'id_ed25519'}: {told}" in shown
        assert ("chmod" in shown) is not is_secret


def test_root_gets_no_command_for_a_path_that_another_account_leads(home: Path) -> None:
    """It was a link to /etc/passwd by then, and the command `chmod 600` of it."""
    paths, key = under(home), home / "id_ed25519"
    key.symlink_to("/etc/passwd")
    os.chown(key, NOBODY, NOBODY, follow_symlinks=False)
    assert "chmod" not in environment.permissions(Config(), paths, None).detail
    assert "chmod" not in environment.permissions(Config(), paths, NOBODY).detail

    key.unlink()
    identity.generate(key)
    key.chmod(0o644)
    os.chown(key, NOBODY, NOBODY)
    shown = environment.permissions(Config(), paths, NOBODY).detail

    assert (
        f"others may read {key}: its owner is to close it (mode 0600), and not root, as {home.parent} belongs"
        in shown
    )
    assert "chmod" not in shown
    with pytest.raises(IdentityUnreadable) as caught:
        identity.load(key)
    assert "chmod" not in caught.value.hint


def test_root_gets_one_for_its_own(tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    key.touch(mode=0o644)
    key.chmod(0o644)

    assert (
        f"others may read {key}: chmod 600 {key}" in environment.permissions(Config(), under(tmp_path), None).detail
    )
