"""paramiko's Transport on an event loop of ours: version exchange, key exchange and sign-in; none of its channels.

`LoopTransport` is what both roles share, `ClientTransport` the agent's. Every private name of paramiko that is
overridden here, in `packetizer` or in `checked_message` has a contract test (test_paramiko_contract.py), hence the
upper bound of paramiko's version in pyproject.toml.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from paramiko.kex_curve25519 import KexCurve25519
from paramiko.message import Message
from paramiko.ssh_exception import IncompatiblePeer, SSHException
from paramiko.transport import Transport

from ioconnect import __version__
from ioconnect.escape import escaped
from ioconnect.ssh.algorithms import AEAD_CIPHERS, HOST_KEYS, NoSharedAlgorithm, Offer
from ioconnect.ssh.checked_message import KEY_CLASSES
from ioconnect.ssh.diffie_hellman import KEX_CLASSES
from ioconnect.ssh.packetizer import REKEY_BYTES, LoopPacketizer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from ioconnect.ssh.loop import Loop

log = logging.getLogger(__name__)
MAX_DEBUG_TEXTS = 10
MAX_TEXT = 300  # characters of a text of the peer, escaped
MAX_NAMES = 20  # of algorithms that the peer offers, in a message


def root_cause(error: BaseException | None) -> BaseException | str | None:
    """Return the error that paramiko wrapped in an SSHException, or the exception's text if it wraps none."""
    while isinstance(error, SSHException) and type(error) is SSHException:
        inner = error.__cause__ or error.__context__
        if inner is None:
            return str(error)
        error = inner
    return error


def in_library(error: BaseException) -> bool:
    """Tell whether paramiko, cryptography or PyNaCl raised this by itself: input of the peer can make it do so."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return str(raised_in).partition(".")[0] in {"paramiko", "cryptography", "nacl"}


def negotiated_kex(client: Transport) -> str:
    """Return the key exchange algorithm that a client has just negotiated.

    paramiko keeps only its class, which several names share, so its rule is repeated here (RFC 4253 §7.1).
    """
    theirs = client._really_parse_kex_init(Message(client.remote_kex_init), ignore_first_byte=True)  # noqa: SLF001
    return str(next(filter(theirs["kex_algo_list"].__contains__, client.preferred_kex)))


class Service(Protocol):
    """The service above the transport (RFC 4253 §10): once signed in, the connection protocol."""

    def advance(self) -> None:
        """Take the session's next step: paramiko has handled a message. May raise to end the session."""

    def receive(self, kind: int, body: memoryview) -> bool:
        """Handle a message of the connection protocol; `body` (without type) is valid until the next `end_batch`.

        Return False for a type that is not known.
        """

    def end_batch(self) -> bool:
        """Pass on what was received: no complete packet is left. Say whether it went to somebody who may answer."""


class LoopTransport(Transport):  # type: ignore[misc]  # paramiko is untyped
    """One SSH connection; its thread runs the session's event loop.

    `service` gets the messages of the connection protocol. `ended` is called on the transport's thread, last, with
    what ended it (None: the peer's DISCONNECT). `disconnect_text` and `debug_texts` are what the peer said, escaped
    and cut to MAX_TEXT characters.
    """

    _peer = "client"  # in the log
    # RFC 8731's name for what paramiko only knows by its older one.
    _kex_info: ClassVar[dict[str, Any]] = {**Transport._kex_info, "curve25519-sha256": KexCurve25519, **KEX_CLASSES}  # noqa: SLF001
    _key_info: ClassVar[Mapping[str, Any]] = KEY_CLASSES
    saved_exception: BaseException | None
    packetizer: LoopPacketizer

    def __init__(
        self,
        sock: socket.socket,
        *,
        loop: Loop,
        service: Service,
        ended: Callable[[BaseException | None], None],
        offer: Offer,
        rekey_bytes: int = REKEY_BYTES,
    ) -> None:
        super().__init__(
            sock, packetizer_class=partial(LoopPacketizer, loop=loop, service=service, rekey_bytes=rekey_bytes)
        )
        sock.setblocking(False)  # paramiko has just given it a timeout
        self._preferred_kex = tuple(filter(self._kex_info.__contains__, offer.kex))  # ML-KEM needs OpenSSL 3.5
        self._preferred_ciphers = offer.ciphers
        self._preferred_macs = offer.macs
        self._ended = ended
        self.disconnect_text = ""
        self.debug_texts: list[str] = []

    def run(self) -> None:
        """Run the connection to its end (paramiko's thread)."""
        try:
            super().run()
        finally:
            error, self.saved_exception = self.saved_exception, None
            try:
                self.packetizer.release()
            finally:
                self._ended(error)
                del error  # its traceback refers to this frame, and to frames with a view of a buffer

    def _parse_ext_info(self, msg: Message) -> None:
        """Ignore it: an ed25519 key needs no server-sig-algs, and paramiko would loop for any count it announces."""

    def _parse_disconnect(self, m: Message) -> None:
        """Keep what there is of its text (RFC 4253 §11.1): the peer leaves, even if the message is cut short."""
        body: bytes = m.asbytes()
        self.disconnect_text = escaped(body[8 : 8 + int.from_bytes(body[4:8], "big")], limit=MAX_TEXT)
        log.debug("the %s disconnects: %s", self._peer, self.disconnect_text)

    def _parse_debug(self, m: Message) -> None:
        """Log its text at level DEBUG, always_display or not (RFC 4253 §11.3).

        Raises ProtocolViolation for one that is cut short, which ends the session, as in OpenSSH.
        """
        m.get_boolean()
        text = escaped(m.get_string(), limit=MAX_TEXT)
        m.get_string()  # the language
        self.debug_texts = [*self.debug_texts[1 - MAX_DEBUG_TEXTS :], text]
        log.debug("the %s says: %s", self._peer, text)

    def _log(self, level: int, msg: str | list[str], *args: object) -> None:  # noqa: ARG002  all is detail to us
        """Log at level DEBUG: paramiko calls every end of a connection an error, with traceback."""
        if log.isEnabledFor(logging.DEBUG):
            for line in msg if isinstance(msg, list) else [msg]:
                log.debug(line, *args)


