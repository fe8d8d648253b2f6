"""The floors and walls of the house, held by reading the source: who may import what, and how big anything may be."""

from __future__ import annotations

import graphlib
import itertools
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rigs.source_tree import ARROWS, IMPORTS, SOURCES, Import, read_source

if TYPE_CHECKING:
    from collections.abc import Iterable

# Top to bottom: the floor, the room, its one job. An import goes down or stays inside its room, also one that only
# the type checker sees. Rooms on one floor do not know each other; with a number behind the dot each knows the lower.
FLOORS = [
    ("11", "__main__.py", "`python -m ioconnect`"),
    ("10", "cli.py", "the list of commands, nothing else"),
    ("9", "commands/", "one file a command: its options, one call, what is shown"),
    ("8", "doctor/", "facts of this machine, and the bundle for support"),
    ("7", "checks/", "`test`: a check for each step between the database and the jumphost"),
    ("7", "importing/", "what autossh and ssh do here, found, read, turned into tunnels and disabled"),
    ("7", "demo/", "a tunnel's whole life on this machine, with nothing set up"),
    ("6", "installers/", "services as data for systemd, cron and launchd, and one file that acts"),
    ("6.5", "agent/process/", "the agent as a process: start, log, signals, readiness"),
    ("6.4", "agent/supervisor/", "the main thread: a runner per tunnel, a mailbox, what is watched for them"),
    ("6.3", "agent/session/", "one signed-in connection: connect, forward, relay, keepalive, diagnosis"),
    ("6.2", "agent/targets/", "the database's side: from a target to a connected socket, and whether it answers"),
    ("6.2", "agent/network/", "what happens to this machine's network, and that it was suspended"),
    ("6.1", "agent/dial/", "from a jumphost's name to a connected socket"),
    ("6.1", "agent/tunnel/", "a tunnel's life as a pure state machine"),
    ("5", "status/", "what the agent does, as anybody may read it"),
    ("5", "stub/", "a stand-in for the jumphost and its registration API"),
    ("4", "registration/", "what was typed or pasted → a tunnel; the client of the registration API"),
    ("3", "ssh/", "one SSH engine for both ends: packets, channels, flow control, the event loop"),
    ("3", "keys/", "the identity, the pinned host keys, their formats, passphrases"),
    ("3", "console/", "the terminal: what is printed and asked, exit codes, completion"),
    ("2.2", "config/", "the user's files: paths, the TOML, addresses, ssh command lines that become tunnels"),
    ("2.1", "custody/", "files opened, read, written and judged for root where others may change them"),
    ("1.2", "fault_document.py", "a fault in JSON, as commands and the control socket answer"),
    ("1.1", "errors.py", "what can go wrong, and what to do next"),
    ("1.0", "disposition.py", "what the agent does after a fault"),
    ("1", "escape.py", "text from outside, made safe to print"),
    ("1", "line_limit.py", "so many lines of log in a time"),
    ("1", "tcp.py", "TCP's corners: a connection to itself, a reset, keepalive"),
    ("0", "__init__.py", "the version"),
]

# Numbers and records in, verdicts out. What touches the world is somebody else's job, so these are tested without
# sockets, clocks or patches. A file whose docstring says `Pure.` is held to it as well.
PURE = {
    "fault_document.py": "a fault in, a document out",
    "errors.py": "every room raises them",
    "disposition.py": "an enumeration",
    "escape.py": "text in, text out",
    "line_limit.py": "times in, verdict out",
    "config/addresses.py": "host:port and proxy URLs, checked",
    "config/toml_tables.py": "a TOML table, read with all its faults",
    "config/ssh_line.py": "the options of an ssh command line",
    "config/pasted.py": "any pasted line → a tunnel",
    "keys/public_keys.py": "public keys in bytes and in base64",
    "ssh/algorithms.py": "what is offered in a key exchange",
    "ssh/messages.py": "RFC 4254's messages: bytes to fields and back",
    "ssh/connection/channel.py": "RFC 4254 section 5 as a state machine",
    "ssh/connection/window_budget.py": "windows within a budget",
    "agent/tunnel/machine.py": "the table of a tunnel's life",
    "agent/tunnel/state.py": "the records that the machine's table moves between",
    "agent/tunnel/events.py": "records that the rooms of the agent exchange",
    "agent/tunnel/backoff.py": "failures and a random number → seconds",
    "agent/tunnel/counters.py": "counters",
    "agent/tunnel/target_health.py": "outcomes of connections and times → a verdict on the database",
    "agent/targets/mysql_handshake.py": "bytes of a server → what to answer",
    "agent/session/keepalive.py": "times in, verdict out",
    "installers/service.py": "records",
    "installers/systemd.py": "a service → a unit's text",
    "installers/crontab.py": "a service → a crontab's text",
    "installers/launchd.py": "a service → a property list",
}
# What a pure file may import of ours besides pure files.
RECORDS = {
    "config/configuration.py": "frozen records",
    "status/snapshots.py": "the records of status/records.py, reading and writing at its foot",
    "keys/known_hosts.py": "verdicts, loading and pinning at its foot",
}
IMPURE = ["socket", "time", "random", "threading", "subprocess", "selectors", "select", "paramiko", "os"]

