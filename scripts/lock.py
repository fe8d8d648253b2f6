"""Makes requirements.lock: each package that the service is installed with, and the hashes of its archives.

`./run python -m scripts.lock` wants uv in PATH; uv resolves for every Python and system that pyproject.toml allows.
Without an argument the newest versions in its ranges are taken, with `--keep` those that are in the lock already.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
OLDEST = "3.10"  # pyproject.toml, requires-python
HEADER = """\
# Made by `./run python -m scripts.lock`; docs/services.md says how to install with it.
# pip install --require-hashes -r requirements.lock, then ioconnect's own wheel with --no-deps.
"""


def main() -> None:
    """Write the lock."""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("scripts.lock: uv is not in PATH; see https://docs.astral.sh/uv/")
    options = ("--universal", "--generate-hashes", "--no-annotate", "--no-header", "--python-version", OLDEST)
    newest = () if "--keep" in sys.argv[1:] else ("--upgrade",)
    command = [uv, "pip", "compile", "pyproject.toml", "--quiet", *options, *newest, "--output-file", str(LOCK)]
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603  uv, with these words
    LOCK.write_text(HEADER + LOCK.read_text())


if __name__ == "__main__":
    main()
