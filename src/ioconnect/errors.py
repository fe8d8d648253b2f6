"""Every fault that ioconnect can name: its reason code, its exit code, and what the agent does about it.

Pure. *Remote faults are weather, local faults are errors*: a fault's disposition says whether the agent tries
again (and how patiently) or leaves at once with the fault's exit code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

GUIDE = "docs/troubleshooting.md"  # has a section for every reason code, with the code as its anchor


class ExitCode(IntEnum):
    """What the command leaves with (sysexits.h)."""

    OK = 0
    USAGE = 64
    NO_INPUT = 66  # identity missing or unreadable
    NO_HOST = 68  # a name does not resolve
    UNAVAILABLE = 69  # unreachable, refused, silent; status: the agent is not running
    SOFTWARE = 70  # a bug
    OS_ERROR = 71  # the system refused
    CANNOT_CREATE = 73
    TEMP_FAIL = 75  # alive but not connected, port busy, turned away for now
    PROTOCOL = 76  # host key changed or not the expected one
    NO_PERMISSION = 77  # key not accepted, forward not permitted
    CONFIG = 78  # configuration, host key not pinned
    INTERRUPTED = 130


class ReasonCode(str, Enum):
    """Why a tunnel is not connected, or a check failed; the machine-readable half of a `Reason`."""

    DNS_FAILED = "dns_failed"
    UNREACHABLE = "unreachable"
    PROXY_REFUSED = "proxy_refused"
    BANNER_TIMEOUT = "banner_timeout"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    PENALIZED = "penalized"
    HOST_KEY_UNPINNED = "host_key_unpinned"
    HOST_KEY_CHANGED = "host_key_changed"
    AUTH_REFUSED = "auth_refused"
    FORWARD_NOT_PERMITTED = "forward_not_permitted"
    PORT_BUSY = "port_busy"
    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    CONNECTION_LOST = "connection_lost"
    TARGET_UNREACHABLE = "target_unreachable"
    CONFIG_INVALID = "config_invalid"
    IDENTITY_MISSING = "identity_missing"
    IDENTITY_UNREADABLE = "identity_unreadable"


class Disposition(Enum):
    """What the agent does about a fault; each but EXIT is a retry class of `agent.backoff`."""

    RETRY = "retry"  # network weather: soon, then at most 15 s apart
    CROWDED = "crowded"  # the jumphost has too many unauthenticated connections: 5 to 20 s
    PENALIZED = "penalized"  # the jumphost punishes this address for now: at least a minute
    HOLD = "hold"  # the jumphost said no; slow, loud, until somebody changes something
    ASK_AGAIN = "ask_again"  # signed in, the port is held elsewhere: ask on the same session
    EXIT = "exit"  # local: leave at once with the fault's exit code


@dataclass(frozen=True, slots=True)
class Reason:
    """A fault as people and scripts see it: what failed with what, and what to do next."""

    code: ReasonCode
    message: str
    hint: str


def guided(hint: str, code: ReasonCode | None) -> str:
    """Return a hint as it is shown on screen: it ends with where the guide tells more. Without a code, as it is."""
    if code is None:
        return hint
    link = f"{GUIDE}#{code.value}"
    if not hint:
        return f"More: {link}"
    return f"{hint} More: {link}" if hint.endswith((".", "!", "?", ")", '"')) else f"{hint}; more: {link}"


class Fault(Exception):
    """Base of all that ioconnect raises on purpose: `message` says what failed with what, `hint` what to do.

    Subclasses with a `code` are reasons that status can show; those without belong to one-shot commands only.
    """

    exit_code: ExitCode = ExitCode.SOFTWARE
    disposition: Disposition = Disposition.EXIT
    code: ReasonCode | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def reason(self) -> Reason:
        """This fault as a `Reason`; only for faults that have a code."""
        assert self.code is not None, f"{type(self).__name__} has no reason code"
        return Reason(self.code, self.message, self.hint)


class UsageFault(Fault):
    """The command line asks for something that makes no sense."""

    exit_code = ExitCode.USAGE


class AgentNotRunning(Fault):
    """A command that needs the agent found none."""

    exit_code = ExitCode.UNAVAILABLE


class SystemRefused(Fault):
    """The operating system, or a program of it, said no."""

    exit_code = ExitCode.OS_ERROR


class CannotCreate(Fault):
    """A file or folder cannot be written (permissions, read-only, disk full)."""

    exit_code = ExitCode.CANNOT_CREATE


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One thing wrong in the configuration: `path` is the key's path (`tunnels.orders.ssh_port`)."""

    path: str
    message: str


