"""Names to addresses by the system's resolver, without ever waiting for it longer than the caller may.

getaddrinfo(3) cannot be interrupted, so it runs in a daemon thread that may outlive the question. Callers that ask
for the same name at about the same time share one lookup, so a resolver that hangs costs a few threads, not one for
each attempt of each tunnel.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ioconnect.agent.dial.connect_failures import Role
from ioconnect.errors import NameNotResolved
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from ioconnect.agent.dial.deadline import Waiting
    from ioconnect.config.configuration import HostPort

SHARED_FOR = 5.0  # seconds; resolv.conf(5)'s timeout: an older lookup may be asking a name server that is gone
HANGING_AT_MOST = 8  # lookups of one name at once


@dataclass(frozen=True, slots=True)
class Address:
    """One address to connect to, as getaddrinfo(3) gives it."""

    family: int
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        """Return the address without the port."""
        return str(self.sockaddr[0])


Lookup = Callable[[str, int], Sequence[Address]]


def system_lookup(host: str, port: int, flags: int = 0) -> list[Address]:
    """Ask getaddrinfo(3), in its order (RFC 6724). Blocks; raises gaierror, or UnicodeError for no name at all."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in answers]


@dataclass(slots=True)
class _Question:
    """One lookup under way; closing `bells` tells those who wait that `answer` is there."""

    asked_at: float
    bells: list[socket.socket] = field(default_factory=list)
    answer: Sequence[Address] | Exception | None = None


class Resolver:
    """Lookups under way, shared by name. Any thread may call."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._under_way: dict[HostPort, list[_Question]] = {}

    def resolve(self, host: HostPort, waiting: Waiting, *, role: Role = Role.JUMPHOST) -> Sequence[Address]:
        """Return the addresses of `host`, at least one; asks anew each time, but for a lookup just under way.

        Raises NameNotResolved, also at the deadline; DialCancelled.
        """
        try:
            return system_lookup(host.host, host.port, socket.AI_NUMERICHOST)
        except (socket.gaierror, ValueError):
            pass  # not a literal address, so ask
        ringing, bell = socket.socketpair()
        with ringing:
            question = self._ask(host, bell)
            try:
                waiting.ready({ringing: selectors.EVENT_READ})
            except TimeoutError:
                raise _unanswered(host, role) from None
            finally:
                with self._lock:
                    question.bells = [other for other in question.bells if other is not bell]
                    bell.close()
        answer = question.answer
        if isinstance(answer, Exception):
            raise _unresolved(host, role, answer) from answer
        if not answer:
            raise _unresolved(host, role, socket.gaierror(socket.EAI_NONAME, "no address"))
        return answer

    def _ask(self, host: HostPort, bell: socket.socket) -> _Question:
        """Join the latest lookup of this name, or start one."""
        now = time.monotonic()
        with self._lock:
            questions = self._under_way.setdefault(host, [])
            crowded = len(questions) >= HANGING_AT_MOST
            if questions and (crowded or now - questions[-1].asked_at < SHARED_FOR):
                questions[-1].bells.append(bell)
                return questions[-1]
            question = _Question(now, [bell])
            threading.Thread(target=self._answer, args=(host, question), name="resolver", daemon=True).start()
            questions.append(question)
            return question

    def _answer(self, host: HostPort, question: _Question) -> None:
        answer: Sequence[Address] | Exception
        try:
            answer = self._lookup(host.host, host.port)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to those who asked, not to this thread
            answer = error
        with self._lock:
            questions = [other for other in self._under_way[host] if other is not question]
            if questions:
                self._under_way[host] = questions
            else:
                del self._under_way[host]
            question.answer = answer
            for bell in question.bells:
                bell.close()


def _unanswered(host: HostPort, role: Role) -> NameNotResolved:
    return NameNotResolved(
        f"the {role.value}'s name {escaped(host.host)} could not be resolved: the resolver did not answer in time",
        hint="Check this machine's network and its name servers (/etc/resolv.conf).",
    )


def _unresolved(host: HostPort, role: Role, error: Exception) -> NameNotResolved:
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return NameNotResolved(
            f"the {role.value}'s name {escaped(host.host)} could not be resolved: no name server answered",
            hint="Check this machine's network and its name servers (/etc/resolv.conf).",
        )
    cause = error.strerror if isinstance(error, OSError) else str(error)
    where = "the endpoint in the configuration" if role is Role.JUMPHOST else "the proxy's URL"
    return NameNotResolved(
        f"the {role.value}'s name {escaped(host.host)} does not resolve: {cause}",
        hint=f"Check {where} for a typing error; if it is right, this machine's name servers don't know the name.",
    )
