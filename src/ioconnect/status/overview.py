"""What to say of many tunnels at once: a word for each, the worst first, a summary line, one note per shared reason.

Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioconnect.console.guide import with_guide_link
from ioconnect.errors import ReasonCode
from ioconnect.escape import escaped
from ioconnect.status.records import State, is_target_down, is_well

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ioconnect.status.records import TunnelStatus

TARGET_DOWN = "target down"  # connected, but the database refuses
DISABLED = "disabled"
# From what is least wrong to what is worst; the summary has them in this order, the table in the opposite one.
WORDS = (
    DISABLED,
    State.CONNECTED.value,
    State.STANDBY.value,
    TARGET_DOWN,
    State.CONNECTING.value,
    State.BACKOFF.value,
    State.STOPPED.value,
    State.HELD.value,
)
WAITS_FOR_TURN = "waits for its turn: few tunnels at a time sign in at a jumphost"
MAX_NAMES = 4  # of a note; the table has them all


@dataclass(frozen=True, slots=True)
class Note:
    """What is wrong with these tunnels, and what to do; `text` is that of the first if theirs differ in port or name.

    `next_attempt_at` is the earliest of theirs.
    """

    names: tuple[str, ...]
    text: str
    hint: str
    next_attempt_at: str | None = None
    is_warning: bool = False

    @property
    def subject(self) -> str:
        """The names, all or the first few."""
        if len(self.names) <= MAX_NAMES:
            return ", ".join(self.names)
        shown = self.names[: MAX_NAMES - 1]
        return f"{', '.join(shown)} and {len(self.names) - len(shown)} more"


def word(tunnel: TunnelStatus) -> str:
    """Return one of WORDS."""
    if not tunnel.enabled and tunnel.state is State.STOPPED:
        return DISABLED
    return TARGET_DOWN if tunnel.state is State.CONNECTED and is_target_down(tunnel) else tunnel.state.value


def since(tunnel: TunnelStatus) -> str:
    """Return since when `word` is true: of an outage since it began, across its retries."""
    if word(tunnel) == TARGET_DOWN and tunnel.target_state is not None:
        return tunnel.target_state.since
    is_outage = tunnel.state not in (State.CONNECTED, State.STOPPED) and not is_well(tunnel)
    return (tunnel.down_since if is_outage else None) or tunnel.since


def worst_first(tunnels: Iterable[TunnelStatus]) -> list[TunnelStatus]:
    """Return the tunnels that are not well before those that are, the worst first, else in their order."""
    return sorted(tunnels, key=lambda tunnel: (is_well(tunnel), -WORDS.index(word(tunnel))))


def counts(tunnels: Sequence[TunnelStatus]) -> str:
    """Return the tunnels in one line: `18 of 20 connected, 1 standby, 1 held`; those disabled are not of the 20."""
    found = Counter(map(word, tunnels))
    connected, disabled = found.pop(State.CONNECTED.value, 0), found.get(DISABLED, 0)
    others = [f"{found[each]} {each}" for each in (*WORDS[1:], DISABLED) if found[each]]
    return ", ".join([f"{connected} of {len(tunnels) - disabled} connected", *others])


def summary(tunnels: Sequence[TunnelStatus]) -> str:
    """Return `counts`, and the reason of the worst tunnel that is not well."""
    worst = _worst(tunnels)
    return counts(tunnels) if worst is None else f"{counts(tunnels)}; {worst.subject}: {worst.text}"


def hint(tunnels: Iterable[TunnelStatus]) -> str:
    """Return what to do about the tunnel that `summary` names, or where to look."""
    worst = _worst(tunnels)
    return (worst.hint if worst is not None else "") or "ioconnect status shows how it goes on."


def notes(tunnels: Iterable[TunnelStatus]) -> list[Note]:
    """Return what is wrong and what to do, one note for all tunnels that share it; warnings are last."""
    ordered = worst_first(tunnels)
    problems = [found for tunnel in ordered if not is_well(tunnel) for found in _problem(tunnel)]
    warnings = [found for tunnel in ordered for found in _warnings(tunnel)]
    return _merged([*problems, *warnings])


def endpoint(tunnel: TunnelStatus) -> str:
    """Return the endpoint as the UI shows it; "-" for a tunnel whose file in config.d cannot be read."""
    return f"{tunnel.jumphost.rpartition(':')[0]}:{tunnel.listen_port}" if tunnel.jumphost else "-"


def _worst(tunnels: Iterable[TunnelStatus]) -> Note | None:
    problems = (note for tunnel in worst_first(tunnels) if not is_well(tunnel) for _, note in _problem(tunnel))
    return next(problems, None)


def _problem(tunnel: TunnelStatus) -> Iterator[tuple[object, Note]]:
    """Yield a key that tunnels with the same trouble share, and the note."""
    reason = tunnel.reason
    if word(tunnel) == TARGET_DOWN and tunnel.target_state is not None:
        reason = tunnel.target_state.reason
        if reason is None:
            text = f"{escaped(tunnel.target)} does not accept connections"
            yield TARGET_DOWN, Note((escaped(tunnel.name),), text, "")
    if tunnel.waits_for_turn and reason is None:
        yield WAITS_FOR_TURN, Note((escaped(tunnel.name),), WAITS_FOR_TURN, "")
    if reason is None or (tunnel.state is State.CONNECTED and word(tunnel) != TARGET_DOWN):
        return
    if reason.code is ReasonCode.NOT_STARTED:  # the headline, or the word, says it for all
        return
    text = f"{escaped(reason.message)} ({reason.code.value})" + f"; {WAITS_FOR_TURN}" * tunnel.waits_for_turn
    hint = with_guide_link(escaped(reason.hint), reason.code)
    note = Note((escaped(tunnel.name),), text, hint, tunnel.next_attempt_at)
    yield (reason.code, _without_its_own(text, tunnel), _without_its_own(hint, tunnel)), note


def _warnings(tunnel: TunnelStatus) -> Iterator[tuple[object, Note]]:
    for warning in tunnel.warnings:
        text = f"warning: {escaped(warning.message)} ({escaped(warning.code)})"
        hint = escaped(warning.hint)
        key = (warning.code, _without_its_own(text, tunnel), _without_its_own(hint, tunnel))
        yield key, Note((escaped(tunnel.name),), text, hint, is_warning=True)


def _without_its_own(text: str, tunnel: TunnelStatus) -> str:
    """Return the text without the tunnel's own name and port, in which tunnels with the same trouble differ."""
    words = [each.strip(".,;:()'`\"") for each in text.split()]
    own = {tunnel.name, str(tunnel.listen_port)}
    return " ".join("" if each in own or each.endswith(f":{tunnel.listen_port}") else each for each in words)


def _merged(found: Iterable[tuple[object, Note]]) -> list[Note]:
    groups: dict[object, list[Note]] = {}
    for key, note in found:
        groups.setdefault(key, []).append(note)
    return [_one_note(group) for group in groups.values()]


def _one_note(group: Sequence[Note]) -> Note:
    first = group[0]
    attempts = [note.next_attempt_at for note in group if note.next_attempt_at is not None]
    names = tuple(note.names[0] for note in group)
    text, hint = (_of_any(names, part) for part in (first.text, first.hint))
    return Note(names, text, hint, min(attempts, default=None), first.is_warning)


def _of_any(names: tuple[str, ...], text: str) -> str:
    """Return the text of the first tunnel as that of all: of several, its commands are for NAME."""
    if len(names) == 1:
        return text
    return re.sub(rf"(\bioconnect [a-z]+ ){re.escape(names[0])}(?![\w-])", r"\1NAME", text)
