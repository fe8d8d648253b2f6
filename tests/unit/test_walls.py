"""The walls of docs/architecture.md, held by reading the source: who may import what, and how big a room may be."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ioconnect"

# Pure rooms: numbers and records in, verdicts out. What touches the world is somebody else's job, so these are tested
# without sockets, clocks or patches.
PURE = {
    "errors.py": "every room raises them",
    "escape.py": "text in, text out",
    "config/addresses.py": "host:port and proxy URLs, checked",
    "config/toml_tables.py": "a TOML table, read with all its faults",
    "keys/public_keys.py": "public keys in bytes and in base64",
    "config/ssh_line.py": "the options of an ssh command line",
    "config/pasted.py": "any pasted line → a tunnel",
    "agent/tunnel/machine.py": "the table of a tunnel's life",
    "agent/tunnel/backoff.py": "failures and a roll → seconds",
    "agent/session/keepalive.py": "times in, verdict out",
    "ssh/channel.py": "RFC 4254 section 5 as a state machine",
    "agent/tunnel/events.py": "records that the rooms of the agent exchange",
    "agent/tunnel/counters.py": "counters",
    "agent/tunnel/state.py": "the records that the machine's table moves between",
    "installers/service.py": "records",
    "installers/systemd.py": "a service → a unit's text",
    "installers/crontab.py": "a service → a crontab's text",
    "installers/launchd.py": "a service → a property list",
}
IMPURE_MODULES = {
    "socket",
    "time",
    "random",
    "threading",
    "subprocess",
    "selectors",
    "select",
    "paramiko",
    "os",
}

PARAMIKO = {
    "ssh/packetizer.py": "our packetizer is its subclass",
    "ssh/transport.py": "its Transport with our packetizer",
    "agent/session/connect.py": "reads the identity as its key",
    "agent/session/session.py": "signs in with it",
    "agent/session/keyscan.py": "asks a jumphost for its host keys",
    "stub/": "the jumphost's side of the same protocol",
}
# Slow to import; imported at the top of a module only where that module is itself imported on demand.
HEAVY = {"paramiko": PARAMIKO, "keyring": {}, "rich": {}}

SUBPROCESS = {
    "agent/process/launch.py": "starts the command again as the daemon",
    "installers/apply.py": "systemctl, crontab, launchctl",
    "keys/passphrases.py": "the keyring may hang, so it is asked in a process of its own",
    "demo/stage.py": "runs the command as a customer does",
    "console/clipboard.py": "pbcopy, wl-copy, xclip, xsel",
}
IMPORTERS_OF_CLI = {"__main__.py": "the command's other name"}
IMPORTERS_OF_STUB = {"cli.py": "the commands `stub` and `demo`", "demo/": "its jumphost", "stub/": "its own rooms"}

# Names that say nothing about what a room does.
SHAPELESS = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
LONGEST_FUNCTION = 54  # lines
LONGEST_FILE = 300  # lines


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, absolute; `lazy` if it happens inside a function, `typing` if only the checker sees it."""

    room: str
    line: int
    module: str
    lazy: bool
    typing: bool

    def reaches(self, module: str) -> bool:
        """Say whether this imports the module, or something inside it."""
        return self.module == module or self.module.startswith(module + ".")

    def __str__(self) -> str:
        """`room:line imports module`, as a failure shows it."""
        return f"src/ioconnect/{self.room}:{self.line} imports {self.module}"


