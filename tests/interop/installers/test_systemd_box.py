"""What the tests with a booted systemd rest upon: two of them at once share nothing."""

from __future__ import annotations

import contextlib

from tests.rigs import processes
from tests.rigs.systemd_box import SystemdBox

UNIT = "same.service"


def members(box: SystemdBox) -> list[int]:
    """Return the pids in the control group of the unit, as the box sees them: 0 is a process of somebody else."""
    group = box.show(UNIT, "ControlGroup")
    return [int(pid) for pid in box.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs").split()]


def test_a_unit_has_a_control_group_of_its_own_beside_one_of_the_same_name_in_another_box() -> None:
    """systemd reads a foreign process as 0 (EIO), and removes the group under a service that the other one starts."""
    with contextlib.ExitStack() as ends:
        boxes = [SystemdBox(), SystemdBox()]
        for box in boxes:
            ends.callback(box.close)
            box.boot()
            box.run("systemd-run", "--unit", UNIT, "sleep", "infinity")
        for box in boxes:
            assert members(box) == [int(box.show(UNIT, "MainPID"))]

        first, second = boxes
        first.run("systemctl", "stop", UNIT)

        assert members(second) == [int(second.show(UNIT, "MainPID"))]
        assert second.runs(members(second)[0])
        assert "Failed to" not in first.journal(UNIT)


def test_a_box_that_is_off_leaves_no_control_group() -> None:
    box = SystemdBox()
    name = box.folder.name
    with contextlib.closing(box):
        box.boot()
        assert name in groups()

    assert name not in groups()


def groups() -> str:
    """Return the control groups of this machine's root."""
    script = "mount -t cgroup2 cgroup2 /mnt && ls /mnt"
    return processes.checked(["unshare", "--mount", "sh", "-c", script])
