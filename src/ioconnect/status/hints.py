"""Hints that more than one file gives.

Pure.
"""

from __future__ import annotations

OTHER_CONFIG = "Leave --config away, or name the agent's; for an agent of its own set IOCONNECT_HOME."
