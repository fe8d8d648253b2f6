"""Ed25519 public key lines and authorized_keys files (sshd(8)), as far as tunnels need them.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ioconnect.config.addresses import port as parse_port
from ioconnect.errors import UsageFault
from ioconnect.escape import escaped
from ioconnect.keys import public_keys

ED25519 = "ssh-ed25519"
PERMIT_HOST = "localhost"  # what a key with an allocated port must ask for
# sshd(8), AUTHORIZED_KEYS FILE FORMAT: these take nothing away that a jumphost without shells would have given.
HARMLESS_OPTIONS = frozenset({"no-agent-forwarding", "no-pty", "no-user-rc", "no-x11-forwarding", "port-forwarding"})


class NotEd25519(UsageFault):
    """A text that should be an ssh-ed25519 public key is none."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An ssh-ed25519 public key; `blob` is its encoding in RFC 8709 §4."""

    blob: bytes

    @property
    def line(self) -> str:
        """`ssh-ed25519 AAAA…`, without a comment."""
        return public_keys.encode(self.blob)

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh-keygen -l shows it."""
        return public_keys.fingerprint(self.blob)


@dataclass(frozen=True, slots=True)
class Grant:
    """A key that may sign in, and the ports where it may listen (None: any)."""

    key: PublicKey
    ports: frozenset[int] | None


def parse_public_key(text: str) -> PublicKey:
    """Return the key of a public key line; a comment is allowed. Raises NotEd25519."""
    words = text.split(maxsplit=2)
    hint = "Give the whole line of id_ed25519.pub."
    if len(words) < 2 or words[0] != ED25519:  # noqa: PLR2004  type and key
        raise NotEd25519(f"not an {ED25519} public key", hint=hint)
    try:
        return PublicKey(public_keys.decode(words[0], words[1]))
    except ValueError as error:
        raise NotEd25519(f"not an {ED25519} public key: {error}", hint=hint) from None


def parse_authorized_keys(text: str) -> tuple[list[Grant], list[str]]:
    """Return the grants of an authorized_keys file, and a complaint for each line that was not understood.

    A line is an optional `permitlisten="localhost:PORT"` (repeatable, beside options that change nothing here) and
    an ssh-ed25519 key. A line with any other option grants nothing: what it would restrict is not known here.
    """
    grants, complaints = [], []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            grants.append(_parse_grant(line))
        except (NotEd25519, ValueError) as error:
            complaints.append(f"line {number}: {error}")
    return grants, complaints


def _parse_grant(line: str) -> Grant:
    if line.startswith((f"{ED25519} ", f"{ED25519}\t")):
        return Grant(parse_public_key(line), None)
    options, rest = _split_options(line)
    ports: set[int] = set()
    for option in options:
        name, _, value = option.partition("=")
        if name.lower() == "permitlisten":
            ports.add(_permitted_port(value))
        elif name.lower() == "restrict" and "port-forwarding" in options:
            continue
        elif name.lower() not in HARMLESS_OPTIONS:
            raise ValueError(f"the option {escaped(name)} is not known here")
    return Grant(parse_public_key(rest), frozenset(ports) or None)


def _permitted_port(value: str) -> int:
    host, _, port = value.strip('"').rpartition(":")
    if host != PERMIT_HOST:
        raise ValueError(f'permitlisten must be "{PERMIT_HOST}:PORT"')
    return parse_port(port)


def _split_options(line: str) -> tuple[list[str], str]:
    """Split off the options: comma-separated up to the first blank outside double quotes."""
    quoted, start = False, 0
    options: list[str] = []
    for index, character in enumerate(line):
        if character == '"':
            quoted = not quoted
        elif character in ", \t" and not quoted:
            options.append(line[start:index])
            start = index + 1
            if character != ",":
                return options, line[start:].strip()
    raise NotEd25519("there is no key", hint="")
