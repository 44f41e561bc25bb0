"""Lists with vim keys."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.content import Content

from qdl_tui.shared.nav_list import NavList


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
