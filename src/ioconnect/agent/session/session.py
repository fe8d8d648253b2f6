"""One session: dial, verify the host key, sign in, ask for the forward, keep alive, leave.

Theory of operation. `start` dials on a thread of its own and hands the socket to a `ClientTransport`, whose thread
runs the tunnel's event loop from then on: everything below runs on it, and nothing else uses the SSH socket. paramiko
does the key exchange and the sign-in; `advance` is called whenever it comes back for the next message, and takes the
next step of the session. Other threads only post (`request_forward`, `probe`, `close`, `abort`).

"Session" is one authenticated connection; RFC 4254's session channel does not occur here.
A started session reports to its supervisor, and its last report is exactly one Lost or Closed.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from ioconnect.agent.session.connect import Connected, Connector, new_transport
from ioconnect.agent.session.diagnosis import SessionEnd, Stage, collect, sign_in_timeout
from ioconnect.agent.session.forward import Forward
from ioconnect.agent.session.last_event import Aborted, Left, last_event
from ioconnect.agent.session.pins_reader import PinsReader
from ioconnect.agent.session.refusal import refusal
from ioconnect.agent.session.security import HostKeyVerifier, security_of
from ioconnect.agent.tunnel.events import Closed, Lost, SessionEvent, SignedIn
from ioconnect.agent.tunnel.shortage import cannot_start, shortage
from ioconnect.errors import Fault, KeepaliveTimeout
from ioconnect.keys import public_keys
from ioconnect.ssh.loop import Loop
from ioconnect.ssh.messages import ProtocolViolation
from ioconnect.ssh.packetizer import AFTER_SIGN_IN
from ioconnect.tcp import reset

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ioconnect.agent.dial.happy_eyeballs import SourcePort
    from ioconnect.agent.tunnel.counters import Counters
    from ioconnect.config.configuration import AgentSettings, Tunnel
    from ioconnect.config.paths import Paths
    from ioconnect.ssh.transport import ClientTransport
    from ioconnect.status.records import Security

log = logging.getLogger(__name__)

SIGN_IN_PATIENCE = 30.0  # seconds for dial, banner, key exchange and sign-in together
LEAVE_PATIENCE = 1.0  # seconds to put our goodbye on the socket
BY_APPLICATION = 11  # RFC 4253 §11.1
FOREVER = float("inf")


class Session:
    """One attempt at a tunnel, from the dial to its end; the supervisor's methods return at once, from any thread.

    `source` is the source port to dial from first, which resets a dead session of ours. `report` is called from
    threads of the session's own. Addresses are those of the connection to the jumphost (or proxy), None before it is
    connected; `host_key` is the fingerprint (SHA256:…) once verified,
    `identity` that of our key and `security` the algorithms once signed in.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        settings: AgentSettings,
        paths: Paths,
        counters: Counters,
        report: Callable[[SessionEvent], None],
        *,
        source: SourcePort | None = None,
        patience: float = SIGN_IN_PATIENCE,
    ) -> None:
        self.local_address: tuple[str, int] | None = None
        self.peer_address: str | None = None
        self.host_key: str | None = None
        self.identity: str | None = None
        self.security: Security | None = None
        self._tunnel = tunnel
        self._settings = settings
        self._counters = counters
        self._report = report
        self._patience = patience
        self._deadline = FOREVER
        self._stage = Stage.DIALING
        self._loop = Loop()
        self._loop.on_timer = self._on_timer
        self._connector = Connector(tunnel, settings, paths, source=source, done=self._connect_done)
        self.files = self._connector.files
        self._verifier = HostKeyVerifier(tunnel, self.files, self._fail)
        checked = self._verifier.pins_read
        self._pins_reader = PinsReader(tunnel, paths, lambda pins: self._loop.post(partial(checked, pins)))
        self._connected: Connected | None = None
        self._transport: ClientTransport | None = None
        self._forward: Forward | None = None
        self._fault: Fault | None = None
        self._auth = threading.Event()

    # --- any thread

    def start(self, sock: socket.socket | None = None) -> None:
        """Begin to dial on a thread of its own; with `sock`, a connection to the jumphost, that is used instead."""
        self._deadline = time.monotonic() + self._patience
        try:
            self._connector.start(self._deadline, sock)
        except BaseException:
            self._loop.close()
            raise

    def request_forward(self) -> None:
        """Ask again for the forward; answered by Granted, PortRefused or Lost."""
        self._loop.post(self._request_forward)

    def probe(self) -> None:
        """Send a keepalive now, with a short timeout."""
        self._loop.post(self._probe_now)

    def check_host_key(self) -> None:
        """Read the pins again and hold the host key against them; a key that is trusted no more ends in Lost."""
        self._loop.post(self._read_pins)

    def close(self) -> None:
        """Cancel the forward and disconnect; answered by Closed, or Lost if the connection fails first."""
        self._loop.post(self._leave)
        self._connector.cancel()

    def abort(self) -> None:
        """Reset the connection at once."""
        self._loop.post(self._abort)
        self._connector.cancel()

    def alive_at(self) -> float:
        """When the session's loop was last seen running (time.monotonic), for the watchdog."""
        now = time.monotonic()
        return now if self._stage is Stage.DIALING else self._loop.alive_at(now)

    # --- the dial's thread

    def _connect_done(self, result: Connected | Fault | None) -> None:
        """Go on with the connected socket; report the end if there is none, or if that is not possible."""
        if not isinstance(result, Connected):
            self._finish(Closed() if result is None else Lost(result, unclean=False))
            return
        try:
            self._start_transport(result)
        except BaseException as error:
            if shortage(error) is None:
                log.exception("%s: a bug: no transport", self._tunnel.name)
            reset(result.sock)
            self._finish(Lost(cannot_start(error), unclean=False))

    def _start_transport(self, result: Connected) -> None:
        """Give the connected socket to a transport, whose thread goes on."""
        self._connected = result
        self._verifier.pins = result.pins
        sock = result.sock
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # it broke already: reading will tell
                self.local_address, self.peer_address = sock.getsockname()[:2], sock.getpeername()[0]
        self._transport = transport = new_transport(
            result,
            self._tunnel,
            self._settings,
            loop=self._loop,
            service=self,
            verify=self._verify,
            ended=self._ended,
        )
        self._stage = Stage.KEY_EXCHANGE
        self._loop.next_timer = self._deadline
        transport.start_client(event=threading.Event())

    # --- the loop's thread: steps of the session

    def advance(self) -> None:
        """Take the session's next step if paramiko is done with the last; see `transport.Service`."""
        transport = self._transport
        assert transport is not None
        assert self._connected is not None
        if self._stage is Stage.KEY_EXCHANGE and transport.initial_kex_done:
            self._stage = Stage.SIGNING_IN
            transport.auth_publickey(self._tunnel.ssh_user, self._connected.key, self._auth)
        elif self._stage is Stage.SIGNING_IN and self._auth.is_set():
            if not transport.is_authenticated():
                self._fail(refusal(transport, self._tunnel))
            self._signed_in()

    def _signed_in(self) -> None:
        assert self._transport is not None
        assert self._connected is not None
        self._stage = Stage.SIGNED_IN
        self.identity = public_keys.fingerprint(self._connected.key.asbytes())
        self.security = security_of(self._transport)
        self._transport.packetizer.paramiko_kinds = AFTER_SIGN_IN
        self._forward = Forward(
            self._tunnel,
            self._settings,
            self._counters,
            transport=self._transport,
            loop=self._loop,
            report=self._report,
            fail=self._fail,
        )
        self._transport.packetizer.service = self._forward
        self._on_timer(self._loop.now)
        self._report(SignedIn(self._connected.reused_source))
        self._forward.ask()

    def _verify(self, blob: bytes) -> None:
        """Hold the host key against the pins, on every key exchange; on a later one against a changed file's too."""
        self.host_key = self._verifier.verify(blob)
        if self._stage is not Stage.KEY_EXCHANGE:
            self._read_pins(only_if_changed=True)

    def _read_pins(self, *, only_if_changed: bool = False) -> None:
        due = self._pins_reader.read(self._loop.now, only_if_changed=only_if_changed)
        self._loop.next_timer = min(self._loop.next_timer, due)

    def _request_forward(self) -> None:
        if self._forward is not None:
            self._forward.ask()

    # --- the loop's thread: messages and time

    def receive(self, kind: int, body: memoryview) -> bool:  # noqa: ARG002  nothing is taken
        """Refuse a message of the connection protocol before the sign-in; see `transport.Service`."""
        raise ProtocolViolation(f"message {kind} before the sign-in")

    def end_batch(self) -> bool:
        """Pass nothing on before the sign-in; see `transport.Service`."""
        return False

    def _on_timer(self, now: float) -> None:
        if self._forward is None and now >= self._deadline:
            self._fail(sign_in_timeout(self._session_end(), self._patience))
        due = self._deadline if self._forward is None else self._forward.on_timer(now)
        self._loop.next_timer = min(due, self._pins_reader.check(now))

    def _probe_now(self) -> None:
        if self._forward is not None:
            self._forward.probe(self._loop.now)
            self._on_timer(self._loop.now)

    # --- the loop's thread: the end

    def _fail(self, fault: Fault) -> NoReturn:
        self._fault = fault  # paramiko wraps what is raised in some places
        if (
            self._stage >= Stage.SIGNING_IN
            and self._transport is not None
            and not isinstance(fault, KeepaliveTimeout)
        ):
            self._transport.packetizer.outbound.disconnect(BY_APPLICATION, "no use to go on")
        raise fault

    def _leave(self) -> None:
        transport = self._transport
        if transport is None:
            return  # the dial is cancelled
        if self._forward is not None:
            self._forward.cancel()
        transport.packetizer.outbound.disconnect(BY_APPLICATION, "the agent leaves", patience=LEAVE_PATIENCE)
        raise Left

    def _abort(self) -> None:
        if self._transport is not None:
            reset(self._transport.sock)
            raise Aborted

    def _session_end(self) -> SessionEnd:
        assert self._transport is not None
        return collect(self._transport, self._tunnel.jumphost, self._tunnel.ssh_user, self._stage)

    def _ended(self, error: BaseException | None) -> None:
        """Clean up and report, whatever is raised; last on the transport's thread."""
        try:
            if self._forward is not None:
                self._forward.cut()
            last = last_event(
                error, name=self._tunnel.name, stage=self._stage, fault=self._fault, end=self._session_end
            )
        except BaseException as bug:
            log.exception("%s: a bug at the session's end", self._tunnel.name)
            last = Lost(cannot_start(bug), unclean=False)
        self._finish(last)

    def _finish(self, last: Closed | Lost) -> None:
        self._transport = self._forward = self._connected = None
        try:
            self._loop.close()
        finally:
            self._report(last)
