"""Facts about this machine: file permissions, FIPS mode, clock, proxies, keyring, versions.

Changes nothing, but for a random value in the keyring, which is removed again.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import ssl
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import ioconnect
from ioconnect import __version__
from ioconnect.agent.dial.proxy import VARIABLES, redacted
from ioconnect.config import configuration
from ioconnect.config.addresses import has_password
from ioconnect.custody import strict_modes
from ioconnect.custody.entries import Untrusted, custody_of, entry
from ioconnect.custody.mounts import may_be_secret
from ioconnect.doctor.facts import Fact, passed, skipped, warning
from ioconnect.errors import SystemRefused
from ioconnect.escape import escaped
from ioconnect.installers.programs import run
from ioconnect.keys.credentials import identity_path, is_copy
from ioconnect.keys.identity import how_to_close
from ioconnect.keys.passphrases import keyring_backend
from ioconnect.status.snapshots import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ioconnect.config.configuration import Config
    from ioconnect.config.paths import Paths

FIPS = Path("/proc/sys/crypto/fips_enabled")
KEYRING_TIMEOUT = 8.0  # seconds
QUERY_TIMEOUT = 5.0  # seconds for a query to systemd
MAX_AHEAD = 120.0  # seconds that a modification time may be in the future
LIBRARIES = ("paramiko", "cryptography", "click", "rich", "platformdirs", "keyring", "tomli-w")


def permissions(config: Config, paths: Paths, account: int | None) -> Fact:
    """Check that others can neither read the secrets nor change the files that the agent trusts, and their folders.

    They, and for root the program, must be this user's, root's, or those of `account`, the uid of an agent that runs.
    systemd guards the identities that it handed over: their mode says nothing.
    """
    identities = {identity_path(tunnel, config.agent, paths) for tunnel in config.tunnels} or {paths.identity}
    own = [path for path in identities if not is_copy(path)]
    secret = [*own, *([paths.config] if any(has_password(one.proxy) for one in config.tunnels) else [])]
    acted_on = [*configuration.stamps(paths.config), paths.known_hosts]
    judged = [*own, *(acted_on if os.geteuid() or account else ())]  # of root's own agent `faults` tells
    problems = [told for told in map(_readable, secret) if told]
    trusted = strict_modes.trusted(account) | {os.geteuid()}
    changeable = [custody_of(path, trusted=trusted) for path in judged]
    problems += dict.fromkeys(f"{found.description}: {found.remedy}" for found in changeable if found is not None)
    problems += [f"{fault.message}: {fault.hint}" for fault in strict_modes.faults(acted_on, account=account)]
    if problems:
        return warning("key_permissions", "\n".join(problems), "What others may read or write is theirs too.")
    count = "identity" if len(identities) == 1 else f"{len(identities)} identities"
    return passed("key_permissions", f"only their owner may read or write the {count}")


def _readable(path: Path) -> str:
    """Return that others may read a file, and what to do; "" if not, or if root does not follow the path."""
    try:
        with entry(path, follow=True) as found:
            custody = found.custody
            facts = path.stat() if found.folder is None else found.facts()
            resolved = Path(os.path.realpath(path)) if found.folder is None else found.resolved
    except (OSError, Untrusted):
        return ""
    if facts is None or not facts.st_mode & 0o044:
        return ""
    is_secret = may_be_secret(resolved)
    close = (
        "it is used, as a Secret of Kubernetes, whose mode nobody can change here"
        if is_secret
        else how_to_close(path, custody)
    )
    return f"others may read {path}: {close}"


def fips() -> Fact:
    """Check whether the kernel is in FIPS mode (FIPS 140)."""
    try:
        enabled = FIPS.read_text().strip() == "1"
    except OSError:
        return skipped("fips", "cannot be told on this machine")
    if not enabled:
        return passed("fips", "off")
    return warning(
        "fips",
        "on: this machine asks for approved algorithms only",
        "ioconnect signs in with ssh-ed25519 (FIPS 186-5); an older OpenSSL in FIPS mode may refuse it.",
    )


def algorithms(config: Config) -> Fact:
    """Check whether algorithms are offered that are left out by default."""
    allowed = config.agent.allowed_algorithms
    if not allowed:
        return passed("algorithms", "the default ones")
    return warning(
        "algorithms",
        f"[crypto] allow = {', '.join(allowed)}: offered to every jumphost, after the default ones",
        "Remove them from config.toml once the jumphosts have been updated.",
    )


def clock(paths: Paths) -> Fact:
    """Check that the clock is synchronized and not behind the modification times of ioconnect's files."""
    now = time.time()
    known = (Path(ioconnect.__file__), paths.config, paths.identity, paths.known_hosts, paths.status)
    later = [path for path in known if _mtime(path) > now + MAX_AHEAD]
    shown = timestamp(now)
    if later:
        return warning(
            "clock",
            f"{shown}, which is before {later[0]} was written ({timestamp(_mtime(later[0]))})",
            "Set the clock: certificates of a proxy or the API look invalid, and the log's times mislead.",
        )
    synchronized = _is_synchronized()
    if synchronized is False:
        hint = "Nothing here needs it to the minute, but turn on NTP (timedatectl set-ntp true)."
        return warning("clock", f"{shown}, not synchronized", hint)
    return passed("clock", f"{shown}, {'synchronized' if synchronized else 'synchronized or not cannot be told'}")


def proxies(config: Config, environ: Mapping[str, str]) -> Fact:
    """List the configured proxies without their credentials."""
    named = [(name, environ[name]) for name in VARIABLES if environ.get(name)]
    found = [f"{name}={escaped(redacted(value))} in the environment" for name, value in named]
    found += [f"{name}={escaped(environ[name])}" for name in ("no_proxy", "NO_PROXY") if environ.get(name)]
    found += [f"proxy = {escaped(redacted(one.proxy))} for {one.name}" for one in config.tunnels if one.proxy]
    if not found:
        return passed("proxies", "none")
    if named and any(tunnel.proxy == "" for tunnel in config.tunnels):
        hint = "A service does not see this shell's variables: write proxy = … for the tunnel if it needs one."
        return warning("proxies", "\n".join(found), hint)
    return passed("proxies", "\n".join(found))


def keyring() -> Fact:
    """Check whether the keyring is usable; only an identity with a passphrase needs it."""
    try:
        return passed("keyring", f"usable: {escaped(keyring_backend(timeout=KEYRING_TIMEOUT))}")
    except SystemRefused as fault:
        return skipped("keyring", f"{fault.message}; only keygen --passphrase needs it")


def versions() -> Fact:
    """Return the versions as a fact."""
    return passed("versions", ", ".join(f"{name} {version}" for name, version in version_table().items()))


def version_table() -> dict[str, str]:
    """Return the versions of ioconnect, Python, OpenSSL, the platform and the libraries."""
    table = {
        "ioconnect": __version__,
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        "platform": platform.platform(),
    }
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            table[name] = metadata.version(name)
    return table


def _is_synchronized() -> bool | None:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(SystemRefused):
        output = run(("timedatectl", "show", "--property=NTPSynchronized"), timeout=QUERY_TIMEOUT).stdout
        found = re.search(rb"^NTPSynchronized=(yes|no)$", output, re.MULTILINE)
        return None if found is None else found[1] == b"yes"
    return None


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
