"""The block in a crontab: every other byte stays, and no line is one that cron would misread."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.errors import ExitCode, SystemRefused
from ioconnect.installers import crontab
from ioconnect.installers.service import Service

PLAIN = Service(
    program=("/opt/ioconnect/bin/ioconnect",),
    config=Path("/home/alice/.config/ioconnect/config.toml"),
    home=Path("/home/alice"),
    log=Path("/home/alice/.local/state/ioconnect/log/ioconnect.log"),
)
BLOCK = crontab.block(PLAIN)
OTHER = crontab.block(replace(PLAIN, program=("/elsewhere/ioconnect",)))

tables = st.binary().map(lambda junk: junk.replace(b"ioconnect", b"")).map(lambda junk: junk + b"\n" if junk else b"")


def command_lines(service: Service) -> list[str]:
    return [line for line in crontab.block(service).decode().splitlines() if not line.startswith("#")]


def as_cron_runs_it(line: str) -> list[str]:
    """Return the words that sh sees, as cron hands them over (crontab(5): an unescaped % ends the command)."""
    command = line.split(None, 1 if line.startswith("@") else 5)[-1]
    assert "%" not in command.replace(r"\%", "")
    return shlex.split(command.replace(r"\%", "%"))


@given(tables)
def test_install_install_uninstall_leaves_every_byte(table: bytes) -> None:
    once = crontab.with_block(table, BLOCK)

    assert crontab.with_block(once, BLOCK) == once
    assert crontab.block_in(once) == BLOCK
    assert crontab.without_block(once) == table


@given(tables, tables)
def test_a_block_is_replaced_where_it_stands(before: bytes, after: bytes) -> None:
    assert crontab.with_block(before + OTHER + after, BLOCK) == before + BLOCK + after
    assert crontab.without_block(before + OTHER + after) == before + after


def test_a_last_line_without_its_end_does_not_swallow_the_block() -> None:
    assert crontab.with_block(b"@daily true", BLOCK) == b"@daily true\n" + BLOCK


@pytest.mark.parametrize(
    "table",
    [
        b"# BEGIN ioconnect\n@reboot x\n",
        b"@reboot x\n# END ioconnect\n",
        b"# END ioconnect\n# BEGIN ioconnect\n",
        BLOCK + BLOCK,
        b"# BEGIN ioconnect\n" + BLOCK,
    ],
)
@pytest.mark.parametrize("edit", [crontab.without_block, lambda table: crontab.with_block(table, BLOCK)])
def test_marks_that_are_no_pair_are_nobodys_guess(table: bytes, edit: object) -> None:
    with pytest.raises(SystemRefused, match="no pair"):
        edit(table)  # type: ignore[operator]


def test_it_starts_at_boot_and_is_watched_over() -> None:
    boot, repeat = command_lines(PLAIN)

    assert boot.startswith("@reboot /usr/bin/env -i ")
    assert repeat.startswith("*/5 * * * * /usr/bin/env -i ")
    assert as_cron_runs_it(boot) == as_cron_runs_it(repeat)


@pytest.mark.parametrize("folder", ["/opt/io", "/opt/a b", "/opt/50%", "/opt/R&D's", '/opt/"q"$HOME`x`', "/opt/ü"])
def test_cron_and_the_shell_hand_over_the_same_words(folder: str) -> None:
    service = replace(PLAIN, program=(f"{folder}/ioconnect",), environment=(("IOCONNECT_HOME", folder),))
    words = as_cron_runs_it(command_lines(service)[0])

    assert f"IOCONNECT_HOME={folder}" in words
    at = words.index(f"{folder}/ioconnect")
    assert words[at:] == [
        f"{folder}/ioconnect",
        "--config",
        str(PLAIN.config),
        "up",
        "--daemon",
        ">/dev/null",
        "2>&1",
    ]


def test_what_cron_cannot_hold_is_refused() -> None:
    with pytest.raises(SystemRefused, match="backslash"):
        crontab.block(replace(PLAIN, config=Path("/a\\b")))
    with pytest.raises(SystemRefused, match="bytes long"):
        crontab.block(replace(PLAIN, config=Path("/" + "a" * 1000)))


def test_started_now_it_need_not_be_connected_yet() -> None:
    command = crontab.start(replace(PLAIN, run_as="alice"))

    assert (command.account, command.argv[0]) == ("alice", "/usr/bin/env")
    assert command.argv[-2:] == ("up", "--daemon")
    assert command.accepted_codes == (ExitCode.TEMP_FAIL,)
