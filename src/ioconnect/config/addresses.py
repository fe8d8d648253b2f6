"""Parses and validates host names, ports, paths of sockets, user names and proxy URLs.

Pure. Each check raises ValueError with a message for the user (expected and actual value); the caller knows the
source of the text and turns it into a fault.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from ioconnect.errors import UsageFault
from ioconnect.escape import escaped

MAX_PORT = 65535
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes; sun_path of unix(7) without its NUL
_MAX_NAME = 253  # RFC 1035 §2.3.4, without the root's dot
_MAX_LABEL = 63
_HOST_PORT = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^\[\]]*)):(?P<port>[^:\[\]]*)")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host name or address and a TCP port (1 to 65535); IPv6 addresses are held without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        """`host:port`, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def normalized(self) -> HostPort:
        """The same with the host in lower case, for comparison."""
        return HostPort(self.host.lower(), self.port)


@dataclass(frozen=True, slots=True)
class SocketPath:
    """A Unix socket on this machine, by its absolute path."""

    path: str

    def __str__(self) -> str:
        """`unix:` and the path, as it is written in the configuration."""
        return f"unix:{self.path}"

    @property
    def port(self) -> int:
        """The TCP port of the database that names its socket so; 0 if it may be any."""
        name = self.path.rpartition("/")[2].lower()
        if name.startswith(".s.pgsql."):
            return 5432
        return 3306 if "mysql" in name or "maria" in name else 0


Target: TypeAlias = HostPort | SocketPath


def parse_target(text: str, *, path: str) -> Target:
    """Parse `host:port` or `unix:/path`. Raises UsageFault, whose message begins with `path`."""
    try:
        return target(text)
    except ValueError as error:
        raise UsageFault(
            f"{path}: {error}", hint="Write it like db.example.com:3306, [2001:db8::7]:3306 or unix:/path/to/socket."
        ) from None


def target(text: str) -> Target:
    """Parse `host:port` or `unix:/path`; leading and trailing blanks are ignored. Raises ValueError."""
    written = text.strip()
    if written.startswith("/"):
        raise ValueError(f"a Unix socket is written as unix:/path, not {quoted(text)}")
    return socket_path(written.removeprefix("unix:")) if written.startswith("unix:") else host_port(text)


def socket_path(text: str) -> SocketPath:
    """Check the path of a Unix socket. Raises ValueError."""
    if text.startswith("@"):
        raise ValueError("must be unix:/path: an abstract socket (unix:@name) has no file that says who may use it")
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError(f"must be unix: and the absolute path of a socket, not {quoted(f'unix:{text}')}")
    if not text.isprintable():
        raise ValueError(f"{quoted(text)} is not a socket's path")
    path = "/" + text.lstrip("/")  # unix:///path, as a URL
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise ValueError(f"the path of a socket has at most {MAX_SOCKET_PATH} bytes, not {len(path.encode())}")
    return SocketPath(path)


def parse_host_port(text: str, *, path: str = "endpoint") -> HostPort:
    """Parse `host:port` (an IPv6 address in brackets). Raises UsageFault, whose message begins with `path`."""
    try:
        return host_port(text)
    except ValueError as error:
        raise UsageFault(
            f"{path}: {error}", hint="Write it like db.example.com:3306 or [2001:db8::7]:3306."
        ) from None


def host_port(text: str) -> HostPort:
    """Parse `host:port`; leading and trailing blanks are ignored. Raises ValueError."""
    text = text.strip()
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"must be host:port, with a port, not {quoted(text)}")
    if match["bracketed"] is not None:
        return HostPort(_ipv6(match["bracketed"]), port(match["port"]))
    if ":" in match["plain"]:
        raise ValueError(
            f"an IPv6 address goes in brackets before its port, like [2001:db8::7]:3306, not {quoted(text)}"
        )
    return HostPort(host(match["plain"]), port(match["port"]))


