"""The configuration, and what else says how to reach something."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.target import Target

from ioconnect.agent.dial import proxy
from ioconnect.commands.setup import listening_sockets
from ioconnect.config import configuration
from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigInvalid, UsageFault
from ioconnect.registration import client

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIGURATION = b"""schema = 1
[agent]
keepalive_interval = 10
keepalive_count_max = 1
buffer_mib = 64
[tunnels.orders]
endpoint = "virginia-tunnel.flydata.app:58115"
target = "localhost:3306"
ssh_port = 50683
ssh_user = "sshtunnel"
proxy = "http://user@host:3128"
identity = "~/keys/orders"
standby = false
"""
SOCKETS = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    b"   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1\n"
    b"   1: 00000000000000000000000001000000:1538 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1 1\n"
)


def _configuration(data: bytes) -> bool:
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return False  # what configuration.load makes ConfigInvalid of
    try:
        parsed = configuration.parse(document, source="config.toml", folder=Path("/etc/ioconnect"))
    except ConfigInvalid as fault:
        assert fault.faults, "refused without a fault"
        return False
    again = configuration.parse(configuration.document(parsed), source="x", folder=Path("/etc/ioconnect"))
    assert again == parsed, "what is written is not what was read"
    return True


def _proxy_setting(data: bytes) -> bool:
    setting, _, rest = data.decode("utf-8", "surrogateescape").partition("\n")
    variable, _, exempt = rest.partition("\n")
    environ = {"https_proxy": variable, "no_proxy": exempt}
    try:
        return proxy.choose(HostPort("jump.example.com", 50683), setting, environ) is not None
    except ConfigInvalid:
        return False


def _api_url(data: bytes) -> bool:
    try:
        return bool(client.checked_url(data.decode("utf-8", "surrogateescape")))
    except UsageFault:
        return False


def _listening_sockets(data: bytes) -> bool:
    found = list(listening_sockets.listeners(data.decode("ascii", "replace").splitlines()))
    listening_sockets.databases(found)
    return bool(found)


TARGETS = (
    Target(
        "configuration",
        _configuration,
        (CONFIGURATION, b'schema = 1\ntunnels.a = {endpoint = "a:1", target = "[::1]:2"}\n'),
        (
            b"[tunnels.",
            b"[[",
            b"]]",
            b" = ",
            b"'''",
            b'"""',
            b"\\u0000",
            b"1979-05-27T07:32:00Z",
            b"inf",
            b"0x",
            b"{",
            b"[[",
        ),
    ),
    Target(
        "proxy_setting",
        _proxy_setting,
        (b"socks5://u:p@h:1", b"\nhttp://u:%40@proxy:3128\n.corp,10.0.0.0/8", b"\nhttps://[::1]\n*", b"none"),
        (b"://", b"%", b"@", b"[", b"]", b",", b"*", b"/8", b"socks5h"),
    ),
    Target(
        "api_url", _api_url, (b"https://api.example.com/v1/tunnels", b"http://127.0.0.1:8080"), (b"://", b"@", b"[")
    ),
    Target("listening_sockets", _listening_sockets, (SOCKETS,), (b" 0A ", b":0CEA ", b"0100007F")),
)
