"""Algorithms for old jumphosts, which `[crypto] allow` adds to those that are offered by default.

Pure.
"""

from __future__ import annotations

from ioconnect.config.toml_tables import nearest, shown, text

KEX = (
    "curve25519-sha256@libssh.org",  # before OpenSSH 7.4; the same as curve25519-sha256
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",  # the jumphost chooses a group, of 2048 to 4096 bits
    "diffie-hellman-group14-sha256",  # 112 bits of strength
)
MACS = ("hmac-sha2-512", "hmac-sha2-256")  # encrypt-and-MAC
ALLOWED = (*KEX, *MACS)


def allowed_algorithms(value: object) -> tuple[str, ...]:
    """Require an array of names from ALLOWED. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError(f'must be an array, like ["{ALLOWED[-1]}"], not {shown(value)}')  # noqa: TRY004  one type for every refusal
    for name in map(text, value):
        if name not in ALLOWED:
            meant = nearest(name, ALLOWED)
            said = f"did you mean {meant}?" if meant else f"there are: {', '.join(ALLOWED)}"
            raise ValueError(f"{shown(name)} is offered anyway, or cannot be; {said}")
    return tuple(dict.fromkeys(value))
