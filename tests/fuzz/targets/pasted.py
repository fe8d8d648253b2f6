"""Text that people paste and import: ssh lines, crontabs, unit files, addresses."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.target import Target

from ioconnect.config import addresses, pasted
from ioconnect.errors import Fault, UsageFault
from ioconnect.importing import cron_lines, find, unit_files
from ioconnect.importing.search_paths import SearchPaths
from ioconnect.installers import crontab

ENVIRON = {"HOME": "/home/ann", "USER": "ann"}
SEARCH = SearchPaths(home=Path("/home/ann"), user_units=Path("/nowhere"))
SSH_LINE = b"ssh -NR 58115:localhost:3306 sshtunnel@virginia-tunnel.flydata.app -i ~/.ssh/id_ed25519 -p 50683"
AUTOSSH = (
    b"@reboot AUTOSSH_GATETIME=0 autossh -M 0 -f -N -o 'ServerAliveInterval=30' -o ServerAliveCountMax=3 "
    b"-o \"ExitOnForwardFailure yes\" -R '[::1]:58115:db.internal:5432' -l sshtunnel jump.example.com >/dev/null 2>&1"
)
UNIT = (
    b"[Unit]\nAfter=network.target\n[Service]\nUser=ann\nEnvironment=\"AUTOSSH_PORT=0\" 'A=b c'\n"
    b"ExecStart=/usr/bin/autossh -N -R 58115:localhost:3306 \\\n    -i %h/.ssh/id_%u sshtunnel@jump -p 50683\n"
)
TABLE = b"SHELL=/bin/sh\n\"A B\" = 'c d'\n# note\n*/5 * * * * ann " + SSH_LINE + b"\n" + AUTOSSH + b"\n"
WORDS = (
    *(
        b"ssh ",
        b"autossh ",
        b"-R ",
        b"-NR",
        b"-o ",
        b"-p ",
        b"-i ",
        b"-l ",
        b"-J ",
        b"-M 0 ",
        b"-F ",
        b"--",
        b"sh -c ",
    ),
    *(
        b"RemoteForward=",
        b"ServerAliveInterval=",
        b"58115:localhost:3306",
        b"@host",
        b"[::1]",
        b":22",
        b"$HOME",
        b"%h",
    ),
    *(
        b"ExecStart=",
        b"Environment=",
        b"User=",
        b"[Service]\n",
        b"\\\n",
        b"@reboot ",
        b"* * * * * ",
        b"&& ",
        b"| ",
        b"$(",
    ),
    *(
        cron_lines.MARK,
        b"# BEGIN ioconnect\n",
        b"# END ioconnect\n",
        b"<KEY>",
        b"tunnel endpoint: ",
        b"${A}",
        b"nohup ",
    ),
)


def _pasted(data: bytes) -> bool:
    try:
        return bool(pasted.parse_all(data.decode("utf-8", "surrogateescape"), environ=ENVIRON))
    except UsageFault:
        return False


def _addresses(data: bytes) -> bool:
    text, good = data.decode("utf-8", "surrogateescape"), False
    checks = (addresses.target, addresses.host_port, addresses.host, addresses.port, addresses.user, addresses.proxy)
    for check in checks:
        try:
            check(text)
            good = True
        except ValueError:
            continue
    return good


def _import_text(data: bytes) -> bool:
    try:
        return bool(find.in_text(data.decode("utf-8", "backslashreplace"), "text", SEARCH, ENVIRON).found)
    except UsageFault:
        return False


def _crontab(data: bytes) -> bool:
    try:
        jobs = list(cron_lines.jobs(data, ENVIRON, home_of=lambda account: f"/home/{account}"))
    except UsageFault:
        return False
    disabled = cron_lines.disable(data, [job.raw for job in jobs])
    assert disabled.replace(cron_lines.MARK, b"") == data.replace(cron_lines.MARK, b""), "a byte was lost"
    return bool(jobs)


def _crontab_block(data: bytes) -> bool:
    block = b"# BEGIN ioconnect\n@reboot true\n# END ioconnect\n"
    try:
        with_block = crontab.with_block(data, block)
        assert crontab.block_in(with_block), "what was put in is not there"
        crontab.without_block(with_block)
    except Fault:  # its marks are no pair
        return False
    return True


def _unit_file(data: bytes) -> bool:
    texts = data.decode("utf-8", "backslashreplace").split("\0")
    try:
        read = unit_files.read(texts, unit="a.service", manager=ENVIRON, home_of=lambda account: f"/home/{account}")
    except UsageFault:
        return False
    return bool(read.commands)


TARGETS = (
    Target("pasted", _pasted, (SSH_LINE, AUTOSSH, UNIT, TABLE, b"virginia-tunnel.flydata.app:58115"), WORDS),
    Target(
        "addresses",
        _addresses,
        (b"db.internal:3306", b"[fe80::1%eth0]:22", b"10.0.0.1:65535", b"http://u:p@proxy:3128", b"socks5://h"),
        (b"://", b"@", b"]:", b"%40", b"xn--", b"::", b"."),
    ),
    Target("import_text", _import_text, (SSH_LINE, AUTOSSH, TABLE), WORDS),
    Target("crontab", _crontab, (TABLE, cron_lines.MARK + SSH_LINE + b"\n"), WORDS),
    Target("crontab_block", _crontab_block, (TABLE, b"", b"# BEGIN ioconnect\nx\n# END ioconnect\n"), WORDS),
    Target("unit_file", _unit_file, (UNIT, UNIT + b"\0[Service]\nExecStart=\nExecStart=/bin/true\n"), WORDS),
)
