"""What we rely on inside paramiko, held against the paramiko that is installed.

`ssh.packetizer` is its packetizer and `ssh.transport` its Transport, and both stand on private names and on an order
of calls that its documentation does not promise. If one of these fails after an upgrade, read the message, then what
paramiko changed, then our override; only then widen the range in pyproject.toml.
"""

from __future__ import annotations

import inspect
import io
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko.auth_handler import AuthHandler
from paramiko.common import MSG_NAMES, cMSG_UNIMPLEMENTED
from paramiko.ecdsakey import ECDSAKey
from paramiko.ed25519key import Ed25519Key
from paramiko.kex_gex import KexGexSHA256
from paramiko.kex_group14 import KexGroup14SHA256
from paramiko.message import Message
from paramiko.packet import NeedRekeyException, Packetizer
from paramiko.rsakey import RSAKey
from paramiko.transport import Transport
from tests.rigs import processes

from ioconnect.ssh.algorithms import AEAD_CIPHERS, CIPHERS, EVERYTHING, HOST_KEYS
from ioconnect.ssh.checked_message import KEY_CLASSES, CheckedECDSAKey, CheckedMessage
from ioconnect.ssh.diffie_hellman import Group14, Group16, GroupExchange
from ioconnect.ssh.outbound import Payload
from ioconnect.ssh.packetizer import AFTER_SIGN_IN, BEFORE_SIGN_IN, LoopPacketizer
from ioconnect.ssh.transport import ClientTransport, LoopTransport, negotiated_kex
from ioconnect.stub.session import ServerTransport

if TYPE_CHECKING:
    from collections.abc import Callable

KEXINIT, NEWKEYS = 20, 21

# Methods of paramiko that we override or call: owner, name, parameters, and where.
SIGNATURES = [
    (Packetizer, "__init__", "self, socket", "LoopPacketizer.__init__"),
    (
        Packetizer,
        "read_message",
        "self",
        "LoopPacketizer.read_message, and LoopPacketizer._next_packet for the generic path",
    ),
    (
        Packetizer,
        "send_message",
        "self, data",
        "LoopPacketizer.send_message; Outbound's generic path calls it with a Payload",
    ),
    (Packetizer, "read_all", "self, n, check_rekey", "LoopPacketizer.read_all"),
    (Packetizer, "write_all", "self, out", "LoopPacketizer.write_all"),
    (Packetizer, "readline", "self, timeout", "LoopPacketizer.readline"),
    (Packetizer, "start_handshake", "self, timeout", "LoopPacketizer.start_handshake, which starts no timer thread"),
    (Packetizer, "reset_seqno_in", "self", "LoopPacketizer.reset_seqno_in"),
    (Packetizer, "reset_seqno_out", "self", "LoopPacketizer.reset_seqno_out"),
    (Packetizer, "_trigger_rekey", "self", "LoopPacketizer._run_once"),
    (Packetizer, "need_rekey", "self", "Transport.run asks it after NeedRekeyException"),
    (Transport, "run", "self", "ClientTransport.run"),
    (Transport, "start_client", "self, event, timeout", "Session and keyscan, with an event: returns at once"),
    (Transport, "auth_publickey", "self, username, key, event", "Session.advance, with an event: returns at once"),
    (Transport, "is_authenticated", "self", "Session.advance"),
    (Transport, "_log", "self, level, msg, *args", "ClientTransport._log"),
    (Transport, "_verify_key", "self, host_key, sig", "ClientTransport._verify_key"),
    (Transport, "_parse_kex_init", "self, m", "ClientTransport._parse_kex_init"),
    (Transport, "_really_parse_kex_init", "self, m, ignore_first_byte", "transport.negotiated_kex"),
    (Transport, "_parse_ext_info", "self, msg", "LoopTransport._parse_ext_info"),
    (Transport, "_parse_disconnect", "self, m", "LoopTransport._parse_disconnect"),
    (Transport, "_parse_debug", "self, m", "LoopTransport._parse_debug"),
    (Message, "get_bytes", "self, n", "CheckedMessage.get_bytes"),
    (Message, "get_text", "self", "CheckedMessage.get_text"),
    (Message, "get_mpint", "self", "CheckedMessage.get_mpint"),
    (ECDSAKey, "_sigdecode", "self, sig", "CheckedECDSAKey._sigdecode"),
    (KexGexSHA256, "_parse_kexdh_gex_group", "self, m", "GroupExchange._parse_kexdh_gex_group"),
    *((kex, "_generate_x", "self", "ssh/diffie_hellman.py") for kex in (KexGexSHA256, KexGroup14SHA256)),
    (Transport, "start_server", "self, event, server", "the stub's Session, with an event: returns at once"),
    (Transport, "_parse_newkeys", "self, m", "the stub's ServerTransport"),
    (Transport, "_send_kex_init", "self", "the stub's ServerTransport"),
    (AuthHandler, "_parse_userauth_request", "self, m", "the stub's ServerTransport"),
]


