"""The stub's end of the wire: whatever a client says, before and after the sign-in."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from paramiko.auth_handler import AuthHandler
from tests.fuzz.session_end import (
    BANNER,
    CONNECTS,
    DEAF,
    ENDS,
    RAW,
    RESETS,
    SENDS,
    Peer,
    framed,
    in_the_clear,
    know_keys,
    run,
    sealer,
    talk,
)  # fmt: skip
from tests.fuzz.target import Target
from tests.fuzz.targets.wire import ASKED, EXTENDED, HOST_KEYS, U32, data_of, kexinit

from ioconnect.keys.authorized_keys import Grant
from ioconnect.ssh import messages as ssh
from ioconnect.ssh.messages import string
from ioconnect.stub.host_key import HostKey
from ioconnect.stub.jumphost import CIPHERS, MACS
from ioconnect.stub.policy import Policy
from ioconnect.stub.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paramiko.message import Message

USER = b"sshtunnel"
IDENTITY = HostKey.generate()
POLICY = Policy(host_key=HostKey.generate(), user=USER.decode(), ciphers=CIPHERS, macs=MACS, also_authorized=None)
with socket.create_server(("127.0.0.1", 0)) as _probe:
    PORT = _probe.getsockname()[1]
POLICY.authorize(IDENTITY.public, PORT)


def _stub(
    packets: Iterator[bytes], seal: Callable[[bytes], bytes], *, keyed: bool = False, signed_in: bool = False
) -> Session:
    ours, theirs = socket.socketpair()
    session = Session(POLICY, ours, over=lambda _session: None)
    transport: Any = session._transport
    ends: list[BaseException | None] = []
    clean_up = transport._ended

    def ended(error: BaseException | None) -> None:
        ends.append(error)
        clean_up(error if not isinstance(error, Exception) else EOFError())  # what is a bug is told by `run`

    transport._ended = ended
    transport.start = lambda: None
    session.start()
    peer = Peer(session.loop, theirs, packets, seal)
    if keyed:
        know_keys(transport)
        transport.auth_handler = AuthHandler(transport)
    if signed_in:
        transport.auth_handler.authenticated = True
        session._sign_in.grant = Grant(IDENTITY.public, frozenset({PORT}))
        session.signed_in()
        peer.connect = lambda: _connected(session)
    run(transport, peer, session.loop, ends)
    POLICY.ledger.violations.clear()
    POLICY.ledger.open_failures.clear()
    return session


def _connected(session: Session) -> socket.socket | None:
    """Return a connection to the forwarded port, if there is one."""
    if session.forwarding is None or not session.forwarding.listens_on(PORT):
        return None
    sock = socket.socket()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(("127.0.0.1", PORT))
    return sock


def _raw(data: bytes) -> bool:
    pieces = (bytes((RAW,)) + data[at : at + 4096] for at in range(0, len(data), 4096))
    return bool(_stub(pieces, bytes)._transport.remote_version)


def _key_exchange(data: bytes) -> bool:
    packets = iter([bytes((RAW,)) + BANNER, *framed(data)])
    return _stub(packets, in_the_clear)._transport.initial_kex_done


def _signing_in(data: bytes) -> bool:
    return _stub(framed(data), sealer(), keyed=True).forwarding is not None


def _signed_in(data: bytes) -> bool:
    _stub(framed(data), sealer(), keyed=True, signed_in=True)
    return True


def _auth_request(user: bytes) -> bytes:
    """Return a USERAUTH_REQUEST with a good signature (RFC 4252 §7)."""
    signed = (
        b"\x32" + string(user) + string(b"ssh-connection") + string(b"publickey") + b"\1" + string(b"ssh-ed25519")
    )
    signed += string(IDENTITY.public.blob)
    signature: Message = IDENTITY.signer.sign_ssh_data(string(bytes(32)) + signed, "ssh-ed25519")
    return signed + string(signature.asbytes())


KEX = kexinit(b"curve25519-sha256", strict=b",kex-strict-c-v00@openssh.com")
INIT = b"\x1e" + string(bytes(range(1, 33)))
SERVICE = b"\5" + string(b"ssh-userauth")
QUERY = b"\x32" + string(USER) + string(b"ssh-connection") + string(b"publickey") + b"\0" + string(b"ssh-ed25519")
NONE = b"\x32" + string(USER) + string(b"ssh-connection") + string(b"none")
FORWARD = ssh.global_request("tcpip-forward", "localhost", PORT, want_reply=True)
CANCEL = ssh.global_request("cancel-tcpip-forward", "localhost", PORT, want_reply=True)
KEEPALIVE = ssh.global_request("keepalive@openssh.com", want_reply=True)
CONFIRM = ssh.confirmation(0, 5, 1 << 21, 32768)
REFUSE = ssh.open_failure(0, ssh.CONNECT_FAILED, "no")
CONNECT, SEND, END, RESET = (bytes((act,)) for act in (CONNECTS, SENDS, ENDS, RESETS))
EOF, CLOSE = (bytes((kind,)) + U32(0) for kind in (ssh.MSG_EOF, ssh.MSG_CLOSE))
TARGETS = (
    Target(
        "stub_raw",
        _raw,
        (BANNER + in_the_clear(KEX) + in_the_clear(INIT) + in_the_clear(b"\x15"), b"GET / HTTP/1.1\r\n\r\n"),
        (b"SSH-2.0-", b"\r\n", b"\0\0\0\x0c\4", in_the_clear(KEX), in_the_clear(b"\1"), b"\0\0\x88\xb8"),
    ),
    Target(
        "stub_key_exchange",
        _key_exchange,
        (
            talk(KEX, INIT, b"\x15"),
            talk(kexinit(b"diffie-hellman-group14-sha256"), b"\x1e" + string(b"\1" + bytes(255)), b"\x15"),
            talk(kexinit(b"ecdh-sha2-nistp256"), b"\x1e" + string(b"\4" + bytes(64))),
            talk(kexinit(b"mlkem768x25519-sha256", b"aes256-gcm@openssh.com"), b"\x1e" + string(bytes(1216))),
        ),
        (
            talk(KEX),
            talk(INIT),
            talk(b"\x15"),
            talk(b"\2"),
            talk(SERVICE),
            b"curve25519-sha256",
            b"diffie-hellman-group",
            b",",
        ),
    ),
    Target(
        "stub_sign_in",
        _signing_in,
        (
            talk(SERVICE, _auth_request(USER)),
            talk(SERVICE, NONE, QUERY + string(IDENTITY.public.blob)),
            talk(KEEPALIVE, SERVICE),
        ),
        (
            talk(SERVICE),
            talk(NONE),
            talk(KEX),
            talk(FORWARD),
            talk(_auth_request(b"root")),
            talk(b"\7\x7f\xff\xff\xff"),
            b"password",
            b"keyboard-interactive",
        ),
    ),
    Target(
        "stub_signed_in",
        _signed_in,
        (
            talk(
                FORWARD,
                CONNECT,
                KEEPALIVE,
                CONFIRM,
                SEND,
                data_of(0, b"row"),
                ssh.window_adjust(0, 1 << 20),
                END,
                EOF,
                CLOSE,
            ),
            talk(FORWARD, CONNECT, KEEPALIVE, REFUSE, CONNECT, CANCEL, CONFIRM, RESET, ASKED),
            talk(FORWARD, CONNECT, bytes((DEAF,)), CONFIRM, *[SEND] * 10, bytes((DEAF,)), KEX, INIT, b"\x15", CLOSE),
        ),
        tuple(
            talk(word)
            for word in (
                *(
                    FORWARD,
                    CANCEL,
                    KEEPALIVE,
                    CONFIRM,
                    REFUSE,
                    CONNECT,
                    SEND,
                    END,
                    RESET,
                    EOF,
                    CLOSE,
                    ASKED,
                    EXTENDED,
                ),
                *(
                    HOST_KEYS,
                    KEX,
                    INIT,
                    b"\x15",
                    b"\2",
                    b"\xc0x",
                    SERVICE,
                    data_of(0, b"x" * 40),
                    bytes((RAW,)) + bytes(40),
                ),
            )
        ),
    ),
)
