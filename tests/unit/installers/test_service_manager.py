"""Which unit of systemd is an agent's: the installer's, or one that runs `ioconnect up`, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioconnect.installers import service_manager
from ioconnect.installers.service_manager import manager_of


@pytest.mark.parametrize(
    ("unit", "argv", "ours"),
    [
        ("ioconnect.service", "/opt/wrapper", True),
        ("tunnels.service", "/opt/ioconnect/bin/ioconnect --config /etc/t.toml up orders", True),
        ("tunnels.service", "/usr/bin/python3 -m ioconnect up", True),
        ("apache2.service", "/usr/sbin/apachectl start", False),
        ("backup.service", "/usr/bin/ioconnect status", False),
        ("up.service", "/usr/bin/start up", False),
    ],
)
def test_the_unit_of_a_process_counts_only_if_it_is_ours(
    monkeypatch: pytest.MonkeyPatch, unit: str, argv: str, *, ours: bool
) -> None:
    exec_start = f"{{ path={argv.split(maxsplit=1)[0]} ; argv[]={argv} ; ignore_errors=no ; }}"
    shown = {"MainPID": "4711", "ExecStart": exec_start}
    monkeypatch.setattr(service_manager, "unit_properties", lambda *_names: shown)
    cgroup = b"1:name=of \xff:/\n0::/system.slice/%s\n" % unit.encode()  # an account names its own as it likes
    monkeypatch.setattr(Path, "read_text", lambda _path, errors="strict": cgroup.decode("utf-8", errors))
    monkeypatch.setattr(service_manager.user_crontab, "read", lambda: b"")

    found = manager_of(4711)

    assert (found is not None) == ours
    if found is not None:
        assert found.stop_argv == ("systemctl", "stop", "--", unit)