# Module → the files and folders that may import it, and why.
MAY_IMPORT = {
    "paramiko": {
        "ssh/checked_message.py": "its Message and its keys, with every length checked",
        "ssh/diffie_hellman.py": "its key exchanges, with bounds",
        "ssh/packetizer.py": "our packetizer is its subclass",
        "ssh/transport.py": "its Transport with our packetizer",
        "agent/session/connect.py": "reads the identity as its key",
        "agent/session/last_event.py": "its exceptions",
        "agent/session/refusal.py": "its exception for a sign-in that goes on",
        "stub/session.py": "its server mode answers the sign-in",
        "stub/host_key.py": "makes and holds its host key",
    },
    "click": {
        "cli.py": "declares the commands",
        "commands/": "options of a command",
        "console/command_group.py": "groups, options that are everywhere, near names",
        "console/completion.py": "what a shell is offered",
        "console/exits.py": "click's own errors have exit codes too",
    },
    "subprocess": {
        "agent/process/launch.py": "starts the command again as the daemon",
        "installers/programs.py": "systemctl, crontab, launchctl",
        "keys/passphrases.py": "the keyring may hang, so it is asked in a process of its own",
        "demo/environment.py": "runs the command as a customer does",
        "console/clipboard.py": "pbcopy, wl-copy, xclip, xsel",
    },
    "ioconnect.stub": {
        "stub/": "its own rooms",
        "commands/rehearse/stub.py": "the command `stub`",
        "demo/": "its jumphost",
    },
}
# What a file may call → the calls, and the files that may make them, and why.
MAY_CALL = {
    "a process without subprocess": (r"os\.(fork|forkpty|posix_spawnp?|exec\w+|spawn\w+|system|popen)$|pty\.", {}),
    "another owner of a file": (
        r"os\.[lf]?chown$",
        {"custody/files.py": "what root writes in another account's folder is that account's"},
    ),
    "a thread": (
        r"threading\.(Thread|Timer)$",
        {
            "agent/process/exit_deadline.py": "ends a process that hangs",
            "agent/process/log_queue.py": "writes the log, which may block",
            "agent/session/connect.py": "dials; ends with the attempt",
            "agent/session/pins_reader.py": "reads the pins again beside the loop; one at a time",
            "agent/targets/target_addresses.py": "looks a database's name up beside the loop",
            "agent/dial/resolve.py": "getaddrinfo has no deadline of its own",
            "agent/dial/proxy_tls.py": "TLS to a proxy, under paramiko's plain socket",
            "agent/supervisor/background_jobs.py": "reads and writes files, which may block; tells a job that hangs",
            "agent/supervisor/mailbox.py": "waits for signals",
            "agent/supervisor/file_monitor.py": "examines the files of held tunnels, on whatever file system",
            "agent/process/control_server.py": "accepts and answers requests of the control socket",
            "agent/network/network_monitor.py": "blocks in the kernel until the network changes",
            "status/disk.py": "a disk has no deadline of its own",
            "registration/client.py": "an HTTP request that Ctrl-C must not wait for",
            "console/interruptions.py": "a signal that Python discarded comes again, once the finalizer is over",
            "demo/database.py": "the demo's database",
            "stub/listener.py": "accepts connections to the jumphost",
            "stub/api.py": "its HTTP API",
        },
    ),
}
# Slow to import: at the top of a file only where that file is itself imported on demand. `--version` and `status` pay
# for nothing that they do not use.
AT_THE_TOP = {
    "paramiko": MAY_IMPORT["paramiko"],
    "cryptography": {"ssh/": "imported with paramiko, which needs it"},
    "keyring": {},
    "rich": {},
    "ioconnect.stub": {"stub/": "its own rooms", "demo/": "imported by its command alone"},
}

