"""Write the units that `install-service` makes for a version of systemd: write_units.py VERSION FOLDER."""
# ruff: noqa: INP001  a script beside the shell scripts, not a package

from __future__ import annotations

import sys
from pathlib import Path

from ioconnect.installers import systemd
from ioconnect.installers.service import Service

KEY = (("ssh-key", Path("/etc/ioconnect/id_ed25519")),)


def main(version: int, folder: Path) -> None:
    """Write FOLDER/KIND/ioconnect.service for each kind."""
    for kind, run_as, credentials in (("system", None, KEY), ("run-as", "daemon", ()), ("user", None, ())):
        service = Service(
            program=("/bin/true",),  # systemd-analyze wants it to be there
            config=Path("/etc/ioconnect/config.toml"),
            home=Path("/root"),
            log=Path("/var/log/ioconnect/ioconnect.log"),
            credentials=credentials,
            run_as=run_as,
            systemd_version=version,
        )
        (folder / kind).mkdir(parents=True)
        (folder / kind / "ioconnect.service").write_text(systemd.unit(service, user=kind == "user"))


main(int(sys.argv[1]), Path(sys.argv[2]))
