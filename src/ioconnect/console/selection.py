"""Selects tunnels of the configuration by the names on the command line; without one, the only tunnel or `default`.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioconnect.errors import ConfigInvalid, UsageFault
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ioconnect.config.configuration import Config, Tunnel

DEFAULT_NAME = "default"
MAX_NAMES_SHOWN = 10


def default_name(config: Config) -> str:
    """Return the name to use when none is given: the only tunnel's, else `default`."""
    return config.tunnels[0].name if len(config.tunnels) == 1 else DEFAULT_NAME


def tunnel(config: Config, name: str | None) -> Tunnel:
    """Return the selected tunnel. Raises UsageFault if not one is selected.

    Raises ConfigInvalid if there are none, or if the tunnel is not found and a file of config.d cannot be read.
    """
    if not config.tunnels and not config.invalid:
        raise ConfigInvalid(
            "no tunnel is set up yet", hint="ioconnect register --endpoint HOST:PORT --to HOST:PORT sets one up."
        )
    wanted = default_name(config) if name is None else name
    for candidate in config.tunnels:
        if candidate.name == wanted:
            return candidate
    names = [candidate.name for candidate in config.tunnels]
    broken = [file for file in config.invalid if not names or name in file.names or not file.names]
    if broken:
        raise broken[0].fault
    if name is None:
        raise UsageFault(f"there are {len(names)} tunnels: say which one", hint=_known(names))
    raise _unknown(name, names)


def check_known(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise UsageFault for a name that is not one of the known."""
    for name in names:
        if name not in known:
            raise _unknown(name, known)


def chosen(config: Config, names: Sequence[str]) -> tuple[str, ...]:
    """Return the given names, each once; without any, those of all enabled tunnels.

    Raises as `tunnel` does, and UsageFault for a disabled one.
    """
    if not names:
        tunnel(config, config.tunnels[0].name if config.tunnels else None)
        return tuple(candidate.name for candidate in config.enabled)
    selected = {name: tunnel(config, name) for name in names}
    for candidate in selected.values():
        if not candidate.enabled:
            raise UsageFault(
                f"the tunnel {candidate.name} is disabled",
                hint=f"Set enabled = true in [tunnels.{candidate.name}].",
            )
    return tuple(dict.fromkeys(candidate.name for candidate in selected.values()))


def _unknown(name: str, names: Sequence[str]) -> UsageFault:
    return UsageFault(f'no tunnel is called "{escaped(name)}"', hint=_suggestion(name, names))


def _suggestion(name: str, names: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415  for a mistake only

    alike = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(alike)}?" if alike else _known(names)


def _known(names: Sequence[str]) -> str:
    if not names:
        return "None is set up yet."
    shown = ", ".join(names[:MAX_NAMES_SHOWN])
    return f"There are: {shown}" + (", …" if len(names) > MAX_NAMES_SHOWN else "")