@pytest.mark.parametrize(("owner", "name", "parameters", "ours"), SIGNATURES)
def test_signatures(owner: type[Any], name: str, parameters: str, ours: str) -> None:
    found = ", ".join(
        str(given).split("=")[0] for given in inspect.signature(getattr(owner, name)).parameters.values()
    )

    assert found == parameters, (
        f"paramiko's {owner.__name__}.{name} takes ({found}) now; {ours} expects ({parameters})"
    )


OVERRIDES = {
    LoopPacketizer: {
        *("read_message", "send_message", "read_all", "write_all", "readline", "start_handshake"),
        *("set_outbound_cipher", "set_inbound_cipher", "reset_seqno_out", "reset_seqno_in"),
        *("REKEY_BYTES", "REKEY_PACKETS"),
    },
    LoopTransport: {
        *("run", "_log", "_parse_ext_info", "_parse_disconnect", "_parse_debug", "_kex_info", "_key_info"),
    },
    ClientTransport: {"_verify_key", "preferred_keys", "_CLIENT_ID", "_parse_kex_init", "_really_parse_kex_init"},
    CheckedMessage: {"get_bytes", "get_text", "get_mpint"},
    CheckedECDSAKey: {"_sigdecode"},
    ServerTransport: {"_send_kex_init", "_parse_newkeys"},
    Group14: {"_generate_x"},
    Group16: {"_generate_x"},
    GroupExchange: {"_generate_x", "_parse_kexdh_gex_group", "min_bits", "preferred_bits", "max_bits"},
}


@pytest.mark.parametrize("ours", OVERRIDES)
def test_overrides_override_something(ours: type[Any]) -> None:
    """A name that paramiko no longer has would never be called or read."""
    base = ours.__mro__[1]

    assert OVERRIDES[ours] <= set(vars(ours)), "this list is not up to date"
    assert OVERRIDES[ours] <= set(dir(base)), f"what {ours.__name__} overrides is not in paramiko's {base.__name__}"


def test_whatever_paramiko_reads_of_a_message_is_checked() -> None:
    """CheckedMessage overrides what every other reader of a Message calls."""
    readers = {name for name, method in vars(Message).items() if "packet.read(" in _source(method)}

    assert readers == {"get_bytes", "get_remainder", "get_so_far"}
    for name in {name for name in vars(Message) if name.startswith("get_")} - readers:
        assert re.search(r"self\.get_\w+\(", _source(vars(Message)[name])), name


def test_whatever_it_reads_of_a_key_or_a_signature_is_checked() -> None:
    """Keys of the peer are made by `_key_info` alone, and only ECDSA's signatures have numbers in them."""
    assert "self._key_info[self.host_key_type](Message(host_key))" in _source(Transport._verify_key)
    assert "_key_info[algorithm](Message(keyblob))" in _source(AuthHandler._generate_key_from_request)
    assert set(KEY_CLASSES) == set(Transport._key_info)
    assert set(Transport._key_info.values()) <= {ECDSAKey, Ed25519Key, RSAKey}
    assert _source(ECDSAKey._sigdecode).count("get_mpint()") == 2
    for kind in (ECDSAKey, Ed25519Key, RSAKey):
        assert "get_mpint" not in _source(kind.verify_ssh_sig), kind


def test_texts_of_the_peer_are_escaped_by_one_method_alone() -> None:
    """safe_string takes quadratic time; `_parse_debug`, which is ours, is its only caller in a connection."""
    files = [inspect.getmodule(kind) for kind in (Transport, AuthHandler, Packetizer, Message)]
    callers = [name for module in files for name in re.findall(r"safe_string\(", inspect.getsource(module))]

    assert len(callers) == _source(Transport._parse_debug).count("safe_string(") == 1


def _source(of: object) -> str:
    return inspect.getsource(of) if inspect.isfunction(of) else ""


def test_the_private_counters_are_there() -> None:
    """LoopPacketizer reads and writes paramiko's sequence numbers by their mangled names."""
    packetizer = Packetizer(_Socket())
    for name in ("_Packetizer__sequence_number_in", "_Packetizer__sequence_number_out"):
        assert getattr(packetizer, name, None) == 0, (
            f"{name} is not paramiko's counter any more: see LoopPacketizer.set_*_cipher"
        )


