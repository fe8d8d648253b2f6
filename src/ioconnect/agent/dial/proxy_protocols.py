"""The client side of proxy protocols, HTTP CONNECT and SOCKS5, without I/O.

Pure. A `Handshake` is a generator: it yields bytes to send, or the exact number of bytes to read and send into it.
It never reads beyond the proxy's answer, since the SSH banner may follow in the same packet. On EOF throw EOFError
into it. It returns once the proxy is connected to the target; raises ProxyRefused if the proxy refuses,
NameNotResolved for a host name that the protocol cannot carry.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ioconnect.agent.dial.connect_failures import allow_request
from ioconnect.agent.dial.proxy import SOCKS_FIELD, Scheme
from ioconnect.errors import NameNotResolved, ProxyRefused
from ioconnect.escape import escaped

if TYPE_CHECKING:
    from ioconnect.agent.dial.proxy import Proxy
    from ioconnect.config.addresses import HostPort

Handshake = Generator[bytes | int, bytes, None]

MAX_HEAD = 16 << 10  # bytes of one answer's head, interim answers included

_FORBIDDEN_HINT = "Many proxies let CONNECT through to port 443 only. Ask the network team: {request}"
_CANNOT_REACH_HINT = "The proxy cannot reach the jumphost: check the endpoint, or ask the network team: {request}"
_CREDENTIALS_HINT = "Give them in the proxy's URL: {scheme}://user:password@{address} (%40 for @, %3A for :)."
_KERBEROS_HINT = (
    "It wants {offered}, which ioconnect does not speak: run cntlm or px here and name that as the proxy."
)
_NAME_HINT = "Check the endpoint in the configuration."
_WRONG_PROXY_HINT = "Check the proxy's address, port and scheme (http, https, socks5)."


def handshake(proxy: Proxy, target: HostPort) -> Handshake:
    """Return the handshake with this proxy for a connection to `target`."""
    return socks5(proxy, target) if proxy.scheme is Scheme.SOCKS5 else http_connect(proxy, target)


def http_connect(proxy: Proxy, target: HostPort) -> Handshake:
    """HTTP CONNECT (RFC 9110 §9.3.6): any 2xx means connected, its headers are ignored."""
    host = _ascii(target)
    authority = f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.username is not None:
        credentials = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode("ascii")
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    yield "\r\n".join([*lines, "", ""]).encode("ascii")
    limit = MAX_HEAD
    while True:
        head = yield from _head(proxy, limit)
        limit -= len(head)
        status, phrase = _status(proxy, head)
        if 200 <= status < 300:  # noqa: PLR2004  any 2xx (RFC 9110 §9.3.6)
            return
        if status >= 200:  # noqa: PLR2004  1xx are interim answers (RFC 9110 §15.2)
            raise _http_refusal(proxy, target, status, phrase, head)


def _ascii(target: HostPort) -> str:
    """Return the host name in ASCII (IDNA), without whitespace or control characters: they could inject a header."""
    host = target.host
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            host = ""
    if not re.fullmatch(r"[!-~]+", host):
        raise NameNotResolved(f"the jumphost's name {escaped(target.host)} is not a host name", hint=_NAME_HINT)
    return host


def _head(proxy: Proxy, limit: int) -> Generator[bytes | int, bytes, bytes]:
    """Return an answer up to its empty line, read byte by byte; a bare LF ends a line too (RFC 9112 §2.2)."""
    head = bytearray()
    while not head.endswith((b"\n\r\n", b"\n\n")):
        if len(head) >= limit:
            raise ProxyRefused(
                f"the proxy {proxy} sent headers without end (more than {MAX_HEAD >> 10} KiB)",
                hint=_WRONG_PROXY_HINT,
            )
        try:
            head += yield 1
        except EOFError:
            if not head:
                raise
            raise ProxyRefused(
                f"the proxy {proxy} closed the connection in the middle of its answer: {escaped(bytes(head))}",
                hint=_WRONG_PROXY_HINT,
            ) from None
        if len(head) <= len(b"HTTP/") and not b"HTTP/".startswith(head):
            raise ProxyRefused(
                f"the proxy {proxy} does not answer as an HTTP proxy (its first bytes: {escaped(bytes(head))})",
                hint=_WRONG_PROXY_HINT,
            )
    return bytes(head)


def _status(proxy: Proxy, head: bytes) -> tuple[int, str]:
    line = head.split(b"\n", 1)[0].rstrip(b"\r")
    found = re.fullmatch(rb"HTTP/\d\.\d +([1-9]\d\d)(?: +(.*))?", line, re.DOTALL)
    if found is None:
        raise ProxyRefused(
            f"the proxy {proxy} does not answer as an HTTP proxy: {escaped(line)}", hint=_WRONG_PROXY_HINT
        )
    return int(found[1]), escaped(found[2] or b"", limit=80)


def _http_refusal(proxy: Proxy, target: HostPort, status: int, phrase: str, head: bytes) -> ProxyRefused:
    answer = f"{status} {phrase}".strip()
    request = allow_request(target)
    if status in (401, 407):  # 401 is tinyproxy's answer to a wrong password
        return _unauthenticated(proxy, answer, head)
    if status == 403:  # noqa: PLR2004  each status is named by its number
        what = f"does not permit CONNECT to {target}"
        hint = _FORBIDDEN_HINT.format(request=request)
    elif status in (500, 502, 503, 504):
        what = f"cannot reach {target}"
        hint = _CANNOT_REACH_HINT.format(request=request)
    elif status in (400, 404, 405, 501):
        what = f"does not take CONNECT to {target}"
        hint = f"It may be a web server, or not a proxy for this. {_WRONG_PROXY_HINT}"
    else:
        what = f"refused CONNECT to {target}"
        hint = f"Ask the network team what this answer means. {request}"
    return ProxyRefused(f"the proxy {proxy} {what} ({answer})", hint=hint)


def _unauthenticated(proxy: Proxy, answer: str, head: bytes) -> ProxyRefused:
    offered = re.findall(rb"^proxy-authenticate:[ \t]*([!-+\--~]+)", head, re.IGNORECASE | re.MULTILINE)
    schemes = list(dict.fromkeys(escaped(scheme, limit=20) for scheme in offered))
    if schemes and "basic" not in (scheme.lower() for scheme in schemes):
        return ProxyRefused(
            f"the proxy {proxy} wants credentials of another kind ({answer})",
            hint=_KERBEROS_HINT.format(offered=", ".join(schemes[:4])),
        )
    return _credentials_fault(proxy, answer)


def _credentials_fault(proxy: Proxy, answer: str) -> ProxyRefused:
    if proxy.username is None:
        hint = _CREDENTIALS_HINT.format(scheme=proxy.scheme.value, address=proxy.address)
        return ProxyRefused(f"the proxy {proxy} wants a user name and a password ({answer})", hint=hint)
    return ProxyRefused(
        f"the proxy {proxy} does not accept the user name or password in {proxy.origin} ({answer})",
        hint="Check both; in a URL write %40 for @, %3A for :, %2F for / and %25 for %.",
    )


_NO_CREDENTIALS, _USERNAME_PASSWORD, _NONE_ACCEPTED = 0, 2, 0xFF  # RFC 1928 §3
_ATYP_IPV4, _ATYP_NAME, _ATYP_IPV6 = 1, 3, 4  # RFC 1928 §5
_FORBIDDEN = 2

_SOCKS_REPLIES = {  # RFC 1928 §6
    1: "failed to connect to {target} (general failure)",
    _FORBIDDEN: "does not permit connections to {target}",
    3: "has no route to {target} (network unreachable)",
    4: "cannot reach {target} (host unreachable)",
    5: "was refused by {target} (connection refused)",
    6: "got no answer from {target} (TTL expired)",
    7: "does not know the CONNECT command",
    8: "does not take this kind of address: {target}",
}


def socks5(proxy: Proxy, target: HostPort) -> Handshake:
    """SOCKS5 (RFC 1928, RFC 1929); a host name is resolved by the proxy."""
    destination = _socks_address(target)
    methods = [_NO_CREDENTIALS] if proxy.username is None else [_NO_CREDENTIALS, _USERNAME_PASSWORD]
    yield bytes([5, len(methods), *methods])
    version, method = yield 2
    _check_version(proxy, version, 5)
    if method == _USERNAME_PASSWORD and proxy.username is not None:
        user, password = proxy.username.encode(), proxy.password.encode()
        yield bytes([1, len(user), *user, len(password), *password])
        version, status = yield 2
        _check_version(proxy, version, 1)
        if status != 0:
            raise _credentials_fault(proxy, f"status {status}")
    elif method == _NONE_ACCEPTED:
        raise _credentials_fault(proxy, "no acceptable method")
    elif method not in methods:
        raise ProxyRefused(f"the proxy {proxy} chose a method not offered ({method})", hint=_WRONG_PROXY_HINT)
    yield bytes([5, 1, 0, *destination, *target.port.to_bytes(2, "big")])
    version, reply, _, kind = yield 4
    _check_version(proxy, version, 5)
    if reply != 0:
        raise _socks_refusal(proxy, target, reply)
    if kind == _ATYP_NAME:
        (length,) = yield 1
    else:
        length = {_ATYP_IPV4: 4, _ATYP_IPV6: 16}.get(kind, -1)
    if length < 0:
        raise ProxyRefused(f"the proxy {proxy} answers with an unknown address type ({kind})", hint=_WRONG_PROXY_HINT)
    yield length + 2  # BND.ADDR and BND.PORT, of no use here


def _socks_address(target: HostPort) -> bytes:
    try:
        address = ip_address(target.host)
    except ValueError:
        name = _ascii(target)
        if len(name) > SOCKS_FIELD:
            raise NameNotResolved(
                f"the jumphost's name is longer than SOCKS5 can say ({SOCKS_FIELD} bytes)", hint=_NAME_HINT
            ) from None
        return bytes([_ATYP_NAME, len(name)]) + name.encode("ascii")
    return bytes([_ATYP_IPV4 if address.version == 4 else _ATYP_IPV6]) + address.packed  # noqa: PLR2004  IP's version


def _check_version(proxy: Proxy, version: int, expected: int) -> None:
    if version != expected:
        http = " It looks like an HTTP proxy: write http:// in its URL." if version == ord("H") else ""
        raise ProxyRefused(
            f"the proxy {proxy} does not answer as a SOCKS5 proxy (version {version})",
            hint=f"{_WRONG_PROXY_HINT}{http}",
        )


def _socks_refusal(proxy: Proxy, target: HostPort, reply: int) -> ProxyRefused:
    what = _SOCKS_REPLIES.get(reply, "refused the connection to {target}").format(target=target)
    hint = _FORBIDDEN_HINT if reply == _FORBIDDEN else _CANNOT_REACH_HINT
    if reply in (7, 8):
        hint = _WRONG_PROXY_HINT
    return ProxyRefused(f"the proxy {proxy} {what} (reply {reply})", hint=hint.format(request=allow_request(target)))
