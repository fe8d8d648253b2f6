"""Which tunnel is meant: the named one, the only one, or `default`.

Pure.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ioconnect.errors import ConfigInvalid, UsageFault
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.config.configuration import Config, Tunnel

DEFAULT_NAME = "default"
MOST_NAMES_SHOWN = 10


def default_name(config: Config) -> str:
    """Return the name that is meant when none is given: the only tunnel's, else `default`."""
    return config.tunnels[0].name if len(config.tunnels) == 1 else DEFAULT_NAME


def tunnel(config: Config, name: str | None) -> Tunnel:
    """Return the tunnel that is meant. Raises ConfigInvalid if there is none at all, UsageFault if not this one."""
    if not config.tunnels:
        raise ConfigInvalid(
            "no tunnel is set up yet", hint="ioconnect register --endpoint HOST:PORT --to HOST:PORT sets one up."
        )
    wanted = default_name(config) if name is None else name
    for candidate in config.tunnels:
        if candidate.name == wanted:
            return candidate
    names = [candidate.name for candidate in config.tunnels]
    if name is None:
        raise UsageFault(f"there are {len(names)} tunnels: say which one", hint=_known(names))
    raise UsageFault(f'no tunnel is called "{escaped(name)}"', hint=_nearest(name, names))


def chosen(config: Config, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as they are, each once; every tunnel's if none is given. Raises as `tunnel` does."""
    if not names:
        tunnel(config, config.tunnels[0].name if config.tunnels else None)
        return tuple(candidate.name for candidate in config.tunnels)
    return tuple(dict.fromkeys(tunnel(config, name).name for name in names))


def _nearest(name: str, names: Sequence[str]) -> str:
    alike = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(alike)}?" if alike else _known(names)


def _known(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES_SHOWN])
    return f"There are: {shown}" + (", …" if len(names) > MOST_NAMES_SHOWN else "")
