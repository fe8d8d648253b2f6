"""What the commands that tell the agent something share: which configuration is meant, what changed, the answer."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ioconnect import __version__
from ioconnect.errors import AgentNotRunning, Fault, SystemRefused
from ioconnect.installers.service import Kind
from ioconnect.status import control, hints, snapshots
from ioconnect.status.control import AgentSilent
from ioconnect.status.observe import observe
from ioconnect.status.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ioconnect.config.paths import Paths
    from ioconnect.console.invocation import Invocation

_GROUPS = {
    "added": "added",
    "changed": "changed",
    "removed": "removed",
    "unchanged": "left alone",
}


def message(invocation: Invocation, names: Iterable[str] = (), *, reads_config: bool = False) -> dict[str, object]:
    """Return the body of a request about these tunnels; the agent refuses it if it runs with another configuration.

    The configuration that is meant is the one that was named; where the agent is to read it (`reads_config`), also
    the default one if it exists.
    """
    file = invocation.paths.config
    is_meant = invocation.named_config is not None or (reads_config and file.exists())
    return {"tunnels": list(names), **({"config": str(file)} if is_meant else {})}


def how_to_take_over(paths: Paths) -> str:
    """Return the command after which the agent runs what was saved; both say themselves what keeps them from it."""
    try:
        is_running = control.running_pid(paths) is not None
    except AgentSilent:
        is_running = True
    except SystemRefused:
        is_running = False
    if is_running:
        return "ioconnect reload"
    return _of_service(paths) or "ioconnect up --daemon"


def _of_service(paths: Paths) -> str | None:
    """Return the same for an installed service, beside which no agent is to be started by hand."""
    from ioconnect.installers import installed  # noqa: PLC0415  only if no agent runs

    other = installed.of_another_account(paths, os.environ)
    if other is not None and installed.machines_agent(paths, os.environ) is not None:
        return other.line("reload")
    return installed.start_command(paths, os.environ)


@contextlib.contextmanager
def naming_the_service(invocation: Invocation, *arguments: str) -> Iterator[None]:
    """Have AgentNotRunning name the installed service, and for root the line that tells the agent of an account."""
    try:
        yield
    except AgentNotRunning as fault:
        from ioconnect.installers import installed  # noqa: PLC0415  only if no agent runs

        paths = invocation.paths
        other = installed.of_another_account(paths, os.environ)
        if other is not None and other.kind is not Kind.SYSTEMD:
            raise AgentNotRunning(
                f"root runs no agent: {other.file} has the agent of this configuration run as {other.account}",
                hint=f"Tell that one: {other.line(*arguments)}",
            ) from fault
        start = installed.start_hint(paths, os.environ)
        if start is not None:
            raise AgentNotRunning(fault.message, hint=hints.sentence(start)) from fault
        raise


def seen(paths: Paths) -> Snapshot:
    """Return what the agent does, for `document`: without tunnels if its answer is not understood.

    What was done is done: that it cannot be told in full makes no command fail.
    """
    try:
        return observe(paths)
    except Fault:
        return Snapshot(running=True, pid=None, version=__version__, started_at=None, tunnels=())


def document(
    snapshot: Snapshot, outcomes: Mapping[str, str], *, was_running: bool, pid: int | None = None
) -> dict[str, Any]:
    """Return the answer of `up` and `down` in JSON: that of `status` about these tunnels, and what was done.

    A tunnel's `outcome` is `started`, `stopped`, or what an answer of the agent calls it (`unchanged`, `outdated`,
    `not_started`); `was_running` says whether an agent ran before. `pid` is that of an agent that has ended.
    """
    shown = tuple(tunnel for tunnel in snapshot.tunnels if tunnel.name in outcomes)
    told = snapshots.answer_to_json(replace(snapshot, tunnels=shown))
    told["agent"] |= {"pid": snapshot.pid if snapshot.pid is not None else pid, "was_running": was_running}
    for tunnel in told["tunnels"]:
        tunnel["outcome"] = outcomes[tunnel["name"]]
    return told


def changed(answer: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of tunnels in an answer to a reload or a start, by what was done. Raises StatusDamaged."""
    keys = (*_GROUPS, "outdated", "not_started")
    return snapshots.names_in(answer, *keys, optional=set(keys) - {"added", "unchanged"})


def changes(answer: Mapping[str, list[str]], *, added: str = "added") -> str:
    """Return in one line what a reload or a start of tunnels did; `added` is the word for new tunnels."""
    groups = {**_GROUPS, "added": added}
    parts = [f"{word} {', '.join(answer[key])}" for key, word in groups.items() if answer.get(key)]
    return "; ".join(parts) or "nothing to do"


def outdated(answer: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield which tunnels go on with an earlier configuration, if any do."""
    names = answer.get("outdated")
    if names:
        yield f"With an earlier configuration: {', '.join(names)}. ioconnect reload takes the new one over."


def not_started(answer: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield which configured tunnels the agent does not run after a reload, if any."""
    names = answer.get("not_started")
    if names:
        yield f"Not started: {', '.join(names)}. ioconnect up {' '.join(names)} starts what is missing."


def stopped_by_name(answer: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield which tunnels a start of all left alone, as they were stopped by name, if any."""
    names = answer.get("not_started")
    if names:
        down, up = (f"`ioconnect {verb} {' '.join(names)}`" for verb in ("down", "up"))
        yield f"not started: {', '.join(names)} (stopped by {down}); {up} starts it."
