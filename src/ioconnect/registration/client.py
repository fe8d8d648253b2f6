"""A client of the registration API: hands a public key over by HTTP and reads what comes back, all of it checked.

Certificates are verified; plain http is for this machine only; no redirect is followed and no more is read than an
answer needs. Proxies are those of the environment (https_proxy, no_proxy), as in urllib.request.
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

DEADLINE = 30.0  # seconds for the whole exchange, names and proxies included
LARGEST_ANSWER = 64 << 10  # bytes
MOST_HOST_KEYS = 32
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
    """Where an API is: `base` has no slash at its end; `local` says that it is on this machine."""

    base: str
    host: str
    local: bool


def checked_url(text: str) -> Api:
    """Read the API's URL. Raises UsageFault; its message does not repeat the text, in which a password may be."""
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


def register(api: Api, token: str, name: str, public_key: str, *, deadline: float = DEADLINE) -> Registration:
    """Hand over the key under this name; the same again gives the same answer.

    `deadline` is in seconds. Raises what `apifaults` has for each refusal, AnswerMalformed, NameNotResolved,
    Unreachable or ProxyRefused.
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
    status, content = _within(deadline, lambda: _exchange(api, request, deadline), api)
    if status not in (HTTPStatus.OK, HTTPStatus.CREATED):
        raise api_faults.refused(status, content, host=api.host, name=name)
    return _read(content, name)


def _exchange(api: Api, request: urllib.request.Request, timeout: float) -> tuple[int, bytes]:
    """Send the request; return the answer's status and body."""
    try:
        with _opener(api).open(request, timeout=timeout) as answer:
            return answer.status, _body(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, _body(refusal)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a proxy's URL that is none
        raise api_faults.unreachable(error, host=api.host) from error


def _body(answer: Any) -> bytes:
    content: bytes = answer.read(LARGEST_ANSWER + 1)
    if len(content) > LARGEST_ANSWER:
        raise AnswerMalformed(f"it is longer than {LARGEST_ANSWER} bytes")
    return content


def _opener(api: Api) -> urllib.request.OpenerDirector:
    """Return one that follows no redirect and knows no other scheme; what is on this machine needs no proxy."""
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
    """Return what `exchange` returns or raise what it raises, within a deadline that no timeout of a socket gives.

    One that is not done by then is left alone; it ends with this process.
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


def _read(content: bytes, name: str) -> Registration:
    """Check every field of the answer. Raises AnswerMalformed."""
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
    if not 1 <= len(registration.host_keys) <= MOST_HOST_KEYS:
        raise AnswerMalformed(f"host_keys holds {len(registration.host_keys)} keys")
    return registration


def _host_key(line: object) -> bytes:
    """Read `TYPE BASE64 [COMMENT]`. Raises ValueError."""
    words = line.split() if isinstance(line, str) else []
    if len(words) < 2:  # noqa: PLR2004  type and key
        raise ValueError("host_keys has an element that is not TYPE KEY")
    return public_keys.decode(words[0], words[1])


def _is_local(host: str) -> bool:
    return host.lower().removesuffix(".") in _LOCAL_NAMES or addresses.is_loopback(host)
