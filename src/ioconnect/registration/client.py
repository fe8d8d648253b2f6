"""A client of the registration API: posts a public key and parses the answer, every field of it checked.

Certificates are verified; http without TLS is for this machine only; no redirect is followed; an answer has a maximum
size. Proxies are those of the environment (https_proxy, no_proxy), as in urllib.request.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ioconnect import __version__
from ioconnect.config import addresses
from ioconnect.config.json_fields import Fields, Malformed
from ioconnect.errors import Unreachable, UsageFault
from ioconnect.keys import public_keys
from ioconnect.registration import api_faults
from ioconnect.registration.api_faults import AnswerMalformed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ioconnect.config.addresses import HostPort

TIMEOUT = 30.0  # seconds for the whole exchange, DNS and proxies included
MAX_ANSWER = 64 << 10  # bytes
MAX_HOST_KEYS = 32
PATH = "/v1/tunnels"
_LOCAL_NAMES = ("localhost", "ip6-localhost")


@dataclass(frozen=True, slots=True)
class Registration:
    """What the API allocated; `host_keys` are the jumphost's public keys as blobs (RFC 4253 §6.6), at least one."""

    name: str
    endpoint: HostPort
    ssh_port: int
    ssh_user: str
    host_keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Api:
    """The address of an API: `base` is its URL without a slash at the end; `local` if it is on this machine."""

    base: str
    host: str
    local: bool


def checked_url(text: str) -> Api:
    """Parse the API's URL. Raises UsageFault without the text in its message: there may be a password in it."""
    expected = "--api must be a URL like https://api.example.com"
    hint = "Take it from Integrate.io; for a rehearsal it is the one that `ioconnect stub` prints."
    try:
        url = urlsplit(text.strip())
        host = addresses.host(url.hostname or "")
        plain = text.isascii() and text.isprintable() and " " not in text.strip() and url.port != 0
    except ValueError as error:
        raise UsageFault(f"{expected}: {error}", hint=hint) from None
    if not plain or url.scheme not in ("http", "https") or url.query or url.fragment:
        raise UsageFault(expected, hint=hint)
    if "@" in url.netloc:
        raise UsageFault("--api takes no user and password", hint="The token goes into a file: --token-file FILE.")
    local = _is_local(host)
    if url.scheme == "http" and not local:
        raise UsageFault(
            f"http://{url.netloc} would send the token unencrypted",
            hint="Use https://. Plain http is for an API on this machine only.",
        )
    path = url.path.rstrip("/").removesuffix(PATH)
    return Api(f"{url.scheme}://{url.netloc}{path}", host, local)


def register(api: Api, token: str, name: str, public_key: str, *, timeout: float = TIMEOUT) -> Registration:
    """Post the key under this name and return the answer; the same request again gets the same answer.

    `timeout` is in seconds. Raises the fault that `api_faults` has for the status, AnswerMalformed,
    NameNotResolved, Unreachable or ProxyRefused.
    """
    request = urllib.request.Request(  # noqa: S310  the scheme was checked
        api.base + PATH,
        data=json.dumps({"name": name, "public_key": public_key}).encode(),
        method="POST",
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"ioconnect/{__version__}",
        },
    )
    status, content = _within(timeout, lambda: _exchange(api, request, timeout), api)
    if status not in (HTTPStatus.OK, HTTPStatus.CREATED):
        raise api_faults.refused(status, content, host=api.host, name=name)
    return _parse(content, name)


def _exchange(api: Api, request: urllib.request.Request, timeout: float) -> tuple[int, bytes]:
    """Send the request; return the answer's status and body."""
    try:
        with _opener(api).open(request, timeout=timeout) as answer:
            return answer.status, _body(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, _body(refusal)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid proxy URL
        raise api_faults.unreachable(error, host=api.host) from error


def _body(answer: Any) -> bytes:
    content: bytes = answer.read(MAX_ANSWER + 1)
    if len(content) > MAX_ANSWER:
        raise AnswerMalformed(f"it is longer than {MAX_ANSWER} bytes")
    return content


def _opener(api: Api) -> urllib.request.OpenerDirector:
    """Return an opener for http and https that follows no redirect; it uses no proxy for an API on this machine."""
    opener = urllib.request.OpenerDirector()
    proxies = urllib.request.ProxyHandler({} if api.local else None)
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    for part in (
        proxies,
        urllib.request.HTTPHandler(),
        https,
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(part)
    return opener


def _within(seconds: float, exchange: Callable[[], tuple[int, bytes]], api: Api) -> tuple[int, bytes]:
    """Return what `exchange` returns or raise what it raises, or Unreachable after that many seconds.

    It runs in a thread: a socket's timeout is for one call, and a look-up of a name has none. After the timeout the
    thread is left running and ends with the process.
    """
    outcome: list[tuple[int, bytes] | Exception] = []

    def work() -> None:
        try:
            outcome.append(exchange())
        except Exception as error:  # noqa: BLE001  raised again below
            outcome.append(error)

    thread = threading.Thread(target=work, name="registration", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise Unreachable(f"{api.host} gave no whole answer within {seconds:g} s", hint=api_faults.TRY_LATER)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _parse(content: bytes, name: str) -> Registration:
    """Parse and check the answer. Raises AnswerMalformed."""
    try:
        answer = Fields(json.loads(content))
        registration = Registration(
            answer.required("name", str),
            addresses.host_port(answer.required("endpoint", str)),
            addresses.port(str(answer.required("ssh_port", int))),
            addresses.user(answer.required("ssh_user", str)),
            tuple(dict.fromkeys(map(_host_key, answer.required("host_keys", list)))),
        )
    except (Malformed, UnicodeDecodeError) as error:
        raise AnswerMalformed(str(error)) from None
    except json.JSONDecodeError:
        raise AnswerMalformed("it is not JSON") from None
    except (ValueError, RecursionError) as error:
        raise AnswerMalformed(str(error)) from None
    if registration.name != name:
        raise AnswerMalformed(f"it is about the tunnel {addresses.quoted(registration.name)}, not {name}")
    if not 1 <= len(registration.host_keys) <= MAX_HOST_KEYS:
        raise AnswerMalformed(f"host_keys holds {len(registration.host_keys)} keys")
    return registration


def _host_key(line: object) -> bytes:
    """Parse `TYPE BASE64 [COMMENT]`. Raises ValueError."""
    words = line.split() if isinstance(line, str) else []
    if len(words) < 2:  # noqa: PLR2004  type and key
        raise ValueError("host_keys has an element that is not TYPE KEY")
    return public_keys.decode(words[0], words[1])


def _is_local(host: str) -> bool:
    return host.lower().removesuffix(".") in _LOCAL_NAMES or addresses.is_loopback(host)