class ClientTransport(LoopTransport):
    """The client's role. `verify` gets the host key's blob on every key exchange and raises to refuse it.

    It is called before anything is authenticated. `lines_before_banner` is what the server said before its version.
    `kex` is the key exchange algorithm that was negotiated last.
    """

    _peer = "jumphost"
    _CLIENT_ID = f"ioconnect_{__version__}"

    def __init__(
        self,
        sock: socket.socket,
        *,
        verify: Callable[[bytes], None],
        host_key_algorithms: Sequence[str] = HOST_KEYS,
        **settings: Any,
    ) -> None:
        super().__init__(sock, **settings)
        self._preferred_keys = tuple(host_key_algorithms)
        self._verify_pin = verify
        self.kex = ""

    @property
    def lines_before_banner(self) -> tuple[str, ...]:
        """Lines that came before the SSH version (RFC 4253 §4.2), escaped."""
        return tuple(escaped(line, limit=MAX_TEXT) for line in self.packetizer.lines_before_banner)

    @property
    def offered_host_keys(self) -> tuple[str, ...]:
        """The host key algorithms that the server offers; after its KEXINIT."""
        theirs = self._really_parse_kex_init(Message(self.remote_kex_init), ignore_first_byte=True)
        return tuple(theirs["server_key_algo_list"])

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Host key algorithms offered: plain keys only, as a certificate's signature would not be checked."""
        return self._preferred_keys

    def _really_parse_kex_init(self, m: Message, ignore_first_byte: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  paramiko's signature
        """Return the lists; an AEAD cipher negotiates no MAC, but paramiko wants one in common all the same."""
        lists: dict[str, Any] = super()._really_parse_kex_init(m, ignore_first_byte)
        for way in ("client", "server"):
            ciphers = lists[f"{way}_encrypt_algo_list"]
            if next(filter(ciphers.__contains__, self._preferred_ciphers), None) in AEAD_CIPHERS:
                lists[f"{way}_mac_algo_list"] = list(self._preferred_macs)
        return lists

    def _parse_kex_init(self, m: Message) -> None:
        try:
            super()._parse_kex_init(m)
        except IncompatiblePeer:
            self._raise_no_shared_algorithm(m.asbytes())
            raise
        self.kex = negotiated_kex(self)

    def _raise_no_shared_algorithm(self, kex_init: bytes) -> None:
        """Raise NoSharedAlgorithm, with both lists of the first kind that has none."""
        theirs = self._really_parse_kex_init(Message(kex_init))
        for kind, key, ours in (
            ("key exchange", "kex_algo_list", self._preferred_kex),
            ("host key", "server_key_algo_list", self._preferred_keys),
            ("cipher", "client_encrypt_algo_list", self._preferred_ciphers),
            ("cipher", "server_encrypt_algo_list", self._preferred_ciphers),
            ("MAC", "client_mac_algo_list", self._preferred_macs),
            ("MAC", "server_mac_algo_list", self._preferred_macs),
        ):
            if not set(theirs[key]) & set(ours):
                raise NoSharedAlgorithm(kind, [escaped(name, limit=64) for name in theirs[key][:MAX_NAMES]], ours)

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        super()._verify_key(host_key, sig)
        self._verify_pin(host_key)
