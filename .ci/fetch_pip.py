"""Put pip into this virtual environment from PyPI: for a Debian python3 without python3-venv's ensurepip.

Only the standard library, Python 3.10 or newer. The wheel's SHA-256 is checked against the index; PIP_INDEX_URL names
another index.
"""

# ruff: noqa: INP001  a script beside the shell scripts, not a package

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
JSON = "application/vnd.pypi.simple.v1+json"  # PEP 691


def fetch(url: str, accept: str = "*/*") -> bytes:
    """Return what is behind an https URL."""
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310  the index is https, or the user's
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def version(file: dict[str, Any]) -> tuple[int, ...]:
    """Return the release's number, () for what is no final release's wheel or was yanked."""
    final = re.fullmatch(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl", file["filename"])
    return tuple(map(int, final[1].split("."))) if final and not file.get("yanked") else ()


def main() -> None:
    """Fetch the newest wheel and let it install itself."""
    try:
        wheel = max(json.loads(fetch(f"{INDEX}/pip/", JSON))["files"], key=version)
        content = fetch(urllib.parse.urljoin(f"{INDEX}/pip/", wheel["url"]))
    except (OSError, ValueError, LookupError) as error:
        sys.exit(f"run: no pip here, and none from {INDEX} ({error}); on Debian: apt install python3-venv")
    if hashlib.sha256(content).hexdigest() != wheel["hashes"]["sha256"]:
        sys.exit(f"run: {wheel['filename']} from {INDEX} is damaged; on Debian: apt install python3-venv")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / wheel["filename"]
        file.write_bytes(content)
        command = [sys.executable, str(file / "pip"), "install", "--quiet", "--no-index", str(file)]
        sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603  the wheel that was just checked


if __name__ == "__main__":
    main()
