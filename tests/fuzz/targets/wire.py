"""The agent's end of the wire: whatever the jumphost says, before and after the sign-in."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

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

from ioconnect.agent.session.forward import Forward
from ioconnect.agent.tunnel.counters import Counters
from ioconnect.config.addresses import HostPort
from ioconnect.config.configuration import AgentSettings, Tunnel
from ioconnect.ssh import messages as ssh
from ioconnect.ssh.algorithms import EVERYTHING
from ioconnect.ssh.loop import Loop
from ioconnect.ssh.messages import ProtocolViolation, Reader, string
from ioconnect.ssh.packetizer import AFTER_SIGN_IN
from ioconnect.ssh.transport import ClientTransport
from ioconnect.stub.host_key import HostKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT = 58115
IDENTITY = HostKey.generate().signer
LISTENER = socket.create_server(("127.0.0.1", 0), backlog=128)
LISTENER.setblocking(False)
U32 = struct.Struct(">I").pack


class _BeforeSignIn:
    """What Session is before the sign-in: it signs in after the key exchange, and takes nothing else."""

    def __init__(self) -> None:
        self.transport: ClientTransport
        self._asked = False

    def advance(self) -> None:
        if self.transport.initial_kex_done and not self._asked:
            self._asked = True
            self.transport.auth_publickey("sshtunnel", IDENTITY, threading.Event())

    def receive(self, kind: int, body: memoryview) -> bool:  # noqa: ARG002  a protocol's signature
        raise ProtocolViolation(f"message {kind} before the sign-in")

    def end_batch(self) -> bool:
        return False


def _client(
    packets: Iterator[bytes], seal: Callable[[bytes], bytes], *, keyed: bool = False, signed_in: bool = False
) -> ClientTransport:
    loop, service, ends = Loop(), _BeforeSignIn(), []  # type: ignore[var-annotated]
    ours, theirs = socket.socketpair()
    transport = service.transport = ClientTransport(
        ours, loop=loop, service=service, verify=lambda _blob: None, ended=ends.append, offer=EVERYTHING
    )
    transport.start = lambda: None
    transport.start_client(event=threading.Event())
    peer = Peer(loop, theirs, packets, seal)
    if keyed:
        know_keys(transport)
    if signed_in:
        _sign_in(transport, loop, peer, ends)
    else:
        run(transport, peer, loop, ends)
    return transport


def _sign_in(transport: ClientTransport, loop: Loop, peer: Peer, ends: list[Any]) -> None:
    counters = Counters()

    def fail(fault: Exception) -> None:
        raise fault

    forward = Forward(
        Tunnel("orders", HostPort("jump", PORT), HostPort("127.0.0.1", LISTENER.getsockname()[1])),
        AgentSettings(),
        counters,
        transport=transport,
        loop=loop,
        report=lambda _event: None,
        fail=fail,  # type: ignore[arg-type]
    )
    addresses = forward._relay.target  # known already: a look-up would take a thread for each input
    addresses._addresses, addresses._resolved_at = [(socket.AF_INET, LISTENER.getsockname())], loop.now
    transport._ended = lambda error: (ends.append(error), forward.cut())  # type: ignore[assignment, func-returns-value]
    transport.packetizer.service = forward
    transport.packetizer.paramiko_kinds = AFTER_SIGN_IN
    peer.accept = _accepted
    forward.ask()
    run(transport, peer, loop, ends)
    while (left := _accepted()) is not None:
        left.close()
    assert counters.open == 0, f"{counters.open} connections are still counted"


def _accepted() -> socket.socket | None:
    try:
        return LISTENER.accept()[0]
    except BlockingIOError:
        return None


def _raw(data: bytes) -> bool:
    pieces = (bytes((RAW,)) + data[at : at + 4096] for at in range(0, len(data), 4096))
    return bool(_client(pieces, bytes).remote_version)


def _key_exchange(data: bytes) -> bool:
    packets = iter([bytes((RAW,)) + BANNER, *framed(data)])
    return bool(_client(packets, in_the_clear).kex)


def _signing_in(data: bytes) -> bool:
    return bool(_client(framed(data), sealer(), keyed=True).auth_handler.authenticated)


def _signed_in(data: bytes) -> bool:
    _client(framed(data), sealer(), keyed=True, signed_in=True)
    return True


def _reader(data: bytes) -> bool:
    reader = Reader(memoryview(data)[4:])
    try:
        for kind in data[:4]:  # what is taken
            (reader.u32, reader.string, reader.boolean)[kind % 3]()
    except ProtocolViolation:
        return False
    return True


def kexinit(kex: bytes, cipher: bytes = b"aes128-ctr", *, strict: bytes = b"") -> bytes:
    """Return a KEXINIT of somebody who has one algorithm of each kind."""
    lists = (
        kex + strict,
        b"ssh-ed25519",
        cipher,
        cipher,
        b"hmac-sha2-256",
        b"hmac-sha2-256",
        b"none",
        b"none",
        b"",
        b"",
    )
    return bytes((20,)) + bytes(16) + b"".join(map(string, lists)) + bytes(5)


KEX = kexinit(b"curve25519-sha256", strict=b",kex-strict-s-v00@openssh.com")
HOST_KEY = string(string(b"ssh-ed25519") + string(bytes(32)))
SIGNATURE = string(string(b"ssh-ed25519") + string(bytes(64)))
REPLY = b"\x1f" + HOST_KEY + string(bytes(range(1, 33))) + SIGNATURE
DH_REPLY = b"\x1f" + HOST_KEY + string(b"\1" + bytes(255)) + SIGNATURE
OPEN = ssh.channel_open(7, 1 << 21, 32768, ("localhost", PORT), (b"10.0.0.9", 4711))
GRANTED = bytes((ssh.MSG_REQUEST_SUCCESS,))


def data_of(channel: int, data: bytes) -> bytes:
    """Return a DATA message."""
    return bytes((ssh.MSG_DATA,)) + U32(channel) + string(data)


ABOUT = tuple(bytes((kind,)) + U32(0) for kind in (ssh.MSG_EOF, ssh.MSG_CLOSE, ssh.MSG_CHANNEL_SUCCESS))
ASKED = bytes((ssh.MSG_CHANNEL_REQUEST,)) + U32(0) + string(b"keepalive@openssh.com") + b"\1"
EXTENDED = bytes((ssh.MSG_EXTENDED_DATA,)) + U32(0) + U32(1) + string(b"oops")
HOST_KEYS = ssh.global_request("hostkeys-00@openssh.com", want_reply=False) + string(b"x")
LIFE = (
    talk(GRANTED, OPEN, data_of(0, b"select 1"), bytes((SENDS,)) + b"row", ssh.window_adjust(0, 1 << 20), *ABOUT[:2]),
    talk(GRANTED, OPEN, OPEN, data_of(1, b"x" * 3000), bytes((ENDS,)), ABOUT[1], bytes((RESETS,)), ASKED, EXTENDED),
    talk(GRANTED, OPEN, bytes((DEAF,)), *[bytes((SENDS,))] * 20, bytes((DEAF,)), ABOUT[0], bytes((SENDS,)), ABOUT[1]),
    talk(GRANTED, OPEN, HOST_KEYS, KEX, REPLY, b"\x15", data_of(0, b"in a key exchange"), ABOUT[2]),
    talk(
        bytes((ssh.MSG_REQUEST_FAILURE,)),
        ssh.debug("port forwarding refused"),
        b"\xc0ping",
        b"\1" + U32(2) + string(b"bye"),
    ),
)
WORDS = (
    *(
        talk(word)
        for word in (GRANTED, OPEN, ASKED, EXTENDED, KEX, REPLY, b"\x15", b"\x02", b"\xc0x", b"\x03", *ABOUT)
    ),
    *(talk(data_of(0, b"x" * 40)), talk(ssh.window_adjust(0, 0xFFFFFFFF)), talk(data_of(1, b""))),
    *(talk(bytes((act,))) for act in (SENDS, ENDS, RESETS, CONNECTS, DEAF)),
    talk(bytes((RAW,)) + bytes(40)),
)
ACCEPTED = b"\x06" + string(b"ssh-userauth")
REFUSED = b"\x33" + string(b"publickey,password") + b"\0"
TARGETS = (
    Target(
        "ssh_reader", _reader, (b"\0\1\2\2" + U32(7) + string(b"text") + b"\1\0",), (b"\xff\xff\xff\xff", b"\0\0\0\1")
    ),
    Target(
        "client_raw",
        _raw,
        (
            BANNER + in_the_clear(KEX) + in_the_clear(REPLY),
            b"Not allowed at this time\r\n",
            b"HTTP/1.0 400 x\r\n" + BANNER,
        ),
        (
            b"SSH-2.0-",
            b"SSH-1.99-",
            b"\r\n",
            b"\0\0\0\x0c\4",
            in_the_clear(KEX),
            in_the_clear(b"\1"),
            b"\0\0\x88\xb8",
        ),
    ),
    Target(
        "client_key_exchange",
        _key_exchange,
        (
            talk(KEX, REPLY, b"\x15"),
            talk(kexinit(b"diffie-hellman-group14-sha256"), DH_REPLY),
            talk(kexinit(b"ecdh-sha2-nistp256"), b"\x1f" + HOST_KEY + string(b"\4" + bytes(64)) + SIGNATURE),
            talk(
                kexinit(b"mlkem768x25519-sha256", b"aes256-gcm@openssh.com"),
                b"\x1f" + HOST_KEY + string(bytes(1120)) + SIGNATURE,
            ),
        ),
        (
            talk(KEX),
            talk(REPLY),
            talk(b"\x15"),
            talk(b"\2"),
            talk(b"\4\1" + string(b"x") * 2),
            talk(ACCEPTED),
            b"curve25519-sha256",
            b",",
        ),
    ),
    Target(
        "client_sign_in",
        _signing_in,
        (
            talk(ACCEPTED, b"\x35" + string(b"banner\x1b[2J") + string(b""), b"\x34"),
            talk(ACCEPTED, REFUSED),
            talk(
                b"\7" + U32(1) + string(b"server-sig-algs") + string(b"ssh-ed25519"),
                ACCEPTED,
                b"\x3c" + string(b"ssh-ed25519"),
            ),
        ),
        (
            talk(ACCEPTED),
            talk(REFUSED),
            talk(b"\x34"),
            talk(KEX),
            talk(b"\x3c\0"),
            talk(OPEN),
            talk(b"\x51"),
            talk(b"\7\x7f\xff\xff\xff"),
            b"publickey",
        ),
    ),
    Target("client_signed_in", _signed_in, LIFE, WORDS),
)
