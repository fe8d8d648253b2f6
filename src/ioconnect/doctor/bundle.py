"""Writes the support archive: the report, configuration, status, pins and log, redacted."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import tarfile
import time
from typing import TYPE_CHECKING

from ioconnect.agent.dial.proxy import VARIABLES, redacted
from ioconnect.checks.show import Line, plain
from ioconnect.config.configuration import Config, document
from ioconnect.config.configuration import load as load_config
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import read_regular, write_atomically
from ioconnect.doctor.environment import version_table
from ioconnect.doctor.redact import redact, secrets_of_key, secrets_of_url
from ioconnect.errors import ConfigInvalid, Fault, SystemRefused
from ioconnect.keys import known_hosts
from ioconnect.keys.credentials import identity_path
from ioconnect.status.log_reader import last_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ioconnect.config.paths import Paths
    from ioconnect.doctor.facts import DoctorReport

FOLDER = "ioconnect-doctor"
LOG_LINES = 5000
MAX_FILE = 4 << 20  # bytes of one file that are read
MAX_LINE = 10_000  # characters of one line
_MAX_CRASH_LOG = 64 << 10  # bytes of a crash log or a key
_MAX_LOG = 2 << 20  # characters of a log


def write(path: Path, report: DoctorReport, paths: Paths, environ: Mapping[str, str]) -> None:
    """Write the archive (.tar.gz, 0600). Raises CannotCreate."""
    secrets = dict.fromkeys(_secrets(paths, environ))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in _members(report, paths):
            content = redact(_with_short_lines(text), secrets).encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(content))
    write_atomically(path, buffer.getvalue(), keeps_owner=False)


def as_text(report: DoctorReport) -> str:
    """Return the report as `doctor` prints it without a terminal."""
    lines = [plain(Line(fact.name, fact.status, fact.detail, None, fact.hint)) for fact in report.machine]
    for name, checks in report.tunnels:
        lines += ["", f"tunnel {name}" if name else "no tunnel", *(plain(Line.of(check)) for check in checks.checks)]
    return "\n".join(lines) + "\n"


def _members(report: DoctorReport, paths: Paths) -> Iterator[tuple[str, str]]:
    yield "doctor.txt", as_text(report)
    yield "doctor.json", json.dumps(report.to_json(), indent=2) + "\n"
    yield "versions.json", json.dumps(version_table(), indent=2) + "\n"
    yield "config.toml", _configuration(paths)
    yield "status.json", _indented(_text(paths.status))
    yield "pins.txt", _pins(paths)
    yield "log/ioconnect.log", _log(paths.log)
    yield "log/crash.log", _text(paths.log.with_name("crash.log"))[-_MAX_CRASH_LOG:]


def _configuration(paths: Paths) -> str:
    """Return the configuration as it was parsed, never its text: comments and faulty values may hold anything."""
    import tomli_w  # noqa: PLC0415  only commands that write need it

    try:
        config = load_config(paths.config)
    except ConfigInvalid as fault:
        where = [f"# {wrong.path}" for wrong in fault.faults]
        return "\n".join(["# The configuration is not valid; doctor.txt says why. Faults are in:", *where, ""])
    left_out = [f"# left out: {file.path}\n" for file in config.invalid]
    tunnels = tuple(dataclasses.replace(one, file=None, proxy=redacted(one.proxy)) for one in config.tunnels)
    return tomli_w.dumps(document(dataclasses.replace(config, tunnels=tunnels))) + "".join(left_out)


def _text(path: Path) -> str:
    try:
        return read_regular(path, limit=MAX_FILE)[0].decode("utf-8", "backslashreplace")
    except (OSError, Untrusted) as error:
        return f"# {path}: {error.strerror}\n"


def _with_short_lines(text: str) -> str:
    return "\n".join(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} (cut)" for line in text.split("\n"))


def _indented(text: str) -> str:
    """Return JSON indented; other text unchanged."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    return text


def _log(path: Path) -> str:
    try:
        return "\n".join([*last_lines(path, LOG_LINES), ""])[-_MAX_LOG:]
    except SystemRefused as fault:
        return f"# {fault.message}\n"


def _pins(paths: Paths) -> str:
    """Return the fingerprints of the pinned host keys, by jumphost."""
    try:
        config, pins = load_config(paths.config), known_hosts.load(paths.known_hosts)
    except Fault as fault:
        return f"# {fault.message}\n"
    jumphosts = dict.fromkeys(tunnel.jumphost for tunnel in config.tunnels)
    return "".join(
        f"{jumphost} {' '.join(pins.fingerprints_for(jumphost.host, jumphost.port)) or 'nothing is pinned'}\n"
        for jumphost in jumphosts
    )


def _secrets(paths: Paths, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the known secrets: the proxies' passwords, and the lines of every identity."""
    config = Config()
    with contextlib.suppress(Fault):
        config = load_config(paths.config)
    for url in [*(tunnel.proxy for tunnel in config.tunnels), *(environ.get(name, "") for name in VARIABLES)]:
        yield from secrets_of_url(url)
    for path in {paths.identity, *(identity_path(tunnel, config.agent, paths) for tunnel in config.tunnels)}:
        with contextlib.suppress(OSError, Untrusted):  # root's commands show no line of it either
            yield from secrets_of_key(read_regular(path, limit=_MAX_CRASH_LOG)[0].decode("ascii", "replace"))
