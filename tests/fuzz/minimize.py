"""Makes what was found small: leaves out pieces while the same kind of finding remains."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.fuzz import registry
from tests.fuzz.target import CORPUS, Finding, check

if TYPE_CHECKING:
    from tests.fuzz.target import Target

PATIENCE = 15.0  # seconds for one input


def minimized(name: str) -> None:
    """Shorten every input in the target's corpus that still is a finding."""
    target = registry.load(name)
    for file in sorted((CORPUS / name).glob("*")):
        data = file.read_bytes()
        kind = _kind(target, data)
        if kind.startswith("crash"):
            file.write_bytes(_shorter(target, data, kind, time.monotonic() + PATIENCE))


def _kind(target: Target, data: bytes) -> str:
    try:
        check(target, data)
    except Finding as finding:
        return ":".join(str(finding).split(":")[:2])  # crash: the exception's name
    return ""


def _shorter(target: Target, data: bytes, kind: str, end: float) -> bytes:
    size = len(data) // 2
    while size and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            without = data[:at] + data[at + size :]
            if _kind(target, without) == kind:
                data = without
            else:
                at += size
        size //= 2
    return data
