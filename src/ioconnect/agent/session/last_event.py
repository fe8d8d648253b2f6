"""The last thing that a session reports: what ended its transport, as exactly one Closed or Lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from paramiko.ssh_exception import SSHException

from ioconnect.agent.session.diagnosis import SessionEnd, Stage, diagnose
from ioconnect.agent.tunnel.events import Closed, Lost
from ioconnect.disposition import Disposition
from ioconnect.errors import Fault
from ioconnect.ssh.messages import ProtocolViolation
from ioconnect.ssh.transport import in_library, root_cause

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Left(EOFError):
    """Ends the transport's thread after a goodbye; an EOFError, as that is an end of which paramiko makes no fuss."""


class Aborted(EOFError):
    """Ends the transport's thread at once; likewise."""


_EXPECTED = (Fault, ProtocolViolation, SSHException, EOFError, OSError)


def last_event(
    error: BaseException | None, *, name: str, stage: Stage, fault: Fault | None, end: Callable[[], SessionEnd]
) -> Closed | Lost:
    """Return the last event of the tunnel `name`'s session; `fault` is what it failed itself for, if it did.

    `error` is what ended the transport, None for the jumphost's DISCONNECT.
    """
    cause = root_cause(error)
    if isinstance(cause, Left):
        return Closed()
    if isinstance(cause, Exception) and not isinstance(cause, _EXPECTED) and not in_library(cause):
        log.error("%s: a bug ended the session", name, exc_info=cause)
    fault = fault or diagnose(end(), cause)
    told = error is None or isinstance(error, EOFError)  # DISCONNECT or FIN: the jumphost knows
    return Lost(fault, unclean=stage is Stage.SIGNED_IN and not told and fault.disposition is Disposition.RETRY)
