"""Hints that more than one file gives.

Pure.
"""

from __future__ import annotations

START = "start it: ioconnect up --daemon"  # a clause
OTHER_CONFIG = "Leave --config away, or name the agent's; for an agent of its own set IOCONNECT_HOME."


def sentence(clause: str) -> str:
    """Return the clause as a sentence."""
    return f"{clause[:1].upper()}{clause[1:]}."
