"""Makes requirements.lock: each package that the service is installed with, and the hashes of its archives.

And requirements-build.lock: likewise what the wheel is built with.

`./run python -m scripts.lock` wants uv in PATH; uv resolves for every Python and system that pyproject.toml allows.
Without an argument the newest versions in its ranges are taken, with `--keep` those that are in the lock already.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
LOCK, BUILD_LOCK = ROOT / "requirements.lock", ROOT / "requirements-build.lock"
OLDEST = "3.10"  # pyproject.toml, requires-python
HEADER = """\
# Made by `./run python -m scripts.lock`; docs/services.md says how to install with it.
# pip install --only-binary=:all: --require-hashes -r {name}, then {then}.
"""


def main() -> None:
    """Write both locks."""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("scripts.lock: uv is not in PATH; see https://docs.astral.sh/uv/")
    _lock(uv, "pyproject.toml", LOCK, "ioconnect's own wheel with --no-deps")
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    _lock(uv, "-", BUILD_LOCK, "pip wheel --no-deps --no-build-isolation .", "\n".join(requires))


def _lock(uv: str, source: str, lock: Path, then: str, text: str = "") -> None:
    options = ("--universal", "--generate-hashes", "--no-annotate", "--no-header", "--python-version", OLDEST)
    newest = () if "--keep" in sys.argv[1:] else ("--upgrade",)
    command = [uv, "pip", "compile", source, "--quiet", *options, *newest, "--output-file", str(lock)]
    subprocess.run(command, check=True, cwd=ROOT, input=text.encode())  # noqa: S603  uv, with these words
    lock.write_text(HEADER.format(name=lock.name, then=then) + lock.read_text())


if __name__ == "__main__":
    main()
