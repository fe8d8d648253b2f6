"""The unit: directives that a systemd version does not know are left out, and what cannot work is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ioconnect.errors import SystemRefused
from ioconnect.installers import systemd
from ioconnect.installers.service import Service

PLAIN = Service(
    program=("/opt/ioconnect/bin/ioconnect",),
    config=Path("/etc/ioconnect/config.toml"),
    home=Path("/root"),
    log=Path("/var/log/ioconnect/ioconnect.log"),
    credentials=(("ssh-key", Path("/etc/ioconnect/id_ed25519")),),
    systemd_version=252,
)
# systemd's NEWS: the version that brought each directive.
SINCE = {
    "RestartSteps": 254,
    "LoadCredential": 247,
    "SetCredential": 247,
    "ProtectProc": 247,
    "ProcSubset": 247,
    "ProtectClock": 245,
    "ProtectKernelLogs": 244,
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "SystemCallFilter": 239,
    "PrivateMounts": 239,
    "LockPersonality": 235,
    "StateDirectory": 235,
}


def lines(service: Service, *, user: bool = False) -> dict[str, str]:
    """Return the unit's assignments; of a repeated one the last."""
    text = systemd.unit(service, user=user)
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("version", [239, 242, 244, 245, 247, 250, 252, 254, 257])
def test_a_directive_is_there_from_the_version_on_that_knows_it(version: int) -> None:
    credentials = PLAIN.credentials if version >= 247 else ()
    unit = lines(replace(PLAIN, systemd_version=version, run_as="svc", credentials=credentials))

    assert {name for name in SINCE if name in unit} == {name for name, since in SINCE.items() if since <= version}


def test_an_unknown_version_counts_as_the_newest() -> None:
    assert set(SINCE) <= set(lines(replace(PLAIN, systemd_version=None)))


def test_a_systemd_older_than_our_python_is_refused() -> None:
    with pytest.raises(SystemRefused, match="version 219") as refused:
        systemd.unit(replace(PLAIN, systemd_version=219))

    assert "--kind cron" in refused.value.hint


@pytest.mark.parametrize(("version", "encrypted"), [(239, False), (246, False), (249, True)])
def test_an_identity_is_never_left_out_quietly(version: int, *, encrypted: bool) -> None:
    with pytest.raises(SystemRefused, match="handing an identity") as refused:
        systemd.unit(replace(PLAIN, systemd_version=version, encrypted=encrypted))

    assert "--run-as" in refused.value.hint


def test_an_encrypted_identity_comes_from_its_own_file() -> None:
    unit = lines(replace(PLAIN, encrypted=True))

    assert unit["LoadCredentialEncrypted"] == "ssh-key:/etc/ioconnect/id_ed25519.cred"
    assert "LoadCredential" not in unit


def test_each_tunnels_own_identity_is_handed_over() -> None:
    keys = (*PLAIN.credentials, ("ssh-key.orders", Path("/srv/50%key")))

    assert "LoadCredential=ssh-key.orders:/srv/50%%key\n" in systemd.unit(replace(PLAIN, credentials=keys))


@pytest.mark.parametrize("character", [*" \t\u00a0\"'\\:"])
@pytest.mark.parametrize("version", [247, 252, 257, 262, None])
def test_an_identity_that_systemd_may_read_otherwise_is_refused(character: str, version: int | None) -> None:
    """Up to 252 the path is what follows the colon; later versions split and unquote it."""
    keys = (*PLAIN.credentials, ("ssh-key.orders", Path(f"/srv/a{character}key")))

    with pytest.raises(SystemRefused, match="blank, a quotation mark") as refused:
        systemd.unit(replace(PLAIN, credentials=keys, systemd_version=version))

    assert "identity = …" in refused.value.hint


@pytest.mark.parametrize("user", [False, True])
def test_the_machine_is_the_databases(*, user: bool) -> None:
    unit = lines(PLAIN, user=user)

    assert (unit["MemoryMax"], unit["TasksMax"], unit["CPUWeight"], unit["OOMScoreAdjust"]) == (
        *("2G", "4096", "50", "500"),
    )


@pytest.mark.parametrize("character", ['"', "'", "\\"])
def test_a_program_that_systemd_would_not_start_is_refused(character: str) -> None:
    with pytest.raises(SystemRefused, match="quotation mark"):
        systemd.unit(replace(PLAIN, program=(f"/opt/a{character}b/ioconnect",)))


def test_it_never_waits_for_the_network() -> None:
    unit = systemd.unit(PLAIN)

    assert "network-online" not in unit
    assert "Requires=" not in unit
    assert lines(PLAIN)["After"] == "network.target nss-lookup.target"


def test_only_what_no_restart_can_heal_is_not_restarted() -> None:
    """A key, a pin or a configuration may come back: an agent that was started without stays down for good."""
    unit = lines(PLAIN)

    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == ("always", "0")
    assert unit["RestartPreventExitStatus"] == "64"


def test_a_given_account_replaces_the_made_up_one() -> None:
    unit = lines(replace(PLAIN, run_as="svc", sees_home=True))

    assert unit["User"] == "svc"
    assert "DynamicUser" not in unit
    assert unit["ProtectHome"] == "read-only"


def test_a_users_unit_asks_for_nothing_that_only_root_can_give() -> None:
    unit = lines(PLAIN, user=True)

    assert unit["WantedBy"] == "default.target"
    assert not {"User", "DynamicUser", "CapabilityBoundingSet", "PrivateUsers", "ProtectSystem", "After"} & set(unit)
    assert {"RestrictAddressFamilies", "LockPersonality", "WatchdogSec"} <= set(unit)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("/opt/io", "/opt/io"),
        ("/opt/a b", '"/opt/a b"'),
        ("100%", '"100%%"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("it's", '"it\'s"'),
        ("a;b", '"a;b"'),
        ("$HOME", "$$HOME"),
        ("", '""'),
    ],
)
def test_a_word_is_what_it_was(text: str, quoted: str) -> None:
    """systemd.syntax(7), systemd.service(5) "Command lines"."""
    assert systemd.quoted_argument(text) == quoted