def _is_typing_block(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _modules(node: ast.Import | ast.ImportFrom, room: str) -> list[str]:
    """Return the absolute names that a statement may import: `from a import b` names a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = ["ioconnect", *Path(room).parts[:-1]]
        base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def _walk(node: ast.AST, room: str, *, lazy: bool = False, typing: bool = False) -> list[Import]:
    found = []
    for child in ast.iter_child_nodes(node):
        unseen = typing or (isinstance(node, ast.If) and _is_typing_block(node) and child in node.body)
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            found += [Import(room, child.lineno, name, lazy, unseen) for name in _modules(child, room)]
        else:
            is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            found += _walk(child, room, lazy=lazy or is_function, typing=unseen)
    return found


def imports_of(text: str, room: str) -> list[Import]:
    """Return every import in a room's text; `room` is its path inside the package."""
    return _walk(ast.parse(text), room)


ROOMS = {path.relative_to(SOURCE).as_posix(): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}
IMPORTS = [found for room, text in ROOMS.items() for found in imports_of(text, room)]
RUNTIME = [found for found in IMPORTS if not found.typing]


def allowed(room: str, rooms: dict[str, str]) -> bool:
    """Say whether a list (of files, and of folders with a slash at the end) contains the room."""
    return any(room == entry or (entry.endswith("/") and room.startswith(entry)) for entry in rooms)


def shown(breaches: list[Import]) -> list[str]:
    """Return breaches as a failure shows them."""
    return sorted({str(found) for found in breaches})


def says_pure(room: str) -> bool:
    """Say whether a room's docstring claims it: a paragraph that begins with `Pure.` ("Pure, but for …" is none)."""
    return bool(re.search(r"^Pure[.:;]", ast.get_docstring(ast.parse(ROOMS[room])) or "", re.MULTILINE))


def is_pure(room: str) -> bool:
    """Say whether a room may touch nothing: it is on the list, or claims it."""
    return room in PURE or says_pure(room)


def test_the_list_of_pure_rooms_names_rooms() -> None:
    """A misspelt or renamed room would escape its wall."""
    missing = [room for room in PURE if room not in ROOMS]

    assert missing == []


def test_a_pure_room_touches_nothing() -> None:
    breaches = [found for found in RUNTIME if is_pure(found.room) and any(map(found.reaches, IMPURE_MODULES))]

    assert shown(breaches) == []


def test_a_pure_room_imports_no_impure_room_of_ours() -> None:
    """Purity is inherited: what a pure room imports is pure, or records only."""
    records = {
        "config/configuration.py": "frozen records",
        "status/snapshots.py": "frozen records, reading and writing at its foot",
        "keys/known_hosts.py": "verdicts, loading and pinning at its foot",
    }
    impure = {
        "ioconnect." + room.removesuffix(".py").replace("/", ".")
        for room in ROOMS
        if not is_pure(room) and room not in records and not room.endswith("__init__.py")
    }
    breaches = [found for found in RUNTIME if is_pure(found.room) and found.module in impure]

    assert shown(breaches) == []


def test_paramiko_stays_in_its_rooms() -> None:
    breaches = [found for found in IMPORTS if found.reaches("paramiko") and not allowed(found.room, PARAMIKO)]

    assert shown(breaches) == []


@pytest.mark.parametrize("module", sorted(HEAVY))
def test_a_heavy_module_is_imported_where_it_is_used(module: str) -> None:
    """`ioconnect --version` and `status` pay for nothing that they don't use."""
    breaches = [
        found
        for found in RUNTIME
        if found.reaches(module) and not found.lazy and not allowed(found.room, HEAVY[module])
    ]

    assert shown(breaches) == []


def test_agent_and_installers_do_not_know_each_other() -> None:
    breaches = [
        found
        for found in IMPORTS
        if (found.room.startswith("agent/") and found.reaches("ioconnect.installers"))
        or (found.room.startswith("installers/") and found.reaches("ioconnect.agent"))
    ]

    assert shown(breaches) == []


@pytest.mark.parametrize(
    ("module", "importers"),
    [
        ("ioconnect.cli", IMPORTERS_OF_CLI),
        ("ioconnect.stub", IMPORTERS_OF_STUB),
        ("subprocess", SUBPROCESS),
    ],
)
def test_only_the_rooms_on_the_list_import_it(module: str, importers: dict[str, str]) -> None:
    breaches = [found for found in IMPORTS if found.reaches(module) and not allowed(found.room, importers)]

    assert shown(breaches) == []


def test_the_command_line_reaches_the_stub_lazily() -> None:
    breaches = [
        found for found in RUNTIME if found.room == "cli.py" and found.reaches("ioconnect.stub") and not found.lazy
    ]

    assert shown(breaches) == []


def test_rooms_are_small() -> None:
    big = [f"{room}: {lines} lines" for room, text in ROOMS.items() if (lines := text.count("\n")) > LONGEST_FILE]

    assert big == []


def test_functions_are_short() -> None:
    long = [
        f"{room}:{node.lineno} {node.name}: {lines} lines"
        for room, text in ROOMS.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]

    assert long == []


def test_every_room_says_what_it_is() -> None:
    """A module's docstring names its one job, its file name what it is."""
    silent = [room for room, text in ROOMS.items() if not ast.get_docstring(ast.parse(text))]
    shapeless = [room for room in ROOMS if SHAPELESS & set(Path(room).with_suffix("").parts)]

    assert (silent, shapeless) == ([], [])


def test_the_reader_of_imports_sees_every_kind() -> None:
    """No wall may stand open because the reader overlooked a form of import."""
    text = (
        "from __future__ import annotations\n"
        "import os.path as p\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from socket import socket\n"
        "try:\n    import select\nexcept ImportError:\n    pass\n"
        "def f():\n    from ..stub import server\n"
        "class C:\n    def g(self):\n        import random\n"
        "from . import link\n"
    )
    seen = {found.module: (found.lazy, found.typing) for found in imports_of(text, "ssh/packetizer.py")}

    assert seen["os.path"] == seen["select"] == seen["ioconnect.ssh.link"] == (False, False)
    assert seen["socket"] == (False, True)
    assert seen["ioconnect.stub.server"] == seen["random"] == (True, False)
