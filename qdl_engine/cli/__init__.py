"""`qdl`, the command line: one small module for each group of commands."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `qdl` with `arguments`, by default those of this process, and return its exit code."""
    from qdl_engine.cli.program import run

    return run(arguments)


__all__ = ["main"]