class ConfigInvalid(Fault):
    """The configuration cannot be used; `faults` holds everything that is wrong with it, not just the first."""

    exit_code = ExitCode.CONFIG
    code = ReasonCode.CONFIG_INVALID

    def __init__(self, message: str, *, hint: str = "", faults: tuple[ConfigFault, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.faults = faults


class IdentityMissing(Fault):
    """There is no private key where one is expected."""

    exit_code = ExitCode.NO_INPUT
    code = ReasonCode.IDENTITY_MISSING


class IdentityUnreadable(Fault):
    """The private key is there but cannot be used: mode, type, damage, passphrase."""

    exit_code = ExitCode.NO_INPUT
    code = ReasonCode.IDENTITY_UNREADABLE


class HostKeyUnpinned(Fault):
    """No pin for this jumphost; nothing is sent to a host that nobody vouched for."""

    exit_code = ExitCode.CONFIG
    code = ReasonCode.HOST_KEY_UNPINNED


class HostKeyChanged(Fault):
    """The jumphost shows a key that is not the pinned one; no authentication was attempted."""

    exit_code = ExitCode.PROTOCOL
    disposition = Disposition.HOLD
    code = ReasonCode.HOST_KEY_CHANGED


class NameNotResolved(Fault):
    """A host name has no address."""

    exit_code = ExitCode.NO_HOST
    disposition = Disposition.RETRY
    code = ReasonCode.DNS_FAILED


class Unreachable(Fault):
    """No TCP connection: refused, no route, timed out."""

    exit_code = ExitCode.UNAVAILABLE
    disposition = Disposition.RETRY
    code = ReasonCode.UNREACHABLE


class ProxyRefused(Fault):
    """The proxy answered, and not with a connection."""

    exit_code = ExitCode.UNAVAILABLE
    disposition = Disposition.RETRY
    code = ReasonCode.PROXY_REFUSED


class BannerTimeout(Fault):
    """Connected, but no SSH server introduced itself in time."""

    exit_code = ExitCode.UNAVAILABLE
    disposition = Disposition.RETRY
    code = ReasonCode.BANNER_TIMEOUT


class TooManyConnections(Fault):
    """Sshd turned us away with "Exceeded MaxStartups"."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.CROWDED
    code = ReasonCode.TOO_MANY_CONNECTIONS


class Penalized(Fault):
    """Sshd turned us away with "Not allowed at this time" (PerSourcePenalties)."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.PENALIZED
    code = ReasonCode.PENALIZED


class AuthRefused(Fault):
    """The jumphost does not accept our key."""

    exit_code = ExitCode.NO_PERMISSION
    disposition = Disposition.HOLD
    code = ReasonCode.AUTH_REFUSED


class ForwardNotPermitted(Fault):
    """The jumphost does not let this key listen on this port."""

    exit_code = ExitCode.NO_PERMISSION
    disposition = Disposition.HOLD
    code = ReasonCode.FORWARD_NOT_PERMITTED


class PortBusy(Fault):
    """Something else holds the port on the jumphost: another agent, or our own dead session."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.ASK_AGAIN
    code = ReasonCode.PORT_BUSY


class KeepaliveTimeout(Fault):
    """The jumphost stopped answering."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.RETRY
    code = ReasonCode.KEEPALIVE_TIMEOUT


class ConnectionLost(Fault):
    """The connection to the jumphost ended."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.RETRY
    code = ReasonCode.CONNECTION_LOST


class TargetUnreachable(Fault):
    """The database does not accept a connection."""

    exit_code = ExitCode.UNAVAILABLE
    disposition = Disposition.RETRY
    code = ReasonCode.TARGET_UNREACHABLE


def exit_code_of(code: ReasonCode) -> ExitCode:
    """Return what a one-shot command leaves with for this reason: the code of the fault that it is of."""
    return _EXIT_CODES[code]


_EXIT_CODES = {fault.code: fault.exit_code for fault in Fault.__subclasses__() if fault.code is not None}
