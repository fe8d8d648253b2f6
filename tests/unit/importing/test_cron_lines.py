"""The jobs of a crontab, and disabled lines in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioconnect.importing import cron_lines

TABLE = (
    b"# m h dom mon dow command\n"
    b"MAILTO=''\n"
    b'  "KEY" = "/srv/keys/old key"  \n'
    b"\n"
    b"\t@reboot ssh -NR 1:a:1 u@jump -i $KEY  \r\n"
    b"5 4 * * * echo caf\xe9 100\\%\n"
    b"HOME=/srv\n"
    b"@reboot ssh -NR 2:b:2 u@jump"
)
HOMES = {"me": "/home/me", "root": "/root"}


def test_a_job_has_what_is_set_above_it() -> None:
    """Crontab(5): an assignment holds for the lines below it."""
    first, _, last = cron_lines.jobs(TABLE, {"HOME": "/home/me"})

    assert first.raw == b"\t@reboot ssh -NR 1:a:1 u@jump -i $KEY  \r"
    assert first.text == "@reboot ssh -NR 1:a:1 u@jump -i $KEY"
    assert first.environ == {"HOME": "/home/me", "MAILTO": "", "KEY": "/srv/keys/old key"}
    assert last.environ["HOME"] == "/srv"


@pytest.mark.parametrize(
    ("line", "account"),
    [
        (b"@reboot me ssh -NR 1:a:1 u@jump\n", "me"),
        (b"*/5 * * * 1-5\troot\tssh -NR 1:a:1 u@jump\n", "root"),
    ],
)
def test_a_system_crontab_names_the_account(line: bytes, account: str) -> None:
    (job,) = cron_lines.jobs(line, {"HOME": "/"}, home_of=HOMES.get)

    assert (job.environ["HOME"], job.environ["USER"]) == (HOMES[account], account)


def test_the_home_of_an_unknown_account_is_unknown() -> None:
    (job,) = cron_lines.jobs(b"@reboot nobody-here ssh -NR 1:a:1 u@jump\n", {}, home_of=HOMES.get)

    assert "HOME" not in job.environ


def test_disabling_puts_the_mark_in_front_and_nothing_else() -> None:
    line = b"\t@reboot ssh -NR 1:a:1 u@jump -i $KEY  \r"

    assert cron_lines.disable(TABLE, (line,)) == TABLE.replace(line, cron_lines.MARK + line)


def test_the_last_line_needs_no_end() -> None:
    last = b"@reboot ssh -NR 2:b:2 u@jump"

    assert cron_lines.disable(TABLE, (last,)).endswith(b"HOME=/srv\n" + cron_lines.MARK + last)


def test_what_is_disabled_is_no_job_and_is_counted() -> None:
    lines = [job.raw for job in cron_lines.jobs(TABLE, {})]
    table = cron_lines.disable(TABLE, lines)

    assert list(cron_lines.jobs(table, {})) == []
    assert cron_lines.count_disabled(table) == 3
    assert cron_lines.disable(table, lines) == table


@given(table=st.binary(), data=st.data())
def test_every_other_byte_stays(table: bytes, data: st.DataObject) -> None:
    """Taking the marks away gives the crontab as it was."""
    jobs = [job.raw for job in cron_lines.jobs(table, {}, home_of=HOMES.get)]
    chosen = data.draw(st.sets(st.sampled_from(jobs))) if jobs else set()

    changed = cron_lines.disable(table, chosen)

    assert changed.count(b"\n") == table.count(b"\n")
    restored = b"\n".join(
        line.removeprefix(cron_lines.MARK) if line.removeprefix(cron_lines.MARK) in chosen else line
        for line in changed.split(b"\n")
    )
    assert restored == table
    assert not chosen & {job.raw for job in cron_lines.jobs(changed, {}, home_of=HOMES.get)}
