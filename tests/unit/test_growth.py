"""Parsers of text from elsewhere: twice the input takes twice the time; what exceeds a limit is refused."""

from __future__ import annotations

import contextlib
import gc
import time
from typing import TYPE_CHECKING, Any

import pytest

from ioconnect.agent.dial import proxy
from ioconnect.config import configuration, parsing, pasted, text_limits
from ioconnect.config.addresses import HostPort
from ioconnect.doctor.redact import redact
from ioconnect.errors import ConfigInvalid, Fault, UsageFault
from ioconnect.importing import cron_lines, unit_files
from ioconnect.installers import crontab
from ioconnect.ssh.checked_message import CheckedMessage
from ioconnect.ssh.messages import string
from ioconnect.ssh.transport import LoopTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST = 2.5  # times the time, for each doubling of the input
DOUBLINGS = 3  # so that a cache that is too small for the longer text is far from what a quadratic parser takes
TRIES = 3

HOST = HostPort("jump.example", 50683)
FORWARD = "-R 58115:localhost:3306 sshtunnel@jump.example"


def jobs(table: bytes) -> object:
    return list(cron_lines.jobs(table, {}, home_of=lambda _account: None))


def unit(text: str) -> object:
    return unit_files.read([text], unit="a.service", manager={}, home_of=lambda _account: None)


def disable(table: bytes) -> object:
    return cron_lines.disable(table, table.split(b"\n"))


def settings(values: dict[str, object]) -> object:
    return parsing.parse(values, source="config.toml")


def table_of(parse: Callable[[bytes], object]) -> Callable[[str], object]:
    return lambda text: parse(text.encode())


def between(begin: str, filler: str, end: str) -> Callable[[int], object]:
    return lambda n: begin + filler * n + end


def debug_message(body: bytes) -> object:
    """Have a transport that never ran read an SSH_MSG_DEBUG."""
    transport = LoopTransport.__new__(LoopTransport)
    transport.debug_texts = []
    return transport._parse_debug(CheckedMessage(body))


def without_proxy(text: str) -> object:
    return proxy.choose(HOST, "", {"https_proxy": "http://p:1", "no_proxy": text})


def unknown(count: int) -> dict[str, object]:
    return {"schema": 1, "agent": {f"keepalive_inter{number}": 1 for number in range(count)}}


REDACTED_WORDS = (
    *("pw", "pw is", "password:", 'token="', "--token", "-p", "proxy=", "identified", "identified by", "bearer"),
    *(
        "login",
        "login a",
        "PASSWORD",
        "requirepass",
        "Cookie",
        "Cookie:",
        "http://a:",
        "sqlplus",
        "curl -u",
        "redis-cli",
        "redis-cli -a",
        "AUTH",
        "pw={",
        "-----BEGIN A PRIVATE KEY-----",
    ),
)
# What is parsed, and a text of n repetitions below the limits, so long that the shorter takes some milliseconds.
CASES: dict[str, tuple[Callable[[Any], object], int, Callable[[int], object]]] = {
    "many R": (pasted.parse_all, 16_000, lambda n: f"ssh -{'R' * n} x"),
    "many R in lines": (pasted.mentions_tunnel, 200_000, lambda n: f"ssh -{'R' * n} x"),
    "words": (pasted.parse_all, 10_000, lambda n: f"ssh {'-R ' * n}x"),
    "a long word": (pasted.parse_all, 16_000, lambda n: f"ssh {FORWARD} '{'a' * n}'"),
    "blanks in an option": (pasted.parse_all, 16_000, lambda n: f"ssh {FORWARD} -o 'a{' ' * n}b'"),
    "lines": (pasted.parse_all, 1000, lambda n: f"ssh {FORWARD}\n" * n),
    "continued lines": (pasted.parse_all, 4000, lambda n: "ssh \\\n" * n),
    "crontab marks": (crontab.without_block, 40_000, lambda n: b"# BEGIN ioconnect\n" * n),
    "crontab jobs": (jobs, 4000, lambda n: b"* * * * * root x\n" * n),
    "crontab lines to disable": (disable, 5000, lambda n: b"".join(b"%d\n" % number for number in range(n))),
    "commands of a unit": (unit, 4000, lambda n: "ExecStart=ssh x\n" * n),
    "blank lines of a unit": (unit, 4000, lambda n: "\n" * n),
    "variables of a unit": (unit, 4000, lambda n: "Environment=A=1\n" * n),
    "continued lines of a unit": (unit, 4000, lambda n: "x\\\n" * n),
    "unknown keys": (settings, 20_000, unknown),
    "a text in SSH_MSG_DEBUG": (debug_message, 100_000, lambda n: b"\0" + string(b"\xff" * n) + string(b"")),
    "no_proxy": (without_proxy, 4000, lambda n: "a," * n),
    **{
        f"redact {text!r}": (redact, 6000, lambda n, text=text: text * n)
        for text in (
            *("\n", " ", "ab.", "http://", "password", "password ", "proxy", 'token="', "a:", "-", "-p", "eyJ"),
            *("-----BEGIN PRIVATE KEY-----", "-----BEGIN A ", "bearer ", "\\", "'", "@", "a:b@", "#\n", "AKIA"),
            *("cookie:", "identified ", "identified by '", "PASSWORD ", "login a ", "--password '", "-p'"),
            *("a/", "sqlplus ", "sqlplus a/", "-u ", '-u "a:', "-u a:", "redis-cli ", "redis-cli -a '"),
            *("AUTH '", "pw={ "),
        )
    },
    # A beginning that is taken, and an end that is refused, after many of what both sides of a gap may take.
    **{
        f"{name}: {begin!r} and {filler!r}": (
            parse,
            4000,
            between(begin, filler, end),
        )
        for name, parse, end, begins in (
            ("redact", redact, ";", REDACTED_WORDS),
            ("pasted", pasted.parse_all, "'", (f"ssh {FORWARD} -o", "ssh -R", "Tunnel endpoint", "ExecStart=ssh")),
            ("unit", unit, ";", ("[Service]\nExecStart", "[Service]\nEnvironment=A=", "x\\")),
            ("crontab", table_of(jobs), ";", ("A", "@daily root", "* * * *", '"A"')),
            ("crontab block", table_of(crontab.without_block), ";", ("# BEGIN ioconnect", "")),
            ("no_proxy", without_proxy, ";", ("a", "[", "a:")),
        )
        for begin in begins
        for filler in ("\n", " ", "\t ", "a", "\\", "'")
    },
}  # fmt: skip


