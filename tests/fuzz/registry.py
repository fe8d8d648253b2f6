"""All targets, and the module that has each; it is imported only for its own targets, so atheris watches those."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.target import Target

MODULES = {
    "pasted": ("pasted", "addresses", "import_text", "crontab", "crontab_block", "unit_file"),
    "settings": ("configuration", "proxy_setting", "api_url", "listening_sockets"),
    "key_files": ("known_hosts", "authorized_keys", "private_key", "public_key"),
    "control": ("control_request", "control_answer", "status_document"),
    "logs": ("redact", "log_lines", "journal", "escaped", "keyboard"),
    "network": ("http_proxy", "socks_proxy", "api_answer", "netlink", "database_probes", "mysql_handshake"),
    "rehearsal": ("stub_api", "stub_registry", "demo_database"),
    "wire": ("ssh_reader", "client_raw", "client_key_exchange", "client_sign_in", "client_signed_in"),
    "wire_stub": ("stub_raw", "stub_key_exchange", "stub_sign_in", "stub_signed_in"),
}
NAMES = tuple(name for names in MODULES.values() for name in names)


def load(name: str) -> Target:
    """Return the target of this name."""
    (module,) = (module for module, names in MODULES.items() if name in names)
    targets: tuple[Target, ...] = importlib.import_module(f"tests.fuzz.targets.{module}").TARGETS
    return next(target for target in targets if target.name == name)