def test_message_types_have_names() -> None:
    """paramiko looks every type up in MSG_NAMES and fails on others, so only these are handed to it."""
    assert set(MSG_NAMES) >= BEFORE_SIGN_IN
    assert {1, 2, 3, 4, 5, 6, 7, KEXINIT, NEWKEYS, 30, 31, 50, 51, 52, 53, 60} <= BEFORE_SIGN_IN
    assert {1, 2, 3, 4, 7, KEXINIT, NEWKEYS, 30, 31} <= AFTER_SIGN_IN
    assert not {5, 6} & AFTER_SIGN_IN
    assert max(AFTER_SIGN_IN) < 50
    assert cMSG_UNIMPLEMENTED == b"\3"


def test_what_is_offered_exists() -> None:
    """A name that paramiko does not know would be offered, chosen, and then fail."""
    assert set(ClientTransport._kex_info) >= set(EVERYTHING.kex) - {"mlkem768x25519-sha256"}
    assert set(CIPHERS) <= set(Transport._cipher_info)
    assert set(EVERYTHING.macs) <= set(Transport._mac_info)
    assert set(HOST_KEYS) <= set(Transport._key_info)
    assert [name for name in CIPHERS if Transport._cipher_info[name].get("is_aead")] == list(AEAD_CIPHERS)


# --- a key exchange, by hand

# A group exchange needs a server with groups.
EXCHANGES = tuple(
    name for name in EVERYTHING.kex if name in ClientTransport._kex_info and "group-exchange" not in name
)


class _Socket:
    """What Transport asks of a socket that nobody reads or writes."""

    def __init__(self) -> None:
        self.closed = False

    def settimeout(self, timeout: float) -> None: ...

    def close(self) -> None:
        self.closed = True


class _Recorder(Packetizer):  # type: ignore[misc]
    """Notes what paramiko asks of its packetizer, and keeps what it sends."""

    def __init__(self, socket: Any) -> None:
        super().__init__(socket)
        self.calls: list[str] = []
        self.ciphers: list[dict[str, Any]] = []
        self.sent: list[bytes] = []

    def send_message(self, data: Any) -> None:
        self.calls.append(f"send {data.asbytes()[0]}")
        self.sent.append(data.asbytes())

    def set_outbound_cipher(self, *args: Any, **kwargs: Any) -> None:
        assert not args, "set_outbound_cipher is called with positional arguments: LoopPacketizer reads the keywords"
        self.calls.append("set_outbound_cipher")
        self.ciphers.append(kwargs)
        super().set_outbound_cipher(**kwargs)

    def set_inbound_cipher(self, *args: Any, **kwargs: Any) -> None:
        assert not args, "set_inbound_cipher is called with positional arguments: LoopPacketizer reads the keywords"
        self.calls.append("set_inbound_cipher")
        self.ciphers.append(kwargs)
        super().set_inbound_cipher(**kwargs)

    def reset_seqno_out(self) -> None:
        self.calls.append("reset_seqno_out")

    def reset_seqno_in(self) -> None:
        self.calls.append("reset_seqno_in")


class _Client(Transport):  # type: ignore[misc]
    verified: list[bytes]
    kex = ""

    def _parse_kex_init(self, m: Message) -> None:
        super()._parse_kex_init(m)
        self.kex = negotiated_kex(self)

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        super()._verify_key(host_key, sig)
        self.verified.append(host_key)
        self.packetizer.calls.append("_verify_key")


def ends(cipher: str, kex: str) -> tuple[_Client, Transport]:
    """Return a client and a server that are past their banners."""
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    client, server = (kind(_Socket(), packetizer_class=_Recorder) for kind in (_Client, Transport))
    client.verified = []
    client._kex_info = ClientTransport._kex_info
    for end, other in ((client, server), (server, client)):
        end.active = True
        end.remote_version = other.local_version
        end._preferred_ciphers = (cipher,)
        end._preferred_kex = (kex,)
    server._kex_info = ClientTransport._kex_info
    server.server_mode = True
    server.add_server_key(paramiko.Ed25519Key.from_private_key(io.StringIO(key.decode())))
    return client, server


