"""The faults of a registration over HTTP: refusals, malformed answers, connection failures.

Pure, but for the exceptions of the standard library that it knows by name.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from http import HTTPStatus
from urllib.error import URLError

from ioconnect.errors import ExitCode, Fault, NameNotResolved, ProxyRefused, Unreachable, UsageFault
from ioconnect.escape import escaped

TRY_LATER = "Nothing was saved. Try again later; what is registered already is not registered twice."
_COPY_PASTE = "`ioconnect register NAME` without --api does it by copy and paste."


class RegistrationRefused(Fault):
    """The API refuses this token or this key."""

    exit_code = ExitCode.NO_PERMISSION


class RegistrationUnavailable(Fault):
    """The API cannot do it now."""

    exit_code = ExitCode.UNAVAILABLE


class CertificateInvalid(Fault):
    """The API's certificate cannot be verified; the token was not sent."""

    exit_code = ExitCode.PROTOCOL


_TOKEN = (
    RegistrationRefused,
    "{host} does not accept the token",
    "Ask Integrate.io for a token that may register tunnels, and put it into the --token-file.",
)
_NO_API = (
    UsageFault,
    "there is no registration API at this URL of {host}",
    f"Give the URL that comes before /v1/tunnels. {_COPY_PASTE}",
)
_REDIRECT = (
    UsageFault,
    "{host} wants us to go elsewhere",
    "The token goes to no other place by itself: give the URL of the API itself.",
)
_OTHERWISE = (RegistrationUnavailable, "{host} cannot register the tunnel now", TRY_LATER)
# The message is completed by the status and the error in the body.
_REFUSALS: dict[int, tuple[type[Fault], str, str]] = {
    HTTPStatus.UNAUTHORIZED: _TOKEN,
    HTTPStatus.FORBIDDEN: _TOKEN,
    HTTPStatus.NOT_FOUND: _NO_API,
    HTTPStatus.METHOD_NOT_ALLOWED: _NO_API,
    HTTPStatus.GONE: _NO_API,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: (
        ProxyRefused,
        "the proxy wants a user and password",
        "Put them into https_proxy.",
    ),
    HTTPStatus.CONFLICT: (
        UsageFault,
        "{host} knows a tunnel {name} with another key",
        "Choose another name, use the key that it was registered with, or delete that tunnel in the UI.",
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        RegistrationRefused,
        "{host} does not take this name or key",
        "It takes names like orders-db, and ssh-ed25519 keys only: `ioconnect keygen` makes one.",
    ),
}


class AnswerMalformed(Fault):
    """The API accepted the request, and its answer cannot be used."""

    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, what: str) -> None:
        hint = f"Nothing was saved. Is the URL that of the registration API? {_COPY_PASTE}"
        super().__init__(f"the registration API's answer cannot be used: {escaped(what)}", hint=hint)


def refused(status: int, content: bytes, *, host: str, name: str) -> Fault:
    """Return the fault for an answer with this status and body."""
    kind, message, hint = _REFUSALS.get(status) or (_REDIRECT if 300 <= status < 400 else _OTHERWISE)  # noqa: PLR2004  RFC 9110 §15.4
    return kind(f"{message.format(host=host, name=name)}: {_status_line(status, content)}", hint=hint)


def unreachable(error: Exception, *, host: str) -> Fault:
    """Return the fault for an exchange that ended without an answer."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    said = escaped(str(getattr(cause, "strerror", None) or cause) or type(cause).__name__)
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = escaped(cause.verify_message or str(cause))
        return CertificateInvalid(
            f"the certificate of {host} cannot be trusted: {reason}",
            hint="The token was not sent. If a company's own authority signed it: SSL_CERT_FILE=its-file.pem. "
            "Check this machine's clock, too.",
        )
    if isinstance(cause, ssl.SSLError):
        return Unreachable(f"no TLS with {host}: {said}", hint="Is it https on this port? A proxy may break it.")
    if isinstance(cause, socket.gaierror):
        hint = "Check the URL, and this machine's DNS. Behind a proxy set https_proxy."
        return NameNotResolved(f"the name {host} does not resolve: {said}", hint=hint)
    if isinstance(cause, http.client.HTTPException):
        return AnswerMalformed(f"it is not HTTP ({type(cause).__name__}: {said})")
    if "Tunnel connection failed" in said:  # http.client raises a plain OSError with this text
        return ProxyRefused(f"the proxy refuses the way to {host}: {said}", hint="Check https_proxy and no_proxy.")
    if isinstance(cause, TimeoutError):
        said = "no answer in time"
    return Unreachable(f"{host} cannot be reached: {said}", hint="Check the URL, the network and https_proxy.")


def _status_line(status: int, content: bytes) -> str:
    """Return the status and the `error` of a JSON body, safe to print."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return phrase
    error = document.get("error") if isinstance(document, dict) else None
    return f"{phrase}, {escaped(error)}" if isinstance(error, str) and error else phrase
