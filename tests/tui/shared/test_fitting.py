"""Text cut in its middle to fit."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from qdl_tui.shared.fitting import middle_cut


@pytest.mark.parametrize("width", range(40))
@pytest.mark.parametrize("text", ["/data/models/Qwen2.5-7B-Instruct", "模型/模型/模型/模型", ""])
def test_it_fits_and_keeps_both_ends(text: str, width: int) -> None:
    cut = middle_cut(text, width)
    assert cell_len(cut) <= width
    head, ellipsis, tail = cut.partition("…")
    assert text.startswith(head) and text.endswith(tail)
    assert ellipsis or cut == text or not width
