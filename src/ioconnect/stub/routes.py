"""What each path of the stand-in's API does. JSON values in, status and JSON values out; no HTTP here.

`POST /v1/tunnels`, `GET /v1/tunnels/NAME` and `POST /v1/tunnels/NAME/test` are the registration API. The rest is for
rehearsals: `GET /v1/stub` tells counters, violations and open channels, and `POST /v1/stub/FAULT` makes the jumphost
misbehave (a JSON object as the body, where arguments are named):

- sessions: `freeze`, `thaw`, `drop`, `disconnect {"reason"}`, `rekey`
- forwards: `refuse-forward {"why": "busy"|"not_permitted"}`, `allow-forward`, `hold-port {"port"}`,
  `free-port {"port"}`
- keys: `revoke {"name"}` or `revoke {"public_key"}`, `restore` alike, `swap-host-key`, `restore-host-key`
- before the banner: `banner-silence`, `turn-away {"line"}`, `welcome` (ends both)
"""

from __future__ import annotations

import re
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ioconnect.config.addresses import HostPort, port
from ioconnect.config.json_fields import Fields, Malformed
from ioconnect.keys.authorized_keys import NotEd25519, PublicKey, parse_public_key
from ioconnect.stub import probe
from ioconnect.stub.registry import BadName, NameTaken, NoPortLeft

if TYPE_CHECKING:
    from collections.abc import Callable

    from ioconnect.stub.jumphost import Jumphost
    from ioconnect.stub.registry import Registered, Registry

UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104  compared with, not bound to


Answer = tuple[HTTPStatus, dict[str, Any]]


class Refused(Exception):
    """The request cannot be granted: the status and what to say."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Routes:
    """The API of one jumphost and one registry. Any thread may call."""

    def __init__(self, jumphost: Jumphost, registry: Registry) -> None:
        self._jumphost = jumphost
        self._registry = registry
        self._table: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
            ("POST", re.compile(r"/v1/tunnels"), self._register),
            ("GET", re.compile(r"/v1/tunnels/([^/]+)"), self._show),
            ("POST", re.compile(r"/v1/tunnels/([^/]+)/test"), self._test),
            ("GET", re.compile(r"/v1/stub"), self._counters),
            ("POST", re.compile(r"/v1/stub/([^/]+)"), self._fault),
        ]

    def answer(self, method: str, path: str, body: object, reached_at: str) -> Answer:
        """Do what is asked; `reached_at` is the address by which the API was reached. Raises Refused."""
        ways = [(verb, found, act) for verb, pattern, act in self._table if (found := pattern.fullmatch(path))]
        if not ways:
            raise Refused(HTTPStatus.NOT_FOUND, "no such path")
        for verb, found, act in ways:
            if verb == method:
                try:
                    return act(*found.groups(), Fields(body), reached_at)
                except Malformed as error:
                    raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"not by {method}")

    def _register(self, body: Fields, reached_at: str) -> Answer:
        try:
            tunnel = self._registry.register(body.required("name", str), body.required("public_key", str))
        except (BadName, NotEd25519) as fault:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, fault.message) from None
        except NameTaken as fault:
            raise Refused(HTTPStatus.CONFLICT, fault.message) from None
        except NoPortLeft as fault:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, fault.message) from None
        self._jumphost.authorize(tunnel.key, tunnel.port)
        return HTTPStatus.CREATED, {
            "name": tunnel.name,
            "endpoint": self._endpoint(tunnel, reached_at),
            "ssh_port": self._jumphost.address.port,
            "ssh_user": self._jumphost.user,
            "host_keys": [self._jumphost.host_key.public.line],
        }

    def _show(self, name: str, _body: Fields, reached_at: str) -> Answer:
        tunnel = self._tunnel(name)
        state = "active" if self._jumphost.listens_on(tunnel.port) else "inactive"
        return HTTPStatus.OK, {"name": name, "endpoint": self._endpoint(tunnel, reached_at), "state": state}

    def _test(self, name: str, _body: Fields, _reached_at: str) -> Answer:
        return HTTPStatus.OK, {"checks": probe.checks(self._jumphost, self._tunnel(name))}

    def _counters(self, _body: Fields, _reached_at: str) -> Answer:
        ledger = self._jumphost.ledger
        return HTTPStatus.OK, {
            "counters": asdict(ledger.counters),
            "open_channels": self._jumphost.open_channels,
            "violations": list(ledger.violations),
        }

    def _fault(self, name: str, body: Fields, reached_at: str) -> Answer:
        faults = self._jumphost.faults
        acts: dict[str, Callable[[], object]] = {
            "freeze": faults.freeze,
            "thaw": faults.thaw,
            "drop": faults.drop,
            "disconnect": lambda: faults.disconnect(body.required("reason", str)),
            "rekey": faults.rekey,
            "refuse-forward": lambda: faults.refuse_forward(body.required("why", str)),
            "allow-forward": faults.allow_forward,
            "hold-port": lambda: faults.hold_port(port(str(body.required("port", int)))),
            "free-port": lambda: faults.free_port(port(str(body.required("port", int)))),
            "revoke": lambda: faults.revoke(self._key(body)),
            "restore": lambda: faults.restore(self._key(body)),
            "swap-host-key": faults.swap_host_key,
            "restore-host-key": faults.restore_host_key,
            "banner-silence": faults.banner_silence,
            "turn-away": lambda: faults.turn_away(body.required("line", str).encode()),
            "welcome": faults.welcome,
        }
        if name not in acts:
            raise Refused(HTTPStatus.NOT_FOUND, f"no such fault; there are {', '.join(acts)}")
        try:
            acts[name]()
        except ValueError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except TimeoutError as slow:
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, str(slow)) from None
        return self._counters(body, reached_at)

    def _tunnel(self, name: str) -> Registered:
        tunnel = self._registry.get(name)
        if tunnel is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no such tunnel")
        return tunnel

    def _key(self, body: Fields) -> PublicKey:
        line = body.optional("public_key", str)
        if line is None:
            return self._tunnel(body.required("name", str)).key
        try:
            return parse_public_key(line)
        except NotEd25519 as fault:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, fault.message) from None

    def _endpoint(self, tunnel: Registered, reached_at: str) -> str:
        host = self._jumphost.address.host
        return str(HostPort(reached_at if host in UNSPECIFIED else host, tunnel.port))
