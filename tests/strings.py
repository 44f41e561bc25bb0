"""Prints the strings that a person may read, for a second pair of eyes: `python -m tests.strings [PATH ...]`.

One string a line, as `file:line: text`, with `{…}` where a value goes. `--docs` prints docstrings instead.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_WORDS = re.compile(r"[A-Za-z]{2,}[,.:;]? [a-z{]")
"""Two words side by side: identifiers, styles and regular expressions have none."""


def _docstrings(tree: ast.Module) -> set[int]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, owners):
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    found.add(id(statement.value))
    return found


def strings(path: Path, docs: bool) -> Iterator[tuple[int, str]]:
    """Line and text of each string, or of each docstring, in the order of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = _docstrings(tree)
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if part is not node}
            parts = (part.value if isinstance(part, ast.Constant) else "{…}" for part in node.values)
            if not docs and _WORDS.search(text := "".join(map(str, parts))):
                yield node.lineno, text
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
            if _WORDS.search(text) and (id(node) in docstrings) is docs:
                yield node.lineno, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "qdl_engine", ROOT / "qdl_tui"])
    parser.add_argument("--docs", action="store_true", help="docstrings instead of what the program says")
    given = parser.parse_args()
    for top in given.paths:
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            for line, text in sorted(strings(path, given.docs)):
                print(f"{path}:{line}: {' '.join(text.split())}")


if __name__ == "__main__":
    main()
