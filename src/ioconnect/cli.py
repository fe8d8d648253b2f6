"""The command line: parse, one call, render, exit code."""

from __future__ import annotations


def main() -> None:
    """Run the command line and leave with one of `ExitCode`."""
    raise SystemExit(70)
