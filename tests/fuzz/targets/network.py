"""What other machines answer: proxies, the registration API, databases; and the kernel's netlink messages."""

from __future__ import annotations

import base64
import json
import struct

from tests.fuzz.target import Target

from ioconnect.agent.dial import proxy
from ioconnect.agent.dial.proxy_protocols import handshake
from ioconnect.agent.network import netlink, netlink_requests
from ioconnect.agent.targets.mysql_handshake import RefusedSignIn
from ioconnect.checks.databases import bson, mongodb, mysql, oracle, postgres, redis, sqlserver
from ioconnect.checks.databases.protocol_probe import ClientRejected, ProtocolMismatch, TlsRefused
from ioconnect.config.addresses import HostPort
from ioconnect.errors import Fault
from ioconnect.registration import api_faults, client
from ioconnect.registration.api_faults import AnswerMalformed

JUMPHOST = HostPort("jump.example.com", 50683)
PROBES = (postgres.probe, mysql.probe, sqlserver.probe, mongodb.probe, redis.probe, oracle.probe)
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
REGISTRATION = {
    "name": "orders",
    "endpoint": "127.0.0.1:58115",
    "ssh_port": 50683,
    "ssh_user": "sshtunnel",
    "host_keys": [KEY],
}
GREETING = b"\x0a8.4.3\0" + struct.pack("<I8sB", 7, b"challeng", 0) + b"\xff\xf7\x21\x02\0\xff\x81\x15" + bytes(30)
MYSQL = len(GREETING).to_bytes(3, "little") + b"\0" + GREETING
MONGO = bson.encode({"ok": 1, "maxWireVersion": 17, "version": "7.0.1"})
MONGO_REPLY = struct.pack("<iiiiIB", 21 + len(MONGO), 1, 1, 2013, 0, 0) + MONGO
TDS_OPTIONS = struct.pack(">BHHBHHB", 0, 11, 6, 1, 17, 1, 0xFF) + struct.pack(">BBHHB", 16, 0, 4115, 0, 1)
TDS = struct.pack(">BBHHBB", 4, 1, 8 + len(TDS_OPTIONS), 0, 1, 0) + TDS_OPTIONS
POSTGRES_ERROR = b"SFATAL\0C0A000\0Munsupported frontend protocol 4.0: server supports 3.0 to 3.2\0\0"
POSTGRES = b"E" + struct.pack(">I", len(POSTGRES_ERROR) + 4) + POSTGRES_ERROR
TNS_REFUSE = struct.pack(">BBH", 1, 0, 42) + b"(DESCRIPTION=(VSNNUM=318767104)(ERR=1189))"
TNS = struct.pack(">HHBBH", 8 + len(TNS_REFUSE), 0, 4, 0, 0) + TNS_REFUSE
LINK = struct.pack("=IHHII", 32, 16, 0, 0, 0) + struct.pack("=BxHiII", 0, 1, 2, 0x11043, 0)
ROUTE = (
    struct.pack("=IHHII", 36, 24, 0, 0, 0)
    + struct.pack("=8BI", 2, 0, 0, 0, 254, 3, 0, 1, 0)
    + struct.pack("=HHI", 8, 15, 2)
)


def _proxy(url: str, data: bytes) -> bool:
    chosen = proxy.parse(url, origin="proxy")
    assert chosen is not None
    steps, left = handshake(chosen, JUMPHOST), data
    try:
        step = next(steps)
        while True:
            if isinstance(step, bytes):
                step = steps.send(b"")
            elif len(left) < step:
                step = steps.throw(EOFError())
            else:
                taken, left = left[:step], left[step:]
                step = steps.send(taken)
    except StopIteration:
        return True
    except (Fault, EOFError):
        return False


def _api_answer(data: bytes) -> bool:
    for status in (301, 401, 409, 500, 799):
        assert api_faults.refused(status, data, host="api", name="orders").message.isprintable()
    try:
        return bool(client._parse(data, "orders"))
    except AnswerMalformed:
        return False


