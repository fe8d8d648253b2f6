"""What the figures were taken on: they mean nothing without it."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

_PACKAGES = ("ioconnect", "paramiko", "cryptography", "asyncssh")


def description(sshd_banner: str) -> dict[str, str]:
    """The machine and the versions, in the order to show them in."""
    facts = {
        "date": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "kernel": f"{platform.system()} {platform.release()}",
        "sshd": sshd_banner,
        "ssh": _ssh_version(),
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[package] = importlib.metadata.version(package)
    return facts


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _ssh_version() -> str:
    ssh = shutil.which("ssh")
    if ssh is None:
        return "not installed"
    return subprocess.run([ssh, "-V"], capture_output=True, text=True, timeout=10, check=False).stderr.strip()
