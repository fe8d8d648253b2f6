"""`ioconnect pin`: fetch a jumphost's host keys, have them verified, pin them.

No key is trusted by default: a fingerprint that was told by other means accepts one key, a person on the terminal or
`--yes` the one that is shown. `--yes` is for a jumphost that no line of the pins is about, usable or not: it neither
replaces a pin nor adds a key beside one. Each key is shown by a connection of its own, so a right one vouches for no
other. That takes a fingerprint, which replaces pins of its own type only; a person may replace all.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ioconnect.console import selection
from ioconnect.console.command_group import command, json_option, name_argument
from ioconnect.errors import AlgorithmsMismatch, ConfigInvalid, HostKeyChanged, HostKeyUnpinned, UsageFault
from ioconnect.escape import escaped
from ioconnect.keys import known_hosts, public_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ioconnect.config.addresses import HostPort
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.console.invocation import Invocation
    from ioconnect.console.terminal import Terminal

FETCH_TIMEOUT = 30.0  # seconds, for all keys together
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@command(
    "pin",
    examples=[
        "ioconnect pin",
        "ioconnect pin orders --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrtYkwPVq2W5hKsYk3WyPbCM",
    ],
)
@name_argument
@click.option(
    "--fingerprint",
    metavar="SHA256:…",
    help="Pin the key that has this fingerprint, in the place of pins of its type; those of other types stay.",
)
@click.option("--yes", is_flag=True, help="Pin the key that is shown, if nothing is pinned yet.")
@json_option
@click.pass_obj
def pin(invocation: Invocation, name: str | None, fingerprint: str | None, *, yes: bool) -> None:
    """Fetch the jumphost's host key and pin it.

    Its fingerprint is shown; compare it with what Integrate.io told you. Nothing is ever sent to a jumphost whose
    key is not pinned.
    """
    tunnel = selection.tunnel(invocation.config, name)
    before = _pinned(invocation, tunnel.jumphost) if invocation.as_json else set()
    consent = Consent(fingerprint, yes=yes)
    settings = invocation.config.agent
    fingerprints = pin_host_keys(tunnel, settings, invocation.paths, invocation.terminal, consent)
    invocation.answer(
        "\n".join(fingerprints),
        name=tunnel.name,
        jumphost=str(tunnel.jumphost),
        fingerprints=fingerprints,
        changed=set(fingerprints) != before,
    )


def _pinned(invocation: Invocation, jumphost: HostPort) -> set[str]:
    """Return the fingerprints that are pinned for the jumphost; none if the file is damaged, as `pin` says itself."""
    with contextlib.suppress(ConfigInvalid):
        return set(known_hosts.load(invocation.paths.known_hosts).fingerprints_for(jumphost.host, jumphost.port))
    return set()


@dataclass(frozen=True, slots=True)
class Consent:
    """Whose host keys are trusted: the one with this fingerprint, or whoever answers."""

    fingerprint: str | None = None
    yes: bool = False

    def check(self, *, interactive: bool) -> None:
        """Raise UsageFault if this cannot lead to a pin, before anything is fetched."""
        if self.fingerprint is not None:
            checked_fingerprint(self.fingerprint)
        elif not self.yes and not interactive:
            raise UsageFault(
                "nobody can be asked whether the host keys are the right ones: this is not a terminal",
                hint="Give --fingerprint SHA256:… as Integrate.io told it, or --yes to trust whoever answers now.",
            )


def checked_fingerprint(text: str) -> str:
    """Return a fingerprint without base64's padding, as OpenSSH writes it. Raises UsageFault."""
    fingerprint = text.strip().rstrip("=")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise UsageFault(
            f'"{escaped(text, limit=80)}" is not a fingerprint',
            hint="It looks like SHA256:uNiVztksCsDhcc0u9e8BrtYkwPVq2W5hKsYk3WyPbCM, as ssh-keygen -l shows it.",
        )
    return fingerprint


class _ShownKeys:
    """The keys that the jumphost shows, fetched and told one by one; those of pinned types first."""

    def __init__(self, jumphost: HostPort, keys: Iterator[bytes], pins: known_hosts.Pins, terminal: Terminal) -> None:
        self.blobs: list[bytes] = []
        self._jumphost = jumphost
        self._keys = keys
        self._pins = pins
        self._pinned = pins.blobs_for(jumphost.host, jumphost.port)
        self._terminal = terminal

    def fetch(self, fingerprint: str | None) -> bytes | None:
        """Return the key with this fingerprint (None: any), None if there is none; fetches no more than it takes.

        Raises HostKeyChanged for a revoked key, AlgorithmsMismatch for one that is too short.
        """
        for blob in self.blobs:
            if public_keys.fingerprint(blob) == fingerprint:
                return blob
        while True:
            with self._terminal.busy(f"waiting for {self._jumphost}"):
                blob = next(self._keys, b"")
            if not blob:
                return None
            self._tell(blob)
            if fingerprint in (None, public_keys.fingerprint(blob)):
                return blob

    def _tell(self, blob: bytes) -> None:
        shown = public_keys.fingerprint(blob)
        _refuse(self._jumphost, shown, self._pins.check(self._jumphost.host, self._jumphost.port, blob))
        if blob in self._pinned:
            mark = "pinned"
        else:
            mark = "CONTRADICTS THE PIN" if contradicts(self._pinned, blob) else "new"
        self._terminal.say(f"  {public_keys.key_type(blob):20} {shown}  {mark}")
        self.blobs.append(blob)


