"""The installers' files, compared with reviewed ones: for plain, spaced, % and & paths."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ioconnect.installers import crontab, launchd, systemd
from ioconnect.installers.service import Kind, Service

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
FOLDERS = {
    "plain": "/opt/ioconnect",
    "spaced": "/opt/integrate io",
    "percent": "/opt/100%n",
    "ampersand": "/opt/R&D $HOME",
}


def service(folder: str, *, version: int | None = 252) -> Service:
    return Service(
        program=(f"{folder}/bin/ioconnect",),
        config=Path(f"{folder}/etc/config.toml"),
        home=Path("/home/alice"),
        log=Path(f"{folder}/log/ioconnect.log"),
        environment=(("IOCONNECT_HOME", folder),),
        credentials=(("ssh-key", Path(f"{folder.replace(' ', '-')}/etc/id_ed25519")),),
        systemd_version=version,
    )


WRITTEN: dict[str, Callable[[Service], bytes]] = {
    "service": lambda service: systemd.unit(service).encode(),
    "user.service": lambda service: systemd.unit(service, user=True).encode(),
    "crontab": crontab.block,
    "daemon.plist": lambda service: launchd.plist(service, Kind.LAUNCHD_DAEMON),
}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("name", FOLDERS)
def test_it_is_as_it_was_when_somebody_read_it(name: str, form: str) -> None:
    written = WRITTEN[form](service(FOLDERS[name]))

    assert written.decode() == (GOLDEN / f"{name}.{form}").read_text()


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS.keys())
def test_a_property_list_says_again_what_was_meant(folder: str) -> None:
    read = plistlib.loads(launchd.plist(service(folder), Kind.LAUNCHD_AGENT))

    assert read["ProgramArguments"][:3] == [f"{folder}/bin/ioconnect", "--config", f"{folder}/etc/config.toml"]
    assert read["EnvironmentVariables"] == {"IOCONNECT_HOME": folder}
