"""Jumphost and registration API together, as tests, the demo and `ioconnect stub` run them."""

from __future__ import annotations

import json
import logging
import secrets
from typing import TYPE_CHECKING, Any

from ioconnect.config.addresses import HostPort
from ioconnect.custody.entries import Untrusted
from ioconnect.custody.files import make_folder, read_regular, write_new
from ioconnect.errors import ConfigInvalid
from ioconnect.escape import escaped
from ioconnect.keys.authorized_keys import parse_authorized_keys
from ioconnect.stub.api import Api
from ioconnect.stub.host_key import HostKey
from ioconnect.stub.jumphost import Jumphost
from ioconnect.stub.listener import Server
from ioconnect.stub.registry import Registry
from ioconnect.stub.routes import Routes

if TYPE_CHECKING:
    from pathlib import Path

    from ioconnect.keys.authorized_keys import Grant
    from ioconnect.stub.faults import Faults

ANY_PORT = HostPort("127.0.0.1", 0)
FILE_LIMIT = 1 << 20  # bytes of authorized_keys
TOKEN_LIMIT = 4096  # bytes
log = logging.getLogger(__name__)


class Stub(Server):
    """A jumphost and its API in this process, from `start` to `stop`; also a context manager.

    With `home` it is the same jumphost again after a restart: `host_key`, `tunnels.json` and `token` are kept there
    (0600), and `authorized_keys` is read at each sign-in (see `keys.parse_authorized_keys`; a key without
    permitlisten may listen on any port). Further arguments go to `Jumphost`. Raises what `HostKey`, `Registry` and
    `Jumphost` raise.
    """

    def __init__(
        self,
        listen: HostPort = ANY_PORT,
        api: HostPort = ANY_PORT,
        *,
        home: Path | None = None,
        token: str | None = None,
        allow_remote: bool = False,
        **jumphost: Any,
    ) -> None:
        self.authorized_keys: Path | None = None
        kept: Path | None = None
        if home is not None:
            make_folder(home)
            jumphost.setdefault("host_key", HostKey.load_or_generate(home / "host_key"))
            self.authorized_keys = home / "authorized_keys"
            kept = home / "tunnels.json"
            token = token or _kept_token(home / "token")
        self.token = token or secrets.token_urlsafe(24)
        self.registry = Registry(kept)
        self.jumphost = Jumphost(
            listen, allow_remote=allow_remote, also_authorized=self._authorized_by_file, **jumphost
        )
        for tunnel in self.registry.all():
            self.jumphost.authorize(tunnel.key, tunnel.port)
        self._api = Api(api, Routes(self.jumphost, self.registry), self.token, allow_remote=allow_remote)

    def start(self) -> None:
        """Listen and serve. Raises SystemRefused with nothing left running."""
        self.jumphost.start()
        try:
            self._api.start()
        except BaseException:
            self.jumphost.stop()
            raise

    def stop(self) -> None:
        """End everything and wait for all threads; idempotent."""
        self.jumphost.stop()
        self._api.stop()

    @property
    def faults(self) -> Faults:
        """What can be made to go wrong."""
        return self.jumphost.faults

    @property
    def url(self) -> str:
        """The API's base, `http://host:port`; only while started."""
        return self._api.url

    def ready_line(self) -> str:
        """Return what `ioconnect stub` prints: one line of JSON; only while started."""
        key = self.jumphost.host_key.public
        facts = {"ssh": str(self.jumphost.address), "api": self.url, "host_key": key.line}
        return json.dumps({**facts, "fingerprint": key.fingerprint, "token": self.token})

    def _authorized_by_file(self, blob: bytes) -> Grant | None:
        """Return what authorized_keys grants the key, read anew; of several lines the first counts, as in sshd."""
        if self.authorized_keys is None or not self.authorized_keys.exists():
            return None
        try:
            content = read_regular(self.authorized_keys, limit=FILE_LIMIT)[0].decode("utf-8", "replace")
        except (OSError, Untrusted) as error:
            log.warning("cannot read %s: %s", self.authorized_keys, error.strerror)
            return None
        grants, complaints = parse_authorized_keys(content)
        for complaint in complaints:
            log.warning("%s: %s", self.authorized_keys, escaped(complaint))
        return next((grant for grant in grants if grant.key.blob == blob), None)


def _kept_token(path: Path) -> str:
    write_new(path, secrets.token_urlsafe(24).encode() + b"\n")
    try:
        token = read_regular(path, limit=TOKEN_LIMIT)[0].decode("ascii").strip()
    except (OSError, Untrusted, ValueError) as error:
        raise ConfigInvalid(f"cannot use {path}: {error}", hint="Remove the file to get a new token.") from error
    if not token:
        raise ConfigInvalid(f"{path} is empty", hint="Remove the file to get a new token.")
    return token
