"""ctrl+p finds actions, runs and settings."""

from __future__ import annotations

from textual.command import CommandPalette

from qdl_engine.lab import Lab
from qdl_tui.app import QdlApp
from qdl_tui.screens.recipe import RecipeScreen
from tests.tui.conftest import finished_run
from tests.tui.screen import screen_text, settled


async def choose(app: QdlApp, pilot, words: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    await pilot.press("ctrl+p")
    await settled(app, pilot)
    await pilot.press(*words)
    await settled(app, pilot)
    await pilot.pause(0.3)
    await pilot.press("enter")
    if isinstance(app.screen, CommandPalette):
        await pilot.press("enter")
    await settled(app, pilot)


async def test_a_run_is_found_and_watched(lab: Lab) -> None:
    run = finished_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await choose(app, pilot, "watch 0001")
        assert "[5 Training]" in screen_text(app)
        assert run.id in screen_text(app)


async def test_a_setting_is_found_and_the_cursor_put_on_it(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await choose(app, pilot, "system2.rv_min")
        await settled(app, pilot)
        assert isinstance(app.screen, RecipeScreen)
        assert "[3 System 2]" in screen_text(app)
        assert "Lowest Reasoning" in screen_text(app)


async def test_an_action_of_the_screen_is_found(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await choose(app, pilot, "go to compare")
        assert "[6 Compare]" in screen_text(app)