LONGEST_FILE = 300  # lines
LONGEST_FUNCTION = 54  # lines
LARGEST_FOLDER = 16  # Python files beside __init__.py
# Words that say nothing about what a file or class does.
SHAPELESS = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
TERMS = {"service_manager.py": "systemd's own term for systemd", "ServiceManager": "as above"}
# Words of our own for what the field has words for.
RETIRED = {
    *(
        "approach",
        "arrival",
        "bell",
        "conversation",
        "described",
        "dialogue",
        "evidence",
        "inbox",
        "keeper",
    ),
    *("ladder", "landed", "letter", "letters", "link", "narration", "netnews", "netwatch", "news", "opening"),
    *("parking", "placement", "places", "pulse", "race", "sheet", "slept", "stirred", "takeover", "trial", "waiting"),
    *("walk", "wire"),
}

ROOMS = [room for _, room, _ in FLOORS]


def room_of(file: str) -> str | None:
    """Return the room that a file is in."""
    return max((room for room in ROOMS if file.startswith(room)), key=len, default=None)


def is_above(room: str, other: str) -> bool:
    """Say whether one room stands on a higher floor: 7 is above 6.4 and that above 6.3, but 6 beside both."""
    floors = {name: [int(part) for part in floor.split(".")] for floor, name, _ in FLOORS}
    (floor, *part), (other_floor, *other_part) = floors[room], floors[other]
    return floor > other_floor or (floor == other_floor and bool(part and other_part) and part > other_part)


def listed(file: str, files: Iterable[str]) -> bool:
    """Say whether a list (of files, and of folders with a slash at the end) has the file."""
    return any(file == entry or (entry.endswith("/") and file.startswith(entry)) for entry in files)


def folder_of(file: str) -> str:
    """Return the folder that a file is in; a file at the top stands for itself."""
    return file.rpartition("/")[0] or file


def shown(breaches: Iterable[Import]) -> list[str]:
    """Return breaches as a failure shows them."""
    return sorted({str(found) for found in breaches})


def is_pure(file: str) -> bool:
    """Say whether a file may touch nothing: it is listed, or a paragraph of its docstring begins with `Pure.`."""
    return file in PURE or bool(re.search(r"^Pure[.:;]", SOURCES[file].docstring, re.MULTILINE))


