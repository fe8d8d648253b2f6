"""How a fault is written in JSON: in a command's answer, the control socket's, and the readiness pipe.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioconnect.errors import ExitCode, Fault


def error_of(fault: Fault, exit_code: ExitCode) -> dict[str, object]:
    """Return the value of `error` in a document that tells of this fault."""
    return {
        "code": fault.code and fault.code.value,
        "message": fault.message,
        "hint": fault.hint,
        "exit_code": int(exit_code),
        "faults": [{"path": each.path, "message": each.message} for each in getattr(fault, "faults", ())],
    }
