"""How the files differ from what the agent runs: its configuration, and each session's identity and pins.

Examined when a status is asked for, never on a timer, and in the thread that asks: files are read again only if a
stat(2) shows that one has changed, or if the agent runs something else.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping  # noqa: TC003  dataclasses resolve it at run time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ioconnect.agent.supervisor.reload import compare
from ioconnect.config import configuration
from ioconnect.custody.files import ROOT_ALONE, Stamps, stamp
from ioconnect.errors import ConfigInvalid, Fault
from ioconnect.keys import identity
from ioconnect.keys.credentials import identity_path, load_identity, load_pins
from ioconnect.status import disk
from ioconnect.status.records import State, Warning_

if TYPE_CHECKING:
    from ioconnect.agent.supervisor.reload import Running, RunningTunnel
    from ioconnect.config.paths import Paths
    from ioconnect.keys.known_hosts import Pins
    from ioconnect.status.records import Snapshot

CONFIG_CHANGED = "config_changed"
IDENTITY_CHANGED = "identity_changed"
PINS_CHANGED = "pins_changed"
RELOAD = "ioconnect reload takes it over."
_SIGNED_IN = {State.CONNECTED, State.STANDBY}


@dataclass(frozen=True, slots=True)
class Differences:
    """`config_current`: the configuration says what runs (None: it cannot be read); `warnings` by tunnel."""

    config_current: bool | None
    warnings: Mapping[str, tuple[Warning_, ...]]


class Drift:
    """Compares the files with what runs; any thread."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._latest: tuple[Stamps, Running, Differences] | None = None

    def marked(self, snapshot: Snapshot, running: Running) -> Snapshot:
        """Return the snapshot with what differs, without that if the files' disk hangs. Reads files."""
        try:
            found = disk.within_timeout(self._paths.config, lambda: self._differences(running))
        except disk.DiskHangs:
            found = Differences(None, {})
        tunnels = (
            replace(tunnel, warnings=(*tunnel.warnings, *found.warnings.get(tunnel.name, ())))
            for tunnel in snapshot.tunnels
        )
        return replace(snapshot, config_current=found.config_current, tunnels=tuple(tunnels))

    def _differences(self, running: Running) -> Differences:
        with self._lock:
            stamps = self._stamps(running)  # before anything is read
            if self._latest is None or self._latest[:2] != (stamps, running):
                self._latest = stamps, running, differences(running, self._paths)
            return self._latest[2]

    def _stamps(self, running: Running) -> Stamps:
        files = {self._paths.known_hosts, self._paths.known_hosts.parent, self._paths.config.parent}  # who may write
        for tunnel in running.tunnels.values():
            files.add(identity_path(tunnel.config.tunnel, tunnel.config.settings, self._paths))
        return {**configuration.stamps(self._paths.config), **{file: stamp(file) for file in files}}


def differences(running: Running, paths: Paths) -> Differences:
    """Return how the files differ from what runs."""
    config_current, warnings = _config_differences(running, paths)
    try:
        pins = load_pins(paths)
    except ConfigInvalid as fault:
        pins = None
        unreadable = _warning(fault)
    for name, tunnel in running.tunnels.items():
        found = list(warnings.get(name, ()))
        if tunnel.state in _SIGNED_IN:
            found += _identity_differences(tunnel, paths)
            found += [unreadable] if pins is None else _pin_differences(tunnel, pins)
        if found:
            warnings[name] = tuple(found)
    return Differences(config_current, warnings)


def _config_differences(running: Running, paths: Paths) -> tuple[bool | None, dict[str, tuple[Warning_, ...]]]:
    """Return whether the configuration says what runs, and the warnings of the tunnels of which it says another."""
    configs = {name: tunnel.config for name, tunnel in running.tunnels.items()}
    try:
        config = configuration.load(paths.config, trusted=ROOT_ALONE)
    except ConfigInvalid as fault:
        if isinstance(fault.__cause__, PermissionError):  # by the account of a service; who changes it may read it
            return None, {}
        return False, dict.fromkeys(configs, (_warning(fault),))
    tunnels = tuple(tunnel for tunnel in config.enabled if not running.names or tunnel.name in running.names)
    changes = compare(configs, replace(config, tunnels=tunnels))
    changed = {new.tunnel.name for new in changes.changed}
    warnings: dict[str, tuple[Warning_, ...]] = {}
    for name, each in configs.items():
        invalid = next((file for file in config.invalid if file.leaves_out(each.tunnel)), None)
        if invalid is not None:
            warnings[name] = (_warning(invalid.fault),)
        elif name in changed:
            message = "the configuration has changed since the agent read it"
            warnings[name] = (Warning_(CONFIG_CHANGED, message, RELOAD),)
        elif name in changes.removed:
            message = "the tunnel is no longer in the configuration, or disabled"
            warnings[name] = (Warning_(CONFIG_CHANGED, message, RELOAD),)
    is_current = not (changes.added or changes.changed or changes.removed or config.invalid)
    return is_current, warnings


def _identity_differences(tunnel: RunningTunnel, paths: Paths) -> list[Warning_]:
    settings, configured = tunnel.config.settings, tunnel.config.tunnel
    path = identity_path(configured, settings, paths)
    try:
        load_identity(configured, settings, paths)
        now = identity.fingerprint(identity.public_line(path))
    except Fault as fault:
        return [_warning(fault)]
    if tunnel.identity is None or now == tunnel.identity:
        return []
    message = f"the key in {path} is {now}, the agent signed in with {tunnel.identity}"
    name = configured.name
    hint = f"Once it is handed over, ioconnect down {name} and ioconnect up {name} sign in with it."
    return [Warning_(IDENTITY_CHANGED, message, hint)]


def _pin_differences(tunnel: RunningTunnel, pins: Pins) -> list[Warning_]:
    jumphost = tunnel.config.tunnel.jumphost
    pinned = pins.fingerprints_for(jumphost.host, jumphost.port)
    if set(pinned) == set(tunnel.pinned):
        return []
    if tunnel.host_key in pinned:
        message, hint = f"the pins of {jumphost} changed after it was verified", "The next session uses them."
    else:
        message = f"the host key of {jumphost} in use, {tunnel.host_key}, is no longer pinned"
        hint = "If it is the right one: ioconnect pin. If not, ioconnect down."
    return [Warning_(PINS_CHANGED, message, hint)]


def _warning(fault: Fault) -> Warning_:
    return Warning_(fault.reason.code.value, fault.message, fault.hint)