def a_circle(arrows: Iterable[tuple[str, str]]) -> list[str]:
    """Return one circle among the arrows, or nothing."""
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for start, end in arrows:
        if start != end:
            graph[start].add(end)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def words_of(name: str) -> set[str]:
    """Return the words of a name in snake_case or CamelCase, in small letters."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_every_file_is_in_a_room_and_every_room_has_files() -> None:
    assert [file for file in SOURCES if room_of(file) is None and file != "agent/__init__.py"] == []
    assert [room for room in ROOMS if room not in map(room_of, SOURCES)] == []


def test_an_import_goes_down_or_stays_in_its_room() -> None:
    arrows = [(room_of(found.file), room_of(file), found) for found, file in ARROWS]

    assert (
        shown(f for room, other, f in arrows if room != other and not (room and other and is_above(room, other)))
        == []
    )


def test_no_file_imports_itself_through_others() -> None:
    assert a_circle((found.file, file) for found, file in ARROWS if not found.typing) == []


def test_no_folder_imports_itself_through_others() -> None:
    """Also not for the type checker."""
    assert a_circle((folder_of(found.file), folder_of(file)) for found, file in ARROWS) == []


def test_the_lists_of_files_name_files() -> None:
    """A misspelt or renamed file would escape its wall."""
    assert [file for file in [*PURE, *RECORDS] if file not in SOURCES] == []


def test_a_pure_file_touches_nothing() -> None:
    found = [found for file in SOURCES if is_pure(file) for found in SOURCES[file].imports if not found.typing]

    assert shown(found for found in found if any(map(found.reaches, IMPURE))) == []


def test_a_pure_file_imports_no_impure_file_of_ours() -> None:
    """Purity is inherited: what a pure file imports is pure, or records only."""
    pure = {file for file in SOURCES if is_pure(file) or file in RECORDS or file.endswith("__init__.py")}

    assert shown(f for f, file in ARROWS if is_pure(f.file) and not f.typing and file not in pure) == []


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_only_the_files_on_the_list_import_it(module: str) -> None:
    found = [found for found in IMPORTS if found.reaches(module)]
    idle = [entry for entry in MAY_IMPORT[module] if not any(listed(importer.file, [entry]) for importer in found)]

    assert shown(found for found in found if not listed(found.file, MAY_IMPORT[module])) == []
    assert idle == []


@pytest.mark.parametrize("what", MAY_CALL)
def test_only_the_files_on_the_list_make_it(what: str) -> None:
    calls, files = MAY_CALL[what]
    found = [file for file, source in SOURCES.items() if source.names(calls)]

    assert [file for file in found if not listed(file, files)] == []
    assert [entry for entry in files if not any(listed(file, [entry]) for file in found)] == []


@pytest.mark.parametrize("module", AT_THE_TOP)
def test_a_heavy_module_is_imported_where_it_is_used(module: str) -> None:
    found = [found for found in IMPORTS if found.reaches(module) and not found.typing and not found.lazy]

    assert shown(found for found in found if not listed(found.file, AT_THE_TOP[module])) == []


def test_files_are_small() -> None:
    lines = {file: source.text.count("\n") for file, source in SOURCES.items()}

    assert {file: count for file, count in lines.items() if count > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    functions = [(file, each) for file, source in SOURCES.items() for each in source.definitions if not each.is_class]

    assert [f"{file}:{each.line} {each.name}" for file, each in functions if each.lines > LONGEST_FUNCTION] == []


def test_folders_are_small() -> None:
    files = Counter(folder_of(file) for file in SOURCES if not file.endswith("__init__.py"))

    assert {folder: count for folder, count in files.items() if count > LARGEST_FOLDER} == {}


def test_the_tests_mirror_the_rooms() -> None:
    tests = Path(__file__).parents[1]
    folders = {
        path.parent.relative_to(tests / kind).as_posix()
        for kind in ("unit", "e2e")
        for path in (tests / kind).rglob("test_*.py")
    }

    assert sorted(folders - {"."} - {folder_of(file) for file in SOURCES}) == []


def test_every_file_says_what_it_is() -> None:
    """A module's docstring names its one job, its file name what it is."""
    assert [file for file, source in SOURCES.items() if not source.docstring] == []


def test_names_are_the_words_of_the_field() -> None:
    names = [
        (file, name) for file in SOURCES for name in Path(file).with_suffix("").parts if Path(file).name not in TERMS
    ]
    definitions = [(file, each) for file, source in SOURCES.items() for each in source.definitions]
    names += [(file, each.name) for file, each in definitions if each.is_class and each.name not in TERMS]

    assert [f"{file} {name}" for file, name in names if words_of(name) & (SHAPELESS | RETIRED)] == []


def test_the_reader_of_imports_sees_every_kind() -> None:
    """No wall may stand open because the reader overlooked a form of import."""
    text = (
        "from __future__ import annotations\n"
        "import os.path as p\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from socket import socket\n"
        "else:\n    import stat\n"
        "try:\n    import select\nexcept ImportError:\n    import selectors\n"
        "def f():\n    from ..stub import server\n"
        "class C:\n    def g(self):\n        import random\n"
        "match p:\n    case 1:\n        import time\n"
        "from . import link\n"
    )
    seen = {found.module: (found.lazy, found.typing) for found in read_source(text, "ssh/packetizer.py").imports}

    assert seen["os.path"] == seen["select"] == seen["ioconnect.ssh.link"] == (False, False)
    assert seen["selectors"] == seen["stat"] == seen["time"] == (False, False)
    assert seen["socket"] == (False, True)
    assert seen["ioconnect.stub.server"] == seen["random"] == (True, False)


def test_the_floors_say_who_is_above_whom() -> None:
    """The order of the table is the order of the floors, and what stands beside the agent stands beside all of it."""
    assert is_above("agent/process/", "agent/supervisor/")
    assert is_above("checks/", "agent/process/")
    assert not any(
        is_above("installers/", room) or is_above(room, "installers/") for room in ROOMS if room[:6] == "agent/"
    )
    assert not any(is_above(below, above) for above, below in itertools.combinations(ROOMS, 2))