def _netlink(data: bytes) -> bool:
    state = netlink.NetworkState(netlink.parse_rtnetlink)
    state.update(data)
    netlink_requests.route_in(data)
    netlink_requests.link_in(data)
    return bool([*netlink.parse_rtnetlink(data), *netlink.parse_pf_route(data)])


def _database_probes(data: bytes) -> bool:
    return sum(_probe(probe(), data) for probe in PROBES) > 0


def _probe(steps: postgres.Probe, data: bytes) -> bool:
    """Give a probe what it asks for until there is no more."""
    left = data
    try:
        step = next(steps)
        for _ in range(1000):
            if isinstance(step, int) and not isinstance(step, bool):
                if len(left) < step:
                    step = steps.throw(EOFError())
                    continue
                taken, left = left[:step], left[step:]
                step = steps.send(taken)
            else:
                step = steps.send(b"")
    except StopIteration as end:
        assert end.value.name
        return True
    except (ProtocolMismatch, ClientRejected, TlsRefused, EOFError, TimeoutError):
        return False
    raise AssertionError("a probe that never ends")


def _mysql_handshake(data: bytes) -> bool:
    sign_in = RefusedSignIn()
    for at in range(0, len(data), 50):
        sign_in.feed(data[at : at + 50])
    sign_in.feed(b"")
    assert sign_in.over
    return sign_in.is_mysql


TARGETS = (
    Target(
        "http_proxy",
        lambda data: _proxy("http://ann:secret@proxy:3128", data),
        (
            b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nSSH-2.0-x\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 ok\n\n",
            b'HTTP/1.1 407 no\r\nProxy-Authenticate: Basic realm="x"\r\nProxy-Authenticate: Negotiate\r\n\r\n',
        ),
        (b"HTTP/1.1 ", b"\r\n", b"\n\n", b"100 ", b"Proxy-Authenticate: ", b"403 "),
    ),
    Target(
        "socks_proxy",
        lambda data: _proxy("socks5://ann:secret@proxy:1080", data),
        (b"\5\0\5\0\0\1\x7f\0\0\1\0\x16", b"\5\2\1\0\5\0\0\3\4hostab", b"\5\xff", b"\5\2\1\1", b"\5\0\5\5\0\1"),
        (b"\5\0", b"\5\2", b"\1\0", b"\0\4", b"\0\3\xff"),
    ),
    Target(
        "api_answer",
        _api_answer,
        (json.dumps(REGISTRATION).encode(), b'{"error": "no"}'),
        (b"[", b"{", b"null", b"1e999", b"-1", b'"host_keys"', b"\\ud800", b"\\u001b", b'"error":', b"ssh-ed25519 "),
    ),
    Target(
        "netlink",
        _netlink,
        (LINK, ROUTE, LINK + ROUTE, b"\x70\0\5\x0e" + bytes(120)),
        (b"\x10\0", b"\x18\0", b"\x14\0"),
    ),
    Target(
        "database_probes",
        _database_probes,
        (
            MYSQL,
            MONGO_REPLY,
            TDS,
            b"S" + POSTGRES,
            b"N" + POSTGRES,
            TNS,
            b"-NOAUTH x\r\n",
            b"$20\r\nredis_version:7.0.1\r\n",
        ),
        (b"redis_version:", b"\r\n", b"$", b"(VSNNUM=", b"E\0\0\0", b"server supports ", b"5.5.5-", b"\xff\x6a\x04"),
    ),
    Target(
        "mysql_handshake",
        _mysql_handshake,
        (MYSQL, MYSQL + b"\x01\0\0\2\xff", MYSQL + b"\x01\0\0\2\xfe", MYSQL + b"\x02\0\0\2\1\4\1\0\0\4\0"),
        (b"\1\0\0", b"\0\0\0", b"\x0a"),
    ),
)
