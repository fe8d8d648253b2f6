"""The subset of BSON that a `hello` and its reply need: encodes flat commands, decodes the top level of a document.

Pure. https://bsonspec.org/spec.html
"""

from __future__ import annotations

import struct

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY = 0x01, 0x02, 0x03, 0x04, 0x05
OBJECT_ID, BOOLEAN, DATE, NULL = 0x07, 0x08, 0x09, 0x0A
INT32, TIMESTAMP, INT64, DECIMAL = 0x10, 0x11, 0x12, 0x13
_FIXED = {DOUBLE: 8, OBJECT_ID: 12, BOOLEAN: 1, DATE: 8, NULL: 0, INT32: 4, TIMESTAMP: 8, INT64: 8, DECIMAL: 16}
_MIN_LENGTH = 5  # bytes: the length and the closing zero


def encode(command: dict[str, int | str]) -> bytes:
    """Encode a document of 32-bit integers and strings."""
    body = b""
    for name, value in command.items():
        key = name.encode() + b"\0"
        if isinstance(value, int):
            body += bytes((INT32,)) + key + struct.pack("<i", value)
        else:
            text = value.encode() + b"\0"
            body += bytes((STRING,)) + key + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + _MIN_LENGTH) + body + b"\0"


def decode(data: bytes) -> dict[str, float | str | bool | None]:
    """Decode the document's numbers, strings and booleans; other values are None. Raises ValueError."""
    if len(data) < _MIN_LENGTH or struct.unpack_from("<i", data)[0] != len(data) or data[-1]:
        raise ValueError("not a BSON document")
    found: dict[str, float | str | bool | None] = {}
    offset, end = 4, len(data) - 1
    while offset < end:
        kind = data[offset]
        closing = data.find(b"\0", offset + 1, end)
        if closing < 0:
            raise ValueError("a name without an end")
        name = data[offset + 1 : closing].decode("utf-8", "replace")
        size = _size(kind, data, closing + 1)
        if closing + 1 + size > end:
            raise ValueError("a value that is longer than its document")
        found[name] = _value(kind, data[closing + 1 : closing + 1 + size])
        offset = closing + 1 + size
    return found


def _size(kind: int, data: bytes, offset: int) -> int:
    """Return the size in bytes of the value at `offset`. Raises ValueError."""
    if kind in _FIXED:
        return _FIXED[kind]
    if kind not in (STRING, DOCUMENT, ARRAY, BINARY) or offset + 4 > len(data):
        raise ValueError(f"a value of a kind that is not expected here: {kind}")
    (length,) = struct.unpack_from("<i", data, offset)
    size: int = length + {STRING: 4, BINARY: 5}.get(kind, 0)
    if length < 0 or size < 4:  # noqa: PLR2004  the length itself
        raise ValueError("a value of a negative length")
    return size


def _value(kind: int, raw: bytes) -> float | str | bool | None:
    if kind == STRING:
        return raw[4:-1].decode("utf-8", "replace")
    if kind == BOOLEAN:
        return raw != b"\0"
    if kind in (INT32, INT64):
        return int.from_bytes(raw, "little", signed=True)
    if kind == DOUBLE:
        (number,) = struct.unpack("<d", raw)
        return float(number)
    return None
