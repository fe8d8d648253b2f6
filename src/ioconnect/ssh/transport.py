"""paramiko's Transport as we use it: key exchange, host key and sign-in; nothing of its channels.

Every private name of paramiko that is overridden here or in `wire` has a contract test; see PARAMIKO's range in
pyproject.toml.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from paramiko.kex_curve25519 import KexCurve25519
from paramiko.ssh_exception import SSHException
from paramiko.transport import Transport

from ioconnect import __version__
from ioconnect.agent.session.diagnosis import SessionEnd
from ioconnect.escape import escaped
from ioconnect.ssh.packetizer import REKEY_BYTES, Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from paramiko.message import Message

    from ioconnect.agent.session.diagnosis import Stage
    from ioconnect.config.configuration import HostPort
    from ioconnect.ssh.loop import Loop
    from ioconnect.ssh.packetizer import Upper

log = logging.getLogger(__name__)

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes128-ctr")
MACS = (
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512",
    "hmac-sha2-256",
)
KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
)
HOST_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def host_key_algorithms(pinned_types: Sequence[str]) -> tuple[str, ...]:
    """Return the algorithms to offer, those of pinned key types first, as ssh does: a new type is no false alarm."""

    def is_pinned(algorithm: str) -> bool:
        return ("ssh-rsa" if algorithm.startswith("rsa-") else algorithm) in pinned_types

    return tuple(sorted(HOST_KEYS, key=lambda algorithm: not is_pinned(algorithm)))


def unwrapped(error: BaseException | None) -> BaseException | str | None:
    """Return the error that paramiko wrapped in its own, or what it said if there is none inside."""
    while isinstance(error, SSHException) and type(error) is SSHException:
        inner = error.__cause__ or error.__context__
        if inner is None:
            return str(error)
        error = inner
    return error


def in_library(error: BaseException) -> bool:
    """Tell whether paramiko or cryptography raised this by itself: what a peer says can make it stumble."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return str(raised_in).partition(".")[0] in {"paramiko", "cryptography"}


class Link(Transport):  # type: ignore[misc]  # paramiko is untyped
    """One SSH connection; its thread is the tunnel's loop.

    `verify` gets the host key's blob on every key exchange, before anything is authenticated, and raises to refuse
    it. `ended` is called on the link's thread, last, with what ended it (None: a DISCONNECT).
    """

    _CLIENT_ID = f"ioconnect_{__version__}"
    # RFC 8731's name for what paramiko only knows by its older one.
    _kex_info: ClassVar[dict[str, Any]] = {**Transport._kex_info, "curve25519-sha256": KexCurve25519}  # noqa: SLF001
    _preferred_kex = tuple(filter(_kex_info.__contains__, KEX))
    _preferred_macs = MACS
    saved_exception: BaseException | None

    def __init__(
        self,
        sock: socket.socket,
        *,
        loop: Loop,
        upper: Upper,
        verify: Callable[[bytes], None],
        ended: Callable[[BaseException | None], None],
        host_key_algorithms: Sequence[str] = HOST_KEYS,
        ciphers: Sequence[str] = (),
        rekey_bytes: int = REKEY_BYTES,
    ) -> None:
        super().__init__(sock, packetizer_class=partial(Wire, loop=loop, upper=upper, rekey_bytes=rekey_bytes))
        sock.setblocking(False)  # paramiko has just given it a timeout
        self._preferred_ciphers = tuple(ciphers) or CIPHERS
        self._preferred_keys = tuple(host_key_algorithms)
        self._verify_pin = verify
        self._ended = ended
        self.disconnect_text = ""
        self.debug_texts: list[str] = []
        self.wire: Wire = self.packetizer

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Host key algorithms offered: plain keys only, as a certificate's signature would not be checked."""
        return self._preferred_keys

    def run(self) -> None:
        """Live and end; paramiko's thread."""
        try:
            super().run()
        finally:
            error, self.saved_exception = self.saved_exception, None
            self.wire.release()
            try:
                self._ended(error)
            finally:
                del error  # its traceback knows this frame, and frames with a view of a buffer

    def evidence(self, jumphost: HostPort, user: str, stage: Stage) -> SessionEnd:
        """Return what this link knows about why it ended."""
        return SessionEnd(
            jumphost=jumphost,
            user=user,
            stage=stage,
            banner_received=bool(self.remote_version),
            lines_before_banner=tuple(escaped(line) for line in self.wire.said_before_banner),
            disconnect_text=self.disconnect_text,
        )

    def _log(self, level: int, msg: str | list[str], *args: object) -> None:  # noqa: ARG002  all is detail to us
        """Log for those who asked for detail: paramiko calls every end of a connection an error, with traceback."""
        if log.isEnabledFor(logging.DEBUG):
            for line in msg if isinstance(msg, list) else [msg]:
                log.debug(line, *args)

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        super()._verify_key(host_key, sig)
        self._verify_pin(host_key)

    def _parse_ext_info(self, msg: Message) -> None:
        """Ignore it: an ed25519 key needs no server-sig-algs, and paramiko would believe any count it announces."""

    def _parse_disconnect(self, m: Message) -> None:
        m.get_int()
        self.disconnect_text = escaped(m.get_string())
        log.debug("the jumphost disconnects: %s", self.disconnect_text)

    def _parse_debug(self, m: Message) -> None:
        m.get_boolean()
        text = escaped(m.get_string())
        self.debug_texts = [*self.debug_texts[-9:], text]
        log.debug("the jumphost says: %s", text)
