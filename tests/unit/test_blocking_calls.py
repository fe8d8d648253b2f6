"""The wall around the loop of a session and the supervisor: neither makes a call that may block, but for this list.

A log that nobody reads, a disk that hangs, a resolver without an answer: each would stop every tunnel, and `status`
and TERM with them.
"""

from __future__ import annotations

import ast
import re

import pytest
from tests.rigs.source_tree import SOURCES

# Where code runs on those threads.
ROOMS = ("ssh/", "agent/session/", "agent/supervisor/", "agent/tunnel/")
FILES = ("agent/process/daemon.py", "agent/process/readiness.py", "agent/process/sd_notify.py")

METHODS = (
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "stat", "lstat", "exists", "mkdir", "unlink"),
    *("touch", "iterdir", "glob", "is_file", "is_dir", "resolve", "readlink", "symlink_to", "hardlink_to"),
    *("sendall", "sendfile", "connect", "accept", "makefile", "settimeout"),
    *("wait", "wait_for", "join", "acquire", "result", "sleep", "communicate", "urlopen"),
)
OURS = (
    *(
        "write_atomically",
        "write_new",
        "make_folder",
        "read_regular",
        "configuration.load",
        "configuration.load_all_valid",
        "configuration.stamps",
        "known_hosts.load",
        "load_pins",
        "strict_modes.check_program",
    ),
    *(
        "snapshots.read",
        "snapshots.write",
        "lock.holder",
        "preflight.check",
        "programs.run",
        "preflight.faults",
    ),
)
BLOCKING = re.compile(
    r"(open|print|input)"
    rf"|.*\.({'|'.join(METHODS)})"
    r"|os\.(open|p?read|p?write|f(data)?sync|l?stat|replace|rename|unlink|remove|listdir|scandir|mkdir|makedirs)"
    r"|os\.(path\..*|system|popen|wait.*)|shutil\..*|tempfile\..*|subprocess\..*|urllib\..*|sys\.std(out|err)\..*"
    r"|socket\.(getaddrinfo|gethostby.*|getfqdn|getnameinfo|create_connection)"
    rf"|{'|'.join(re.escape(name) for name in OURS)}|({'|'.join(name for name in OURS if '.' not in name)})"
)

# File → call → why it may stand there.
ALLOWED = {
    "ssh/connection/forwarded_connection.py": {"self.multiplexer.in_flight_queue.wait": "puts itself into a queue"},
    "ssh/inbound.py": {"self.opener.open": "decrypts"},
    "ssh/loop.py": {
        "poller.wait": "this is where the loop waits",
        "os.read": "the wake-up pipe, non-blocking",
        "os.write": "the wake-up pipe, non-blocking",
    },
    "ssh/outbound.py": {
        "self._sock.settimeout": "for the last message of a session",
        "self._sock.sendall": "the last message of a session, for a second at most",
    },
    "agent/session/connect.py": {"load_pins": "on the dial's thread"},
    "agent/session/keyscan.py": {
        "scan.over.wait": "for `pin`, which waits for it",
        "scan.transport.join": "for `pin`, which waits for it",
    },
    "agent/session/pins_reader.py": {"load_pins": "on the reader's thread"},
    "agent/supervisor/background_jobs.py": {
        "self._changed.wait": "on the thread itself",
        "self._thread.join": "when the agent ends, for a second at most",
    },
    "agent/supervisor/file_monitor.py": {"self._condition.wait_for": "on the monitor's thread"},
    "agent/network/network_monitor.py": {"thread.join": "when the agent ends, for a moment"},
    "agent/supervisor/publish.py": {"snapshots.write": "on the writer's thread"},
    "agent/supervisor/source_ports.py": {
        "read_regular": "when the agent starts",
        "write_atomically": "on the writer's thread",
    },
    "agent/network/suspend_monitor.py": {"os.read": "a timer, non-blocking"},
    "agent/process/daemon.py": {
        "AgentLock.acquire": "before the start",
        **dict.fromkeys(
            ("configuration.load", "configuration.load_all_valid", "configuration.stamps", "preflight.faults"),
            "on the thread that reads the configuration",
        ),
        "preflight.check": "before the start",
        "strict_modes.check_program": "before the start",
    },
    "agent/process/readiness.py": {"os.write": "one line into an empty pipe, which takes it at once"},
}


def blocking_calls(text: str) -> set[str]:
    """Return the calls in a file that may block, as they are written there; `"".join` and the like do not."""
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    names = {
        ast.unparse(call)
        for call in calls
        if not (isinstance(call, ast.Attribute) and isinstance(call.value, (ast.Constant, ast.JoinedStr)))
    }
    return {name for name in names if BLOCKING.fullmatch(name)}


@pytest.mark.parametrize("file", [file for file in SOURCES if file.startswith(ROOMS) or file in FILES])
def test_the_loop_and_the_supervisor_do_not_block(file: str) -> None:
    assert blocking_calls(SOURCES[file].text) == set(ALLOWED.get(file, {}))


def test_the_list_names_files() -> None:
    assert [file for file in ALLOWED if file not in SOURCES] == []


def test_the_reader_sees_every_kind() -> None:
    text = (
        "open(a); print(a); path.write_text(a); self._path.open(); os.fsync(1); os.path.exists(a); time.sleep(1)\n"
        "subprocess.run(a); socket.getaddrinfo(a); sock.sendall(a); thread.join(); sys.stderr.write(a)\n"
        "write_atomically(a); configuration.load(a)\n"
        "', '.join(a); f'{a}'.join(a); os.getpid(); sock.send(a); reopen(a); queue.put(a)\n"
    )

    assert len(blocking_calls(text)) == 14
