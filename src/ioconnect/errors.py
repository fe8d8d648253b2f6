"""Every fault that ioconnect can name: its reason code, its exit code, and whether the agent retries after it.

Pure. Remote faults are retried, each class with its own backoff; local faults end the agent with their exit code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from ioconnect.disposition import Disposition


class ExitCode(IntEnum):
    """The exit status of a command (sysexits.h)."""

    OK = 0
    USAGE = 64
    NO_INPUT = 66  # identity missing or unreadable
    NO_HOST = 68  # a name does not resolve
    UNAVAILABLE = 69  # unreachable, refused, silent; status: the agent is not running
    SOFTWARE = 70  # a bug
    OS_ERROR = 71  # a system call or a program of the system failed
    CANNOT_CREATE = 73
    TEMP_FAIL = 75  # running but not connected, port busy, refused for now
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
    KEX_TIMEOUT = "kex_timeout"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    PENALIZED = "penalized"
    HOST_KEY_UNPINNED = "host_key_unpinned"
    HOST_KEY_CHANGED = "host_key_changed"
    ALGORITHMS_MISMATCH = "algorithms_mismatch"
    AUTH_REFUSED = "auth_refused"
    SECOND_FACTOR = "second_factor"
    FORWARD_NOT_PERMITTED = "forward_not_permitted"
    PORT_BUSY = "port_busy"
    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    CONNECTION_LOST = "connection_lost"
    TARGET_UNREACHABLE = "target_unreachable"
    CONFIG_INVALID = "config_invalid"
    IDENTITY_MISSING = "identity_missing"
    IDENTITY_UNREADABLE = "identity_unreadable"
    STOPPED = "stopped"
    NOT_STARTED = "not_started"
    AGENT_SILENT = "agent_silent"


@dataclass(frozen=True, slots=True)
class Reason:
    """A fault as status shows it: reason code, what failed with which error, and what to do next."""

    code: ReasonCode
    message: str
    hint: str


class Fault(Exception):
    """Base class of ioconnect's exceptions: `message` says what failed with which error, `hint` what to do.

    Subclasses with a `code` can be a tunnel's reason in status; those without are raised by one-shot commands only.
    """

    exit_code: ExitCode = ExitCode.SOFTWARE
    disposition: Disposition = Disposition.EXIT
    code: ReasonCode | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    @property
    def reason(self) -> Reason:
        """This fault as a `Reason`; only for subclasses with a code."""
        assert self.code is not None, f"{type(self).__name__} has no reason code"
        return Reason(self.code, self.message, self.hint)


class UsageFault(Fault):
    """The command line is invalid."""

    exit_code = ExitCode.USAGE


class AgentNotRunning(Fault):
    """A command needs a running agent, and none runs."""

    exit_code = ExitCode.UNAVAILABLE


class AgentUnresponsive(Fault):
    """An agent runs and does not answer: what it does is not known."""

    exit_code = ExitCode.UNAVAILABLE
    code = ReasonCode.AGENT_SILENT


class SystemRefused(Fault):
    """A system call, or a program of the operating system, failed."""

    exit_code = ExitCode.OS_ERROR


class CannotCreate(Fault):
    """A file or folder cannot be written (permissions, read-only, disk full)."""

    exit_code = ExitCode.CANNOT_CREATE


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One error in the configuration: `path` is the key's path (`tunnels.orders.ssh_port`)."""

    path: str
    message: str


class ConfigInvalid(Fault):
    """The configuration is invalid; `faults` holds every error in it."""

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
    """The private key exists but cannot be used: file mode, key type, damaged file, passphrase."""

    exit_code = ExitCode.NO_INPUT
    code = ReasonCode.IDENTITY_UNREADABLE


class HostKeyUnpinned(Fault):
    """No host key is pinned for this jumphost; authentication is not attempted."""

    exit_code = ExitCode.CONFIG
    code = ReasonCode.HOST_KEY_UNPINNED


class HostKeyChanged(Fault):
    """The jumphost's host key is not the pinned one; authentication is not attempted."""

    exit_code = ExitCode.PROTOCOL
    disposition = Disposition.HOLD
    code = ReasonCode.HOST_KEY_CHANGED


class AlgorithmsMismatch(Fault):
    """The jumphost has no algorithm of some kind that is offered to it."""

    exit_code = ExitCode.PROTOCOL
    disposition = Disposition.HOLD
    code = ReasonCode.ALGORITHMS_MISMATCH


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
    """The proxy refused the connection, or its answer is not valid."""

    exit_code = ExitCode.UNAVAILABLE
    disposition = Disposition.RETRY
    code = ReasonCode.PROXY_REFUSED


class BannerTimeout(Fault):
    """TCP connected, but no SSH identification string arrived in time (RFC 4253 §4.2)."""

    exit_code = ExitCode.UNAVAILABLE
    disposition = Disposition.RETRY
    code = ReasonCode.BANNER_TIMEOUT


class KexTimeout(Fault):
    """The jumphost introduced itself, but the key exchange did not end in time."""

    exit_code = ExitCode.UNAVAILABLE
    disposition = Disposition.RETRY
    code = ReasonCode.KEX_TIMEOUT


class TooManyConnections(Fault):
    """Sshd refused the connection with "Exceeded MaxStartups"."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.MAX_STARTUPS
    code = ReasonCode.TOO_MANY_CONNECTIONS


class Penalized(Fault):
    """Sshd refused the connection with "Not allowed at this time" (PerSourcePenalties)."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.PENALIZED
    code = ReasonCode.PENALIZED


class AuthRefused(Fault):
    """The jumphost does not accept the identity (public key authentication failed)."""

    exit_code = ExitCode.NO_PERMISSION
    disposition = Disposition.HOLD
    code = ReasonCode.AUTH_REFUSED


class SecondFactor(Fault):
    """The jumphost accepts the identity, and wants another proof as well (RFC 4252 §5.1, partial success)."""

    exit_code = ExitCode.NO_PERMISSION
    disposition = Disposition.HOLD
    code = ReasonCode.SECOND_FACTOR


class ForwardNotPermitted(Fault):
    """The jumphost does not permit this key to listen on this port (tcpip-forward, RFC 4254 §7.1)."""

    exit_code = ExitCode.NO_PERMISSION
    disposition = Disposition.HOLD
    code = ReasonCode.FORWARD_NOT_PERMITTED


class PortBusy(Fault):
    """The port is in use on the jumphost: by another agent, or by a dead session of this one."""

    exit_code = ExitCode.TEMP_FAIL
    disposition = Disposition.RETRY_FORWARD
    code = ReasonCode.PORT_BUSY


class KeepaliveTimeout(Fault):
    """The jumphost did not answer the keepalive probes."""

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


class TunnelStopped(Fault):
    """A tunnel was stopped by its name, and stays so until `up` names it."""

    exit_code = ExitCode.TEMP_FAIL
    code = ReasonCode.STOPPED


class TunnelNotStarted(Fault):
    """Nothing runs a tunnel: it is disabled, or no agent runs."""

    exit_code = ExitCode.TEMP_FAIL
    code = ReasonCode.NOT_STARTED
