"""Lists with vim keys, and text cut in its middle to fit a row."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.content import Content

from qdl_tui.shared.lists import NavList, middle_cut


class _ListApp(App[None]):
    CSS = "NavList { width: 0; height: 0; border: none; padding: 0; }"

    def compose(self) -> ComposeResult:
        yield NavList(id="list")


@pytest.mark.parametrize("key", ["pagedown", "pageup"])
async def test_a_page_of_a_list_that_has_no_room_yet_is_no_move(key: str) -> None:
    app = _ListApp()
    async with app.run_test() as pilot:
        shown = app.query_one(NavList)
        shown.show_options([(str(number), Content(str(number))) for number in range(30)])
        await pilot.press(key, key)
        assert shown.highlighted == 0

        shown.styles.width, shown.styles.height = 20, 10
        await pilot.pause()
        await pilot.press("pagedown")
        assert shown.highlighted == 10


@pytest.mark.parametrize("width", range(40))
@pytest.mark.parametrize("text", ["/data/models/Qwen2.5-7B-Instruct", "模型/模型/模型/模型", ""])
def test_it_fits_and_keeps_both_ends(text: str, width: int) -> None:
    cut = middle_cut(text, width)
    assert cell_len(cut) <= width
    head, ellipsis, tail = cut.partition("…")
    assert text.startswith(head) and text.endswith(tail)
    assert ellipsis or cut == text or not width
