"""`ioconnect pin`: fetch a jumphost's host keys, have them verified, pin them.

No key is trusted by default: a fingerprint that was told by other means accepts one key, a person on the terminal or
`--yes` all that are shown. `--yes` does not replace a pin: that takes a fingerprint, or a person.
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
from ioconnect.errors import ConfigInvalid, HostKeyChanged, HostKeyUnpinned, UsageFault
from ioconnect.escape import escaped
from ioconnect.keys import known_hosts, public_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ioconnect.config.addresses import HostPort
    from ioconnect.config.configuration import Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.console.invocation import Invocation
    from ioconnect.console.terminal import Terminal

FETCH_TIMEOUT = 30.0  # seconds, for all key types together
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@command(
    "pin",
    examples=[
        "ioconnect pin",
        "ioconnect pin orders --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrtYkwPVq2W5hKsYk3WyPbCM",
    ],
)
@name_argument
@click.option("--fingerprint", metavar="SHA256:…", help="Pin the key that has this fingerprint, and no other.")
@click.option("--yes", is_flag=True, help="Pin whatever is shown, if nothing is pinned yet.")
@json_option
@click.pass_obj
def pin(invocation: Invocation, name: str | None, fingerprint: str | None, *, yes: bool) -> None:
    """Fetch the jumphost's host keys and pin them.

    Their fingerprints are shown; compare them with what Integrate.io told you. Nothing is ever sent to a jumphost
    whose key is not pinned.
    """
    tunnel = selection.tunnel(invocation.config, name)
    before = _pinned(invocation, tunnel.jumphost) if invocation.as_json else set()
    fingerprints = pin_host_keys(tunnel, invocation.paths, invocation.terminal, Consent(fingerprint, yes=yes))
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


def pin_host_keys(tunnel: Tunnel, paths: Paths, terminal: Terminal, consent: Consent) -> tuple[str, ...]:
    """Pin the tunnel's jumphost and return the fingerprints of what is pinned now.

    Raises UsageFault, HostKeyChanged and HostKeyUnpinned (nothing is stored then), CannotCreate, and what the
    connection to the jumphost raises.
    """
    from ioconnect.agent.session import keyscan  # noqa: PLC0415  brings paramiko

    consent.check(interactive=terminal.is_interactive)
    jumphost = tunnel.jumphost
    terminal.say(f"Fetching the host keys of {jumphost} …")
    with terminal.busy(f"waiting for {jumphost}"):
        shown = keyscan.fetch(jumphost, proxy=tunnel.proxy, deadline=time.monotonic() + FETCH_TIMEOUT)
    pins = known_hosts.load(paths.known_hosts)
    _refuse_revoked(pins, jumphost, shown)
    terminal.say("\n".join(f"  {public_keys.key_type(blob):20} {public_keys.fingerprint(blob)}" for blob in shown))
    pinned = pins.blobs_for(jumphost.host, jumphost.port)
    chosen = _accepted(jumphost, shown, pinned, terminal, consent)
    if set(chosen) == set(pinned):
        terminal.say(f"{jumphost} is pinned to this already.")
    else:
        known_hosts.pin(paths.known_hosts, jumphost.host, jumphost.port, chosen)
        terminal.say(f"Pinned {jumphost} in {paths.known_hosts}.")
    return tuple(public_keys.fingerprint(blob) for blob in chosen)


def contradicts(pinned: Sequence[bytes], shown: Sequence[bytes]) -> bool:
    """Whether a host shows another key than the pinned one: none of them, or a different one of a pinned type."""
    if not pinned:
        return False
    types = {public_keys.key_type(blob) for blob in pinned}
    new = [blob for blob in shown if blob not in pinned]
    return len(new) == len(shown) or any(public_keys.key_type(blob) in types for blob in new)


def _accepted(
    jumphost: HostPort, shown: Sequence[bytes], pinned: Sequence[bytes], terminal: Terminal, consent: Consent
) -> Sequence[bytes]:
    """Return those of the shown keys that are to be pinned. Raises HostKeyChanged, HostKeyUnpinned, UsageFault."""
    if consent.fingerprint is not None:
        return _matching(jumphost, shown, checked_fingerprint(consent.fingerprint))
    changed = contradicts(pinned, shown)
    if consent.yes:
        if changed:
            raise _changed(jumphost, "pinned", _fingerprints(pinned), shown)
        return shown
    if set(shown) == set(pinned):
        return shown
    if changed:
        terminal.say(f"THE HOST KEY OF {jumphost} HAS CHANGED. Pinned until now: {_fingerprints(pinned)}")
    typed = terminal.choose("Are these what Integrate.io told you? (yes, no, or the fingerprint you were told)")
    if typed.startswith("SHA256:"):
        return _matching(jumphost, shown, checked_fingerprint(typed))
    if typed.lower() in ("y", "yes"):
        return shown
    raise HostKeyUnpinned(f"nothing was pinned for {jumphost}", hint="Ask Integrate.io for the fingerprint.")


def _matching(jumphost: HostPort, shown: Sequence[bytes], fingerprint: str) -> Sequence[bytes]:
    matching = [blob for blob in shown if public_keys.fingerprint(blob) == fingerprint]
    if not matching:
        raise _changed(jumphost, "expected", fingerprint, shown)
    return matching


def _changed(jumphost: HostPort, role: str, fingerprints: str, shown: Sequence[bytes]) -> HostKeyChanged:
    return HostKeyChanged(
        f"{jumphost} does not show the {role} host key\n{role}: {fingerprints}\nshown: {_fingerprints(shown)}",
        hint="Nothing was stored. Ask Integrate.io which one is right; if it is a shown one, "
        "ioconnect pin --fingerprint SHA256:… accepts it.",
    )


def _refuse_revoked(pins: known_hosts.Pins, jumphost: HostPort, shown: Sequence[bytes]) -> None:
    statuses = {blob: pins.check(jumphost.host, jumphost.port, blob) for blob in shown}
    revoked = [blob for blob, status in statuses.items() if status is known_hosts.HostKeyStatus.REVOKED]
    if revoked:
        raise HostKeyChanged(
            f"{jumphost} shows a host key that is marked as revoked: {_fingerprints(revoked)}",
            hint="Nothing was stored. Somebody may pose as the jumphost: ask Integrate.io.",
        )


def _fingerprints(blobs: Iterable[bytes]) -> str:
    return ", ".join(public_keys.fingerprint(blob) for blob in blobs)
