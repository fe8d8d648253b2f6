"""Which proxy to use for a jumphost, if any: the tunnel's setting, then the environment with `no_proxy`.

Pure. The credentials of a proxy appear neither in its str nor in its repr.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from ioconnect.config.addresses import HostPort
from ioconnect.errors import ConfigFault, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

NONE = "none"  # as a setting or a variable's value: no proxy
SOCKS_FIELD = 255  # bytes; RFC 1929 §2
MAX_PORT = 65535

# By precedence; lower case first, as in curl(1). HTTP_PROXY is for plain http only, and unsafe under CGI.
VARIABLES = ("IOCONNECT_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY")


class Scheme(str, Enum):
    """The protocol of a proxy; with SOCKS the proxy resolves host names (curl's socks5h)."""

    HTTP = "http"
    HTTPS = "https"  # HTTP CONNECT inside TLS to the proxy
    SOCKS5 = "socks5"


_SCHEMES = {"http": Scheme.HTTP, "https": Scheme.HTTPS, "socks5": Scheme.SOCKS5, "socks5h": Scheme.SOCKS5}
_DEFAULT_PORTS = {Scheme.HTTP: 80, Scheme.HTTPS: 443, Scheme.SOCKS5: 1080}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `origin` is the setting or variable that names it. Without a user name no credentials are sent."""

    scheme: Scheme
    address: HostPort
    origin: str
    username: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return the URL without credentials."""
        return f"{self.scheme.value}://{self.address}"


def choose(jumphost: HostPort, setting: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a jumphost, None to connect directly.

    `setting` is the tunnel's `proxy`, a URL or "none"; "" means the environment, to which `no_proxy` applies. Raises
    ConfigInvalid for an invalid URL.
    """
    if setting.strip():
        return parse(setting, origin="proxy")
    for variable in VARIABLES:
        value = environ.get(variable, "").strip()
        if value:
            exempt = exempted(jumphost, environ.get("no_proxy") or environ.get("NO_PROXY") or "")
            return None if exempt else parse(value, origin=variable)
    return None


def parse(url: str, *, origin: str) -> Proxy | None:
    """Return the proxy that a URL names, None for "none"; a URL without a scheme is http, as in curl(1).

    Raises ConfigInvalid, whose message does not contain the URL, as the malformed part may be the password.
    """
    url = url.strip()
    if url.lower() == NONE:
        return None
    parts = _split(url if "://" in url else f"http://{url}", origin)
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None:
        _invalid(origin, "its scheme is not http, https, socks5 or socks5h")
    host = parts.hostname or ""
    if not re.fullmatch(r"[\w.:%-]+", host):
        _invalid(origin, "it names no host" if not host else "its host is not a host name")
    port = parts.port if parts.port is not None else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= MAX_PORT:
        _invalid(origin, f"its port is not between 1 and {MAX_PORT}")
    username = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "")
    _check_credentials(scheme, username, password, origin)
    return Proxy(scheme, HostPort(host, port), origin, username, password)


def redacted(url: str) -> str:
    """Return a proxy's URL, valid or not, with all between scheme and last @ replaced by ***."""
    userinfo, at, rest = url.rpartition("@")
    if not at:
        return url
    scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", userinfo)
    return f"{scheme[0] if scheme else ''}***@{rest}"


def exempted(jumphost: HostPort, no_proxy: str) -> bool:
    """Say whether `no_proxy` matches the jumphost: `*`, a domain, an address, a CIDR; optionally with a port."""
    host = jumphost.host.rstrip(".").lower()
    return any(_matches(host, jumphost.port, pattern.lower()) for pattern in re.split(r"[\s,]+", no_proxy) if pattern)


def _matches(host: str, port: int, pattern: str) -> bool:
    address = _address(host)
    if pattern == "*":
        return True
    if "/" in pattern:
        try:
            return address is not None and address in ip_network(pattern, strict=False)
        except ValueError:
            return False
    name, only_port = _split_port(pattern)
    if only_port is not None and only_port != port:
        return False
    if address is not None:
        return address == _address(name)
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(pattern: str) -> tuple[str, int | None]:
    """Split `name:port`, `[v6]:port`; an IPv6 address without brackets has no port."""
    found = re.fullmatch(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>\d{1,5}))?", pattern, re.ASCII)
    if found is None:
        return pattern, None
    return found["v6"] or found["name"] or "", int(found["port"]) if found["port"] else None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _split(url: str, origin: str) -> SplitResult:
    if re.search(r"[\x00-\x20\x7f]", url):  # urlsplit drops some of these silently
        _invalid(origin, "it holds a space or a control character; write %20 for a space in a password")
    if re.search(r"[\ud800-\udfff]", url):  # os.environ has a byte that is not UTF-8 like this (PEP 383)
        _invalid(origin, "it is not UTF-8; write such a byte as % and its two hexadecimal digits")
    try:
        parts = urlsplit(url)
        _ = parts.port  # urlsplit validates it on access
    except ValueError:
        _invalid(origin, "its host or port is malformed; write %40 for @, %2F for / and %23 for # in a password")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        _invalid(origin, "nothing may follow the port; write %2F for /, %3F for ? and %23 for # in a password")
    return parts


def _check_credentials(scheme: Scheme, username: str | None, password: str, origin: str) -> None:
    if username is None:
        return
    if scheme is Scheme.SOCKS5:
        if not all(1 <= len(part.encode()) <= SOCKS_FIELD for part in (username, password)):
            _invalid(origin, f"SOCKS5 needs a user name and a password of 1 to {SOCKS_FIELD} bytes each (RFC 1929)")
    elif ":" in username:
        _invalid(origin, "its user name holds a colon, which Basic authentication cannot send (RFC 7617)")


def _invalid(origin: str, what: str) -> NoReturn:
    raise ConfigInvalid(
        f"the proxy in {origin} is not usable: {what}",
        hint='Write it as http://user:password@host:3128 or socks5://host:1080, or "none" for no proxy.',
        faults=(ConfigFault(origin, what),),
    ) from None