def pin_host_keys(
    tunnel: Tunnel, settings: AgentSettings, paths: Paths, terminal: Terminal, consent: Consent
) -> tuple[str, ...]:
    """Pin the tunnel's jumphost and return the fingerprints of what is pinned now.

    Raises UsageFault, HostKeyChanged and HostKeyUnpinned (nothing is stored then), CannotCreate, and what the
    connection to the jumphost raises.
    """
    from ioconnect.agent.session import keyscan  # noqa: PLC0415  brings paramiko

    consent.check(interactive=terminal.is_interactive)
    jumphost = tunnel.jumphost
    pins = known_hosts.load(paths.known_hosts)
    pinned = pins.blobs_for(jumphost.host, jumphost.port)
    terminal.say(f"Fetching the host key of {jumphost} …")
    keys = keyscan.shown_keys(
        jumphost,
        proxy=tunnel.proxy,
        bind_address=tunnel.bind_address,
        deadline=time.monotonic() + FETCH_TIMEOUT,
        allowed=settings.allowed_algorithms,
        pinned_types=pins.types_for(jumphost.host, jumphost.port),
    )
    shown = _ShownKeys(jumphost, keys, pins, terminal)
    chosen = _accepted(jumphost, shown, pins, terminal, consent)
    if set(chosen) == set(pinned):
        terminal.say(f"{jumphost} is pinned to this already; a further key is added by its own --fingerprint.")
    else:
        known_hosts.pin(paths.known_hosts, jumphost.host, jumphost.port, chosen, seen=pins)
        terminal.say(f"Pinned {jumphost} in {paths.known_hosts}.")
    return tuple(public_keys.fingerprint(blob) for blob in chosen)


def contradicts(pinned: Sequence[bytes], shown: bytes) -> bool:
    """Whether other keys of its type are pinned, and not the one that is shown."""
    return shown not in pinned and public_keys.key_type(shown) in map(public_keys.key_type, pinned)


def _accepted(
    jumphost: HostPort, shown: _ShownKeys, pins: known_hosts.Pins, terminal: Terminal, consent: Consent
) -> Sequence[bytes]:
    """Return the keys that are to be pinned from now on. Raises HostKeyChanged, HostKeyUnpinned, UsageFault."""
    pinned = pins.blobs_for(jumphost.host, jumphost.port)
    if consent.fingerprint is not None:
        return _with_fingerprint(jumphost, shown, pinned, checked_fingerprint(consent.fingerprint))
    key = shown.fetch(None)
    assert key is not None, "shown_keys yields one or raises"
    if key in pinned:
        return pinned
    lines = pins.mentions(jumphost.host, jumphost.port)
    if consent.yes:
        if lines:
            raise _changed(jumphost, "pinned", _fingerprints(pinned) or known_hosts.no_usable(lines), shown.blobs)
        return [key]
    if pinned:
        terminal.say(f"THE HOST KEY OF {jumphost} HAS CHANGED. Pinned until now: {_fingerprints(pinned)}")
    elif lines:
        terminal.say(f"{jumphost} IS KNOWN ALREADY. Pinned until now: {known_hosts.no_usable(lines)}")
    typed = terminal.choose("Is this what Integrate.io told you? (yes, no, or the fingerprint you were told)")
    if typed.startswith("SHA256:"):
        return _with_fingerprint(jumphost, shown, pinned, checked_fingerprint(typed))
    if typed.lower() in ("y", "yes"):
        return [key]
    raise HostKeyUnpinned(f"nothing was pinned for {jumphost}", hint="Ask Integrate.io for the fingerprint.")


def _with_fingerprint(
    jumphost: HostPort, shown: _ShownKeys, pinned: Sequence[bytes], fingerprint: str
) -> Sequence[bytes]:
    """Return the key with this fingerprint, in the place of the pins of its type and beside all others.

    Raises HostKeyChanged if it was not shown, or if a key of another type was that contradicts a pin: whoever is in
    between may show that one himself, and pass on the connection that shows this one.
    """
    key = shown.fetch(fingerprint)
    if key is None:
        raise _changed(jumphost, "expected", fingerprint, shown.blobs)
    kept = [blob for blob in pinned if public_keys.key_type(blob) != public_keys.key_type(key)]
    if any(contradicts(kept, blob) for blob in shown.blobs):
        fault = _changed(jumphost, "pinned", _fingerprints(kept), shown.blobs)
        fault.hint = f"{fault.hint} If they say that a pinned key is gone, remove its line from known_hosts."
        raise fault
    return pinned if key in pinned else [*kept, key]


def _changed(jumphost: HostPort, role: str, fingerprints: str, shown: Sequence[bytes]) -> HostKeyChanged:
    return HostKeyChanged(
        f"{jumphost} does not show the {role} host key\n{role}: {fingerprints}\nshown: {_fingerprints(shown)}",
        hint="Nothing was stored. Somebody may pose as the jumphost: ask Integrate.io, by other means than this "
        "connection, which one is right. ioconnect pin --fingerprint with the one that they tell you accepts it.",
    )


def _refuse(jumphost: HostPort, shown: str, status: known_hosts.HostKeyStatus) -> None:
    if status is known_hosts.HostKeyStatus.REVOKED:
        raise HostKeyChanged(
            f"{jumphost} shows a host key that is marked as revoked: {shown}",
            hint="Nothing was stored. Somebody may pose as the jumphost: ask Integrate.io.",
        )
    if status is known_hosts.HostKeyStatus.TOO_SHORT:
        raise AlgorithmsMismatch(
            f"{jumphost} shows an RSA host key of less than {public_keys.MIN_RSA_BITS} bits: {shown}",
            hint="Nothing was stored. Ask Integrate.io for a jumphost with an ed25519 host key.",
        )


def _fingerprints(blobs: Iterable[bytes]) -> str:
    return ", ".join(public_keys.fingerprint(blob) for blob in blobs)
