"""Jump mode: letters lie where the panes are, and a letter goes there."""

from __future__ import annotations

import pytest

from qdl_engine.core.lab import Lab
from qdl_tui.shared.dialogs import JumpScreen
from tests.tui.conftest import finished_run, opened
from tests.tui.screen import screen_text, settled


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_each_pane_has_a_letter_and_the_letter_goes_there(lab: Lab, size: tuple[int, int]) -> None:
    finished_run(lab)
    async with opened(lab, "5", size=size) as (app, pilot):
        panes = [widget for widget in app.screen.focus_chain if not widget.has_class("-textual-system")]
        assert len(panes) >= 2
        for pane in panes:
            await pilot.press("ctrl+o")
            await settled(app, pilot)
            assert isinstance(app.screen, JumpScreen)
            letter = next(letter for letter, widget in app.screen.targets.items() if widget is pane)
            row = screen_text(app).splitlines()[pane.region.y - (pane.region.y > 1)]
            assert row[pane.region.right - 3 : pane.region.right].rstrip() == f" {letter}"
            await pilot.press(letter)
            await settled(app, pilot)
            assert app.focused is pane


async def test_escape_leaves_everything_as_it_was(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        before, focused = screen_text(app), app.focused
        await pilot.press("ctrl+o")
        await settled(app, pilot)
        assert "esc Back" in screen_text(app)
        await pilot.press("escape")
        await settled(app, pilot)
        assert screen_text(app) == before
        assert app.focused is focused


async def test_a_number_goes_to_a_screen_and_any_other_key_does_nothing(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        await pilot.press("ctrl+o", "m", "0")
        await settled(app, pilot)
        assert isinstance(app.screen, JumpScreen)
        await pilot.press("4")
        await settled(app, pilot)
        assert "[4 Runs]" in screen_text(app)


async def test_a_resize_takes_the_letters_away(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        await pilot.press("ctrl+o")
        await pilot.resize_terminal(100, 30)
        await settled(app, pilot)
        assert not isinstance(app.screen, JumpScreen)
