"""`qdl`, the command line: `program` has the grammar, a module each the commands of one subject."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `qdl` with `arguments`, by default those of this process, and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if list(words) == ["--version"]:  # Scripts call this often: skip the grammar.
        from qdl_engine import __version__

        print(f"qdl {__version__}")
        return 0
    from qdl_engine.cli.program import run

    return run(words)


__all__ = ["main"]