def exchange(client: _Client, server: Transport) -> None:
    """Have the client begin, and carry messages until both are silent; as Transport.run hands them out."""
    for end in (client, server):
        end.packetizer.sent.clear()
    client._send_kex_init()
    while client.packetizer.sent or server.packetizer.sent:
        for end, other in ((client, server), (server, client)):
            while end.packetizer.sent:
                payload = end.packetizer.sent.pop(0)
                message = Message(payload[1:])
                message.seqno = 0
                if 30 <= payload[0] <= 41:
                    other.kex_engine.parse_next(payload[0], message)
                elif payload[0] != 7:
                    other._handler_table[payload[0]](message)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_the_order_of_a_key_exchange(cipher: str) -> None:
    """First and later ones: the key is verified before our NEWKEYS, ciphers follow NEWKEYS of their direction."""
    client, server = ends(cipher, "curve25519-sha256@libssh.org")
    calls = client.packetizer.calls
    for _ in range(2):
        calls.clear()
        exchange(client, server)

        assert calls == [
            "send 20",
            "send 30",
            "_verify_key",
            "send 21",
            "reset_seqno_out",
            "set_outbound_cipher",
            "set_inbound_cipher",
            "reset_seqno_in",
        ], "Outbound goes quiet at KEXINIT, and LoopPacketizer expects the switch of keys right after each NEWKEYS"
        assert client.initial_kex_done
        assert not client.in_kex
    assert len(client.verified) == 2, "the host key must be verified on every exchange, not on the first alone"
    assert client.verified == 2 * [server.get_server_key().asbytes()]


@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_a_cipher_comes_with(cipher: str) -> None:
    """The tuned path takes the AES-GCM engine and its 12-byte nonce from paramiko's keywords."""
    client, server = ends(cipher, "curve25519-sha256@libssh.org")
    exchange(client, server)

    for given, iv in zip(client.packetizer.ciphers, ("iv_out", "iv_in"), strict=True):
        if "gcm" in cipher:
            assert given["aead"] is True
            assert isinstance(given["block_engine"], AESGCM), "Sealer and Opener need cryptography's AESGCM"
            assert len(given[iv]) == 12
        else:
            assert not given["aead"]
            assert given[iv] is None


def test_aesgcm_works_between_buffers() -> None:
    engine = AESGCM(bytes(16))
    sealed = bytearray(20)
    opened = bytearray(4)

    assert engine.encrypt_into(bytes(12), b"data", b"aad", sealed) == 20
    assert engine.decrypt_into(bytes(12), bytes(sealed), b"aad", opened) == 4
    assert opened == b"data"


@pytest.mark.parametrize("kex", EXCHANGES)
def test_every_key_exchange_verifies_the_host_key(kex: str) -> None:
    """Whatever method is negotiated; and a key that does not verify stops it before our NEWKEYS."""
    client, server = ends(CIPHERS[0], kex)
    exchange(client, server)
    assert len(client.verified) == 1

    def refuse(*_: Any) -> None:
        raise ZeroDivisionError

    client, server = ends(CIPHERS[0], kex)
    client._verify_key = refuse
    with pytest.raises(ZeroDivisionError):
        exchange(client, server)
    assert "send 21" not in client.packetizer.calls, "a refused host key must end the exchange"


@pytest.mark.parametrize("kex", EXCHANGES)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_the_name_of_the_key_exchange(kex: str, cipher: str) -> None:
    """ClientTransport notes it; agent.session.security reads the names of ciphers and MACs from paramiko."""
    client, server = ends(cipher, kex)
    client._preferred_kex = EXCHANGES
    exchange(client, server)

    assert client.kex == kex
    assert client.local_cipher == client.remote_cipher == cipher
    assert client.local_mac in Transport._mac_info


# --- the thread


class _Played(_Recorder):
    """Plays a prepared sequence of messages or exceptions to the transport's thread."""

    def __init__(self, socket: Any) -> None:
        super().__init__(socket)
        self.script: list[Callable[[], tuple[int, Message]]] = []
        self.threads: set[str] = set()

    def write_all(self, out: bytes) -> None:
        self.calls.append("write_all")
        assert out.startswith(b"SSH-2.0-")

    def readline(self, timeout: float) -> str:  # noqa: ARG002  paramiko's signature
        self.calls.append("readline")
        return "SSH-2.0-played"

    def start_handshake(self, timeout: float) -> None:  # noqa: ARG002  paramiko's signature
        self.calls.append("start_handshake")

    def read_message(self) -> tuple[int, Message]:
        self.calls.append("read_message")
        self.threads.add(threading.current_thread().name)
        return self.script.pop(0)()


def play(*script: Callable[[], tuple[int, Message]]) -> Transport:
    """Run a client's thread through the script to its end."""
    transport = Transport(_Socket(), packetizer_class=_Played)
    transport.packetizer.script = list(script)
    transport.name = "the transport"
    transport.start_client(event=threading.Event())
    transport.join(20)
    assert not transport.is_alive()
    return transport


