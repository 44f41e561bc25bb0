"""Text that fits a given number of cells of the terminal."""

from __future__ import annotations

from rich.cells import cell_len, chop_cells

ELLIPSIS = "…"


def middle_cut(text: str, width: int) -> str:
    """`text` in at most `width` cells: paths and model names differ at both ends, so the middle goes.

    >>> middle_cut("/data/models/Qwen2.5-7B-Instruct", 20)
    '/data/m…-7B-Instruct'
    """
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    end = (width - 1) * 2 // 3
    return f"{_first(text, width - 1 - end)}{ELLIPSIS}{_first(text[::-1], end)[::-1]}"


def _first(text: str, width: int) -> str:
    return chop_cells(text, width)[0] if width and text else ""