def port(text: str) -> int:
    """Parse a TCP port, 1 to 65535. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_PORT:
        raise ValueError(f"the port must be a number from 1 to {MAX_PORT}, not {quoted(text)}")
    return int(text)


def host(text: str) -> str:
    """Check a host name or an address without brackets. Raises ValueError.

    The result is valid for getaddrinfo(3) (every label passes IDNA), in a known_hosts line and on a command line.
    """
    if not text:
        raise ValueError("the host is empty")
    if ":" in text:
        return _ipv6(text)
    labels = text.removesuffix(".").split(".")
    plain = all(character.isalnum() or character in "-_" for label in labels for character in label)
    if not plain or text.startswith("-"):
        raise ValueError(f"{quoted(text)} is not a host name or address")
    if not all(labels):
        raise ValueError(f"{quoted(text)} has an empty part between dots")
    try:
        wire = labels if text.isascii() else [label.encode("idna").decode("ascii") for label in labels]
    except UnicodeError:
        raise ValueError(f"{quoted(text)} is not an international host name (IDNA)") from None
    if len(".".join(wire)) > _MAX_NAME or any(len(label) > _MAX_LABEL for label in wire):
        raise ValueError(f"{quoted(text)} is longer than a host name can be")
    return text


def own_address(text: str) -> str:
    """Check an address of this machine to connect from (ssh_config(5), BindAddress), without brackets or port.

    "" is none. Raises ValueError for a name and for what no connection can come from.
    """
    if not text:
        return text
    try:
        address = ipaddress.ip_address(_ipv6(text) if ":" in text else text)
    except ValueError:
        raise ValueError(f"must be an IP address of this machine, not {quoted(text)}") from None
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"no connection can come from {quoted(text)}")
    return text


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv6 address") from None
    if not (address.scope_id or "eth0").replace("-", "").replace(".", "").replace("_", "").isalnum():
        raise ValueError(f"{quoted(text)} has no network interface after its %")
    return text


def user(text: str) -> str:
    """Check a user name for the jumphost. Raises ValueError."""
    if not text:
        raise ValueError("the user name is empty")
    if not text.isprintable() or " " in text or text.startswith("-"):
        raise ValueError(f"{quoted(text)} is not a user name")
    return text


def proxy(text: str) -> str:
    """Check a proxy setting: "" (from the environment), "none", or a proxy's URL.

    Raises ValueError, whose message never contains the text: a URL may hold a password.
    """
    if text in ("", "none"):
        return text
    expected = 'must be "", "none" or a URL like http://host:3128 or socks5://user@host:1080'
    if not text.isprintable() or " " in text:
        raise ValueError(f"{expected}, without blanks or control characters")
    try:
        url = urlsplit(text)
        url_port = url.port
    except ValueError:
        raise ValueError(f"{expected}; its host or port is not one") from None
    if url.scheme not in PROXY_SCHEMES or not text.lower().startswith(f"{url.scheme}://"):
        raise ValueError(f"{expected}; it begins with none of {', '.join(f'{name}://' for name in PROXY_SCHEMES)}")
    if url_port == 0 or url.netloc.endswith(":"):
        raise ValueError(f"{expected}; its port must be a number from 1 to {MAX_PORT}")
    if url.path not in ("", "/") or url.query or url.fragment or "?" in text or "#" in text:
        raise ValueError(f"{expected}; nothing may follow the port (write @ / ? # in a password as %40 %2F %3F %23)")
    try:
        host(url.hostname or "") if "[" not in url.netloc else _ipv6(url.hostname or "")
    except ValueError:
        raise ValueError(f"{expected}; its host is not a host name or address") from None
    return text


def is_loopback(host: str) -> bool:
    """Say whether this is an address of the loopback, or its name."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def quoted(text: str) -> str:
    """Return `text` escaped, shortened and in quotes, for a message."""
    return f'"{escaped(text, limit=80)}"'


def has_password(checked_proxy: str) -> bool:
    """Say whether a URL that `proxy` accepted contains a password."""
    return bool(urlsplit(checked_proxy).password)