def raising(error: BaseException) -> Callable[[], tuple[int, Message]]:
    def act() -> tuple[int, Message]:
        raise error

    return act


def test_everything_happens_on_the_transports_thread() -> None:
    transport = play(raising(EOFError()))

    assert transport.packetizer.threads == {"the transport"}, (
        "the loop runs inside read_message, on this thread alone"
    )
    assert transport.packetizer.calls == ["write_all", "readline", "start_handshake", "send 20", "read_message"]


@pytest.mark.parametrize("error", [EOFError(), OSError(5, "x"), ValueError("x"), paramiko.SSHException("x")])
def test_whatever_is_raised_ends_the_thread_and_is_kept(error: BaseException) -> None:
    """ClientTransport.run asks for it afterwards, and the socket is closed by then."""
    transport = play(raising(error))

    assert transport.saved_exception is error
    assert transport.sock.closed


def test_what_is_raised_in_the_banner_is_the_context_of_what_is_kept() -> None:
    """`transport.root_cause` finds it there: a fault, a deadline, somebody who leaves."""

    class InBanner(_Played):
        def readline(self, timeout: float) -> str:  # noqa: ARG002  paramiko's signature
            raise ZeroDivisionError

    transport = Transport(_Socket(), packetizer_class=InBanner)
    transport.start_client(event=threading.Event())
    transport.join(20)

    assert isinstance(transport.saved_exception, paramiko.SSHException)
    assert isinstance(transport.saved_exception.__context__, ZeroDivisionError)


def test_need_rekey_has_a_key_exchange_begun() -> None:
    """LoopPacketizer raises it after `_trigger_rekey`; run comes back with KEXINIT before it reads on."""
    transports: list[Transport] = []

    def want_new_keys() -> tuple[int, Message]:
        transport = threading.current_thread()
        assert isinstance(transport, Transport)
        transports.append(transport)
        transport.in_kex = False  # as after the first exchange
        transport.packetizer._trigger_rekey()
        raise NeedRekeyException

    transport = play(want_new_keys, raising(EOFError()))

    assert transport.packetizer.calls[-4:] == ["send 20", "read_message", "send 20", "read_message"]
    assert isinstance(transport.saved_exception, EOFError)


def test_a_disconnect_ends_the_thread_without_an_error() -> None:
    """`ended` is called with None then, and the text was given to `_parse_disconnect`."""
    goodbye = Message(b"\0\0\0\x0b" + b"\0\0\0\3bye" + b"\0\0\0\0")
    transport = play(lambda: (1, goodbye))

    assert transport.saved_exception is None
    assert transport.sock.closed


def test_the_seqno_is_read_off_the_message() -> None:
    """paramiko checks `m.seqno` of the first KEXINIT (strict key exchange), so LoopPacketizer must set it."""
    assert "m.seqno" in inspect.getsource(Transport._parse_kex_init)


def test_a_payload_passes_for_a_message() -> None:
    """The generic path gives `send_message` a Payload: of a Message it needs `asbytes` alone."""
    source = inspect.getsource(Packetizer.send_message)

    assert re.findall(r"\bdata\.(\w+)", source) == ["asbytes"]
    assert Payload(b"x").asbytes() == b"x"


def test_signing_in_does_not_wait() -> None:
    """`auth_publickey` with an event sends SERVICE_REQUEST and returns; success and failure set the event."""
    transport = Transport(_Socket(), packetizer_class=_Recorder)
    transport.active = transport.initial_kex_done = True
    over = threading.Event()
    transport.auth_publickey("user", paramiko.PKey(), over)

    assert transport.packetizer.calls == ["send 5"]
    transport.auth_handler._parse_userauth_failure(Message(b"\0\0\0\x09publickey\0"))
    assert over.is_set()
    assert not transport.is_authenticated()

    over.clear()
    transport.auth_handler._parse_userauth_success(Message())
    assert over.is_set()
    assert transport.is_authenticated()


def test_a_commands_paramiko_imports_nothing_that_no_command_uses() -> None:
    """invoke brings asyncio, unittest and a YAML parser with it: 5 MB of memory and 0.1 s."""
    program = (
        "import sys; from ioconnect import cli; sys.argv[1:] = ['--version']\n"
        "try: cli.main()\nexcept SystemExit: import paramiko\n"
        "print(sorted(sys.modules.keys() & {'asyncio', 'unittest', 'invoke.runners'}))"
    )

    assert processes.run([sys.executable, "-c", program]).stdout.splitlines()[1:] == ["[]"]