def seconds(parse: Callable[[Any], object], text: object) -> float:
    """Return the time on the processor, of the fastest of some runs, without that of the garbage collector."""
    measured = []
    for _ in range(TRIES):
        gc.disable()
        try:
            begin = time.thread_time()
            with contextlib.suppress(Fault):
                parse(text)
            measured.append(time.thread_time() - begin)
        finally:
            gc.enable()
    return min(measured)


@pytest.mark.parametrize("case", CASES)
def test_twice_the_input_takes_twice_the_time(case: str) -> None:
    parse, count, text = CASES[case]
    shorter, longer = text(2 * count >> DOUBLINGS), text(2 * count)
    ratios = []
    for _ in range(TRIES):  # another process may have taken the caches
        ratios.append(seconds(parse, longer) / max(seconds(parse, shorter), 1e-4))
        if ratios[-1] <= MOST**DOUBLINGS:
            return

    assert min(ratios) <= MOST**DOUBLINGS, ratios


@pytest.mark.parametrize(
    "text",
    [
        "ssh x " * (text_limits.MAX_TEXT // 6 + 1),
        "\n" * text_limits.MAX_LINES + f"ssh {FORWARD}",
        f"ssh {FORWARD} {'a' * text_limits.MAX_LINE}",
        "\n".join(f"ssh -R {port}:db:1 h" for port in range(1, text_limits.MAX_TUNNELS + 2)),
    ],
    ids=["characters", "lines", "a line's length", "tunnels"],
)
def test_pasted_text_that_exceeds_a_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageFault, match=r"than \d+"):
        pasted.parse_all(text)


def test_a_long_line_without_ssh_is_passed_over() -> None:
    found = pasted.parse_all(f"{'a' * text_limits.MAX_LINE}b\nssh {FORWARD}")

    assert [tunnel.endpoint.port for tunnel in found] == [58115]


def test_crontabs_and_units_that_exceed_a_limit_are_refused() -> None:
    variables = b"".join(b"A%d=1\n" % number for number in range(text_limits.MAX_VARIABLES + 1))
    for parse, text in (
        (jobs, b"\n" * text_limits.MAX_LINES),
        (jobs, variables),
        (unit, "\n" * text_limits.MAX_LINES),
        (unit, "ExecStart=ssh \\\n" * 4000),
    ):
        with pytest.raises(UsageFault, match=r"than \d+"):
            parse(text)  # type: ignore[operator]


@pytest.mark.parametrize("line", [f"{'a.' * 200}a = 1", f"x = {{{'a.' * 200}a = 1}}", f'x = "{"a" * (1 << 14)}"'])
def test_a_line_of_the_configuration_has_limits(tmp_path: Path, line: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"schema = 1\n# {'.' * 200}\n{line}\n")

    with pytest.raises(ConfigInvalid, match="line 3 has more than"):
        configuration.load(file)


def test_every_unknown_key_is_a_fault_and_the_first_ones_have_the_nearest_name() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        settings(unknown(100))

    assert len(caught.value.faults) == 100
    assert "did you mean keepalive_interval" in caught.value.faults[0].message
    assert caught.value.faults[-1].message == "unknown key"


@pytest.mark.parametrize("url", ["http://me:p\udce9@proxy:3128", "http://pr\udcffoxy:3128", "\udcff"])
def test_a_proxy_variable_that_is_not_utf_8_is_refused_as_such(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="https_proxy is not usable: it is not UTF-8"):
        proxy.choose(HOST, "", {"https_proxy": url})
