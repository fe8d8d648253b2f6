"""docs/security.md and SECURITY.md are true: tests that they name exist, algorithms and figures are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ioconnect import __version__
from ioconnect.agent.process import control_server
from ioconnect.agent.session import connection_log, pins_reader
from ioconnect.installers import systemd
from ioconnect.installers.service import Service
from ioconnect.ssh import algorithms, checked_message, packetizer, rekey_allowance, transport
from ioconnect.ssh.diffie_hellman import GroupExchange
from ioconnect.status import log_reader

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
POLICY = (ROOT / "SECURITY.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py):(test_\w+)`")


def section(title: str) -> str:
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables' rows, without heads."""
    found = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found if not row.startswith("| what |")]


def test_every_row_names_a_test_that_exists() -> None:
    claims = rows(section("Who can do what"))

    assert len(claims) > 30
    for what, shown in claims:
        names = NAMED.findall(shown)
        assert names, what
        for path, name in names:
            found = re.search(rf"^((?:@.*\n|[ )\]].*\n)*)def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
            assert found, f"{path}:{name}"
            assert not re.search(r"mark\.(skip|xfail)\b", found[1]), f"{path}:{name} is not run"


def test_every_row_says_what_its_heading_does() -> None:
    """Heading and row are a sentence, also of a row that is read alone."""
    verbs = ("can ", "cannot ", "cannot, ", "has ", "has, ", "is ", "sees ", "leaves ", "gets ")

    assert [what for what, _ in rows(section("Who can do what")) if not what.startswith(verbs)] == []


@pytest.mark.parametrize(
    ("row", "offered"),
    [
        ("key exchange", algorithms.KEX),
        ("host key", algorithms.HOST_KEYS),
        ("cipher", algorithms.CIPHERS),
        ("MAC, for ciphers without authentication of their own", algorithms.MACS),
    ],
)
def test_the_algorithms_are_those_that_are_offered(row: str, offered: tuple[str, ...]) -> None:
    """In this order."""
    (listed,) = [cells[1] for cells in rows(section("Algorithms")) if cells[0] == row]

    assert re.findall(r"`([^`]+)`", listed) == list(offered)


def test_the_figures_of_the_key_exchange_are_the_codes() -> None:
    text = " ".join(section("Algorithms").split())

    assert f"after {packetizer.REKEY_BYTES >> 30} GiB in one direction" in text
    assert f"has {packetizer.MAX_KEY_EXCHANGE >> 10} KiB at most" in text
    assert f"{packetizer.MESSAGES_BEFORE_KEXINIT} messages come before the first" in text
    assert f"and {packetizer.MESSAGES_BEFORE_SIGN_IN} in all" in text
    assert f"a number of more than {checked_message.MAX_MPINT - 1 << 3} bits" in text
    assert f"of a text (DEBUG, DISCONNECT) {transport.MAX_TEXT} characters are kept" in text
    share, saved = rekey_allowance.SHARE, rekey_allowance.SAVED
    assert f"may take {share:.0%} of a CPU, {saved:g} s of it at once".replace("%", " %") in text
    assert (
        f"every {pins_reader.RETRY_INTERVAL:g} s, and ends the session after {pins_reader.PATIENCE:g} s"
        in section("Who can do what")
    )
    assert f"one in {rekey_allowance.SECONDS:g} s is answered" in text
    assert f"answered later, {rekey_allowance.SECONDS:g} s at most" in text
    assert f"has {GroupExchange.min_bits} to {GroupExchange.max_bits} bits" in text


def test_the_figures_of_the_service_and_its_socket_are_the_codes() -> None:
    etc = Path("/etc/ioconnect")
    unit = systemd.unit(Service(("/opt/ioconnect",), config=etc / "config.toml", home=etc, log=etc / "log"))
    text = section("Who can do what")

    assert "has 2 GiB of memory, 4096 threads and, while others want the CPU, half of an ordinary share of it" in text
    assert {"MemoryMax=2G", "TasksMax=4096", "CPUWeight=50"} <= set(unit.splitlines())  # the default weight is 100
    assert f"of its {control_server.MAX_CLIENTS} places others have {control_server.MAX_OTHERS} at most" in text
    assert f"a request has {control_server.REQUEST_TIMEOUT:g} s" in text
    assert control_server.PATIENCE == 0.5
    assert "makes room after half a second" in text


def test_the_figures_of_the_log_are_the_codes() -> None:
    text = " ".join(section("What is on record").split())

    assert f"at most {connection_log.LINES} lines in {connection_log.SECONDS:g} s for each tunnel" in text
    assert f"A file has {log_reader.MAX_FILE_SIZE // 1_000_000} MB, and five older ones are kept" in text
    assert log_reader.BACKUP_COUNT == 5


def test_the_policy_supports_this_version_and_invents_no_address() -> None:
    assert f"| {'.'.join(__version__.split('.')[:2])} (the latest release) | yes |" in POLICY
    assert not re.search(r"@|https?:|mailto:", POLICY)
