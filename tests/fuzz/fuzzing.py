"""One slice of fuzzing one target, in a process of its own: by atheris where it is installed, else by hypothesis.

atheris sees which code an input reaches and goes on from those that reach new code. hypothesis mutates the seeds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import mmap
import os
import random
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.fuzz import registry
from tests.fuzz.inputs import LONG, mutated, stretched
from tests.fuzz.target import CORPUS, Finding, Target, check, check_growth, corpus

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINES = ("atheris", "hypothesis")
SAMPLE = 40  # inputs that are looked at for growth
EXAMPLES = 200  # between two looks at the clock
INSTRUMENTED = 2.0  # how much slower code is that atheris watches
GROWTH_SHARE = 0.2  # of a slice, at its end
LONG_SHARE = 0.3  # of a slice at most, at its beginning, for the inputs of 64 KiB
HEADER = 8


class Slice:
    """So many seconds of one target. `current` is a file with the input that runs, for when the process dies."""

    def __init__(self, target: Target, seconds: float, current: Path, *, slow: float = 1.0) -> None:
        self.target = target
        self.runs = self.taken = 0
        begin = time.monotonic()
        self._end_of_long = begin + seconds * LONG_SHARE
        self._end = begin + seconds * (1 - GROWTH_SHARE)
        self._slow = slow
        self._sample: deque[bytes] = deque(maxlen=SAMPLE)
        current.write_bytes(bytes(HEADER + LONG))
        with current.open("r+b") as file:
            self._current = mmap.mmap(file.fileno(), 0)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end

    def one(self, data: bytes) -> None:
        """Run one input. Raises Finding."""
        data = data[:LONG]
        self._current[:HEADER] = len(data).to_bytes(HEADER, "big")
        self._current[HEADER : HEADER + len(data)] = data
        self.runs += 1
        self.taken += check(self.target, data, cpu=self._slow)
        if self.runs % 97 == 0:
            self._sample.append(data)

    def known(self) -> None:
        """Run what needs no engine: the seeds, the corpus, and both stretched, in a random order."""
        for data in (*self.target.seeds, *corpus(self.target)):
            self.one(data)
        long = list(stretched(self.target))
        random.shuffle(long)
        for data in long:
            if time.monotonic() >= self._end_of_long:
                return
            self.one(data)

    def close(self) -> None:
        """Look for growth, and say how much was done."""
        check_growth(self.target, [*self.target.seeds, *corpus(self.target), *self._sample])
        print(f"{self.runs} {self.taken}", flush=True)


def has_atheris() -> bool:
    """Say whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def run(name: str, seconds: float, engine: str, current: Path) -> NoReturn:
    """Fuzz one target; print the number of inputs, or save the finding and print its file. Ends the process."""
    random.seed()
    try:
        if engine == "atheris":
            _by_atheris(name, seconds, current)
        else:
            work = Slice(registry.load(name), seconds, current)
            work.known()
            _by_hypothesis(work)
            work.close()
    except Finding as finding:
        _report(name, finding)
    _leave(0)


def _report(name: str, finding: Finding) -> NoReturn:
    print(save(name, finding.data), finding, flush=True)
    _leave(1)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(code)  # targets have threads, and libFuzzer's own exit has an opinion about them


def save(name: str, data: bytes) -> Path:
    """Keep an input in the corpus; return its file."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    file = next(path for number in itertools.count(1) if not (path := folder / f"{number:03}").exists())
    file.write_bytes(data)
    return file


def _by_hypothesis(work: Slice) -> None:
    from hypothesis import HealthCheck, Phase, given, settings  # noqa: PLC0415  atheris does without

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated(work.target, tuple(corpus(work.target))))
    def batch(data: bytes) -> None:
        if not work.over:
            work.one(data)

    while not work.over:
        batch()


def _by_atheris(name: str, seconds: float, current: Path) -> None:
    import atheris  # noqa: PLC0415  an extra

    with atheris.instrument_imports(include=["ioconnect"]):
        target = registry.load(name)
    work = Slice(target, seconds, current, slow=INSTRUMENTED)
    work.known()
    folder = Path(tempfile.mkdtemp(prefix="ioconnect-fuzz-", dir=current.parent))
    for number, data in enumerate((*target.seeds, *corpus(target))):
        (folder / str(number)).write_bytes(data)
    words = current.with_suffix(".dict")
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words))
    flags = ("-verbosity=0", "-timeout=100000", "-rss_limit_mb=0", f"-max_len={LONG}", "-len_control=20")
    with contextlib.suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())  # its chatter
    atheris.Setup([sys.argv[0], *flags, f"-dict={words}", str(folder)], _until_the_end(work))
    atheris.Fuzz()


def _until_the_end(work: Slice) -> Callable[[bytes], None]:
    def one(data: bytes) -> None:
        try:
            if work.over:
                work.close()
                _leave(0)
            work.one(data)
        except Finding as finding:
            _report(work.target.name, finding)

    return one


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
