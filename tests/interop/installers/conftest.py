"""A booted systemd with a registered tunnel, once for each file, and the service on it, once for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rigs import processes
from tests.rigs.site import CONFIG, Machine, booted_site

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    processes.need_library("libnss_systemd.so.2", package="libnss-systemd")  # the name of the unit's dynamic user
    with booted_site() as site:
        yield Machine(site)


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The same with the service installed and connected; as it was afterwards, whatever the test did."""
    before = machine.box.path(CONFIG).read_bytes()
    machine.install()
    try:
        machine.root.wait_connected()
        yield machine
    finally:
        machine.box.path(CONFIG).write_bytes(before)
        machine.root.ioconnect("uninstall-service", "--kind", "systemd")
