"""Every regular expression of the program is linear in the text, whatever is in it.

Each is measured with a beginning, many of one filler, and an end. Beginnings and fillers are made of what the pattern
itself matches: a beginning that it takes, a filler that two of its parts take, and an end that it refuses are what
makes a search quadratic.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.rigs.source_tree import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.long

METHODS = ("match", "fullmatch", "search", "findall", "finditer", "split", "sub")
FILLERS = ("a", "A", "_", "0", " ", "\n", "\\", "'", '"', ":", "=", "a ", "a:", "a=")
ENDS = (";", "\0")
MAX_WORDS = 6  # of the longest and of the shortest in a pattern
LENGTH = 6000  # characters, and then FACTOR times as many
FACTOR = 4
QUICK = 5e-3  # seconds; a quadratic search takes twice that for so many
MOST = 8.0  # times the time, for FACTOR times the text; a quadratic search takes 16
TRIES = 2


class Use(NamedTuple):
    """A regular expression, and how it is called."""

    where: str
    pattern: re.Pattern[Any]
    method: str


def uses(file: str) -> Iterator[Use]:
    """Yield what a file has; not one that is made of what is only known at the call."""
    module = vars(importlib.import_module(".".join(("ioconnect", *file.removesuffix(".py").split("/")))))
    tree = ast.parse(SOURCES[file].text)
    names = {
        id(node.value): node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not re.fullmatch(r"re\.(compile|\w+)", ast.unparse(node.func)):
            continue
        method = ast.unparse(node.func).removeprefix("re.")
        if method in METHODS:
            flags = [each for each in node.args[2:] if ast.unparse(each).startswith("re.")]
            yield from _use(f"{file}:{node.lineno}", [node.args[0], *flags], [method], module)
        elif method == "compile":
            yield from _use(f"{file}:{node.lineno}", node.args, _methods(names.get(id(node), ""), file), module)


def _use(where: str, arguments: list[ast.expr], methods: list[str], module: dict[str, Any]) -> Iterator[Use]:
    try:
        pattern, *flags = (eval(ast.unparse(each), module) for each in arguments)
    except NameError:
        return
    yield from (Use(where, re.compile(pattern, *flags), method) for method in methods)


def _methods(name: str, file: str) -> list[str]:
    """Return how the pattern of this name is called; where that is not to be seen, in the way that does most."""
    texts = SOURCES[file].text if name.startswith("_") else "".join(source.text for source in SOURCES.values())
    return sorted(set(re.findall(rf"\b{name}\.({'|'.join(METHODS)})\(", texts))) if name else ["finditer"]


def words(pattern: re.Pattern[Any]) -> list[str]:
    """Return literal texts in a pattern, and what its classes name."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    plain = re.sub(r"\(\?<?[!=]|\(\?\w*:?(?:P<\w+>)?|\{[\d,]*\}|\\[bBAZwWsSdD]|\\(?=\W)", "|", text)
    found = re.findall(r"[^\[\](){}|*+?.^$\\-]+|-", plain)
    by_length = sorted(dict.fromkeys(found), key=lambda word: (len(word) == 1, len(word)))
    return list(dict.fromkeys((*by_length[:MAX_WORDS], *by_length[-MAX_WORDS:])))


def texts(pattern: re.Pattern[Any]) -> Iterator[Callable[[int], Any]]:
    """Yield functions that make a text of a length."""
    known = words(pattern)
    pairs = [f"{first} {second}" for first in known for second in known if len(first) > 1 < len(second)]
    for begin in ("", *known, *(f"{word} " for word in known), *pairs):
        for filler in (
            FILLERS if begin in pairs else dict.fromkeys((*FILLERS, *known, *(f"{word} " for word in known)))
        ):
            for end in ENDS:

                def text(length: int, *, parts: tuple[str, str, str] = (begin, filler, end)) -> Any:
                    made = parts[0] + parts[1] * (length // len(parts[1])) + parts[2]
                    return made if isinstance(pattern.pattern, str) else made.encode("latin-1", "replace")

                yield text


def seconds(use: Use, text: Any, tries: int = 1) -> float:
    """Return the time on the processor, of the fastest of some tries."""
    measured = []
    for _ in range(tries):
        begin = time.thread_time()
        call(use, text)
        measured.append(time.thread_time() - begin)
    return min(measured)


def call(use: Use, text: Any) -> object:
    if use.method == "sub":
        return use.pattern.sub(text[:0], text)
    found = getattr(use.pattern, use.method)(text)
    return deque(found, maxlen=0) if use.method == "finditer" else found


def slowest(use: Use) -> str:
    """Return a text for which a pattern takes far more than FACTOR times as long when it is so much longer, or ""."""
    for text in texts(use.pattern):
        if seconds(use, text(LENGTH)) < QUICK:
            continue
        ratios = (
            seconds(use, text(FACTOR * LENGTH), TRIES) / seconds(use, text(LENGTH), TRIES) for _ in range(TRIES)
        )
        if all(ratio > MOST for ratio in ratios):
            return repr(text(20))
    return ""


@pytest.mark.parametrize("file", [file for file, source in SOURCES.items() if source.names(r"re\.\w+$")])
def test_twice_the_text_takes_twice_the_time(file: str) -> None:
    assert [(use.where, use.method, text) for use in uses(file) if (text := slowest(use))] == []


@pytest.mark.parametrize("pattern", [r"(?:pw|key)(?:\s+is\b\s*[:=]?|\s*[:=])\s*[^\s;]", r"a*b", r"(?m)^\s*x"])
def test_a_pattern_that_is_not_linear_is_seen(pattern: str) -> None:
    assert slowest(Use("here", re.compile(pattern), "search"))
