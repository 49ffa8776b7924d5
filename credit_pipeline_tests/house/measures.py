"""Files, lines, types and imports of a checkout, read from its text: any checkout, also an older one, is measured."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

CONCEPTS = {
    "a finding": re.compile(r"(Mismatch|Finding)(Row)?$"),
    "a correction": re.compile(r"Correction$"),
    "a configured table": re.compile(r"(Table|Words|StoreConfig|Store)$"),
    "a plan with its rows": re.compile(r"(SavedPlan|PlanRow|PlanReport)$"),
}
"""Concept -> the names of classes that describe it."""
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def package_of(root: Path) -> list[Path]:
    """The package's modules, sorted."""
    return sorted((root / "credit_pipeline").rglob("*.py"))


def code_lines(path: Path) -> int:
    """Lines that hold code: neither blank, nor only comment, nor part of a docstring."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SKIPPED and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(text)))


def docstring_lines(tree: ast.Module) -> set[int]:
    """The lines of strings that stand alone as statements: docstrings of modules, functions, classes, attributes."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def files_per_folder(root: Path) -> Counter[str]:
    """Folder -> its modules, `__init__` aside."""
    return Counter(str(path.parent.relative_to(root)) for path in package_of(root) if path.name != "__init__.py")


def in_sandbox(path: Path, root: Path) -> bool:
    return path.relative_to(root).parts[1] == "sandbox"


def types_per_concept(root: Path) -> dict[str, list[str]]:
    """Concept -> the classes that describe it, with their modules, sandbox aside."""
    found: dict[str, list[str]] = {concept: [] for concept in CONCEPTS}
    for path, name in _classes(root):
        for concept, pattern in CONCEPTS.items():
            if pattern.search(name) and "Protocol" not in name:
                found[concept].append(f"{path.relative_to(root / 'credit_pipeline')}:{name}")
    return found


def _classes(root: Path) -> Iterator[tuple[Path, str]]:
    for path in package_of(root):
        if not in_sandbox(path, root):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield path, node.name
