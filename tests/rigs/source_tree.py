"""The source of ioconnect as data, parsed once: its files, and what each of them imports, defines and calls."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ioconnect

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(ioconnect.__file__).parent


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, absolute; `lazy`: inside a function; `typing`: only the type checker sees it."""

    file: str  # the file that imports, as its path inside the package
    line: int
    module: str
    lazy: bool
    typing: bool

    def reaches(self, module: str) -> bool:
        """Say whether this imports the module, or something inside it."""
        return self.module == module or self.module.startswith(module + ".")

    def __str__(self) -> str:
        """`file:line imports module`, as a failure shows it."""
        return f"src/ioconnect/{self.file}:{self.line} imports {self.module}"


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or a class."""

    name: str
    line: int
    lines: int
    is_class: bool


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the package."""

    text: str
    docstring: str
    imports: tuple[Import, ...]
    definitions: tuple[Definition, ...]

    def names(self, pattern: str) -> bool:
        """Say whether the code (not a comment, not a text) has a dotted name that matches."""
        if not re.search(pattern.replace("$", r"\b"), self.text):
            return False  # most files, without parsing them again
        attributes = (node for node in ast.walk(ast.parse(self.text)) if isinstance(node, ast.Attribute))
        return any(re.match(pattern, ast.unparse(node)) for node in attributes)


def _is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _modules(node: ast.Import | ast.ImportFrom, file: str) -> list[str]:
    """Return the absolute names that a statement may import: `from a import b` names a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = ["ioconnect", *Path(file).parts[:-1]]
        base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def _statements(node: ast.AST, *, lazy: bool = False, typing: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Yield every statement inside, with whether it is in a function, and whether under TYPE_CHECKING."""
    lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    for name, children in ast.iter_fields(node):
        if (
            isinstance(children, list)
            and children
            and isinstance(children[0], (ast.stmt, ast.excepthandler, ast.match_case))
        ):
            unseen = typing or (name == "body" and _is_typing_block(node))
            for child in children:
                yield child, lazy, unseen
                yield from _statements(child, lazy=lazy, typing=unseen)


def read_source(text: str, file: str) -> Source:
    """Return what a file's text holds; `file` is its path inside the package."""
    tree = ast.parse(text)
    imports: list[Import] = []
    definitions: list[Definition] = []
    for node, lazy, typing in _statements(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports += [Import(file, node.lineno, module, lazy, typing) for module in _modules(node, file)]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            definitions.append(Definition(node.name, node.lineno, lines, isinstance(node, ast.ClassDef)))
    return Source(text, ast.get_docstring(tree) or "", tuple(imports), tuple(definitions))


def _module(file: str) -> str:
    """Return a file's name as Python imports it: `stub/__init__.py` is `ioconnect.stub`."""
    return ".".join(["ioconnect", *file.removesuffix(".py").split("/")]).removesuffix(".__init__")


# Every file of the package by its path inside it, with slashes.
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): read_source(path.read_text(), path.relative_to(PACKAGE).as_posix())
    for path in sorted(PACKAGE.rglob("*.py"))
}
FILES = {_module(file): file for file in SOURCES}  # by module
IMPORTS = [found for source in SOURCES.values() for found in source.imports]
# What files import of each other: (the import, the imported file). `from package import module` leads to the module.
_PACKAGES = {(found.file, found.line, found.module.rpartition(".")[0]) for found in IMPORTS if found.module in FILES}
ARROWS = [
    (found, FILES[found.module])
    for found in IMPORTS
    if found.module in FILES and (found.file, found.line, found.module) not in _PACKAGES
]
