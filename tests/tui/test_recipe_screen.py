"""The recipe form: made from the settings, checked as typed, saved with the comments kept."""

from __future__ import annotations

import pytest

from qdl_engine.lab import Lab
from qdl_engine.toml import load_settings
from qdl_tui.app import QdlApp
from tests.tui.screen import check_golden, screen_text, settled

TO_ROWS = ["G", "g", "slash", *"rows to keep", "enter"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_form_shows_groups_values_and_help(lab: Lab, size: tuple[int, int]) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        await pilot.press("j", "j")
        await settled(app, pilot)
        check_golden(f"recipe-{size[0]}x{size[1]}", screen_text(app), lab.root)


async def test_an_edit_is_checked_marked_saved_and_keeps_comments(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        await pilot.press(*TO_ROWS)
        await settled(app, pilot)
        assert "system1.rows" in screen_text(app)

        await pilot.press("enter", "ctrl+u", *"0")
        await pilot.pause()
        assert "✗" in screen_text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert app.draft is not None and app.draft.current.system1.rows == 1000

        await pilot.press("ctrl+u", *"25", "enter")
        await pilot.pause()
        assert "* rows" in screen_text(app)
        assert "1 changed, not saved" in screen_text(app)

        await pilot.press("ctrl+s", "y")
        await settled(app, pilot)
        assert load_settings(lab).system1.rows == 25
        assert lab.settings_file.read_text(encoding="utf-8") == "# mine\n[system1]\nrows = 25 # few\n"
        assert "as saved" in screen_text(app)


async def test_undo_takes_back_one_edit_after_the_other(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        await pilot.press(*TO_ROWS)
        await settled(app, pilot)
        for value in ("25", "30"):
            await pilot.press("enter", "ctrl+u", *value, "enter")
        await pilot.pause()
        assert app.draft is not None and app.draft.current.system1.rows == 30
        await pilot.press("ctrl+z")
        assert app.draft.current.system1.rows == 25
        await pilot.press("ctrl+z")
        assert not app.draft.dirty


async def test_a_choice_turns_to_the_next_one(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("3")
        await settled(app, pilot)
        await pilot.press("slash", *"require_ver", "enter")
        await settled(app, pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert app.draft is not None and app.draft.current.system2.require_verified is False


async def test_a_broken_file_is_told_and_the_app_goes_on(lab: Lab) -> None:
    lab.settings_file.write_text("[system1]\nrow = 5\n", encoding="utf-8")
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        shown = " ".join(screen_text(app).split())
        assert "system1.row" in shown
        assert "no settings read" in shown
        await pilot.press("4")
        await settled(app, pilot)
        assert "[4 Runs]" in screen_text(app)


async def test_a_preset_is_one_edit_and_the_config_shows_it(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("3")
        await settled(app, pilot)
        await pilot.press("P")
        await pilot.pause()
        assert "T4 16 GB" in screen_text(app)
        await pilot.press("j", "enter")
        await settled(app, pilot)
        assert app.draft is not None and app.draft.current.system2.lora_rank == 16
        await pilot.press("c")
        await settled(app, pilot)
        assert '"kd_black_box_train_only"' in screen_text(app)
        await pilot.press("escape", "ctrl+z")
        await settled(app, pilot)
        assert not app.draft.dirty


async def test_escape_closes_the_editor_and_quitting_with_edits_asks(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        await pilot.press(*TO_ROWS)
        await settled(app, pilot)
        await pilot.press("enter", *"x", "escape")
        await pilot.pause()
        assert "✗" not in screen_text(app)

        await pilot.press("enter", "ctrl+u", *"25", "enter", "q")
        await pilot.pause()
        assert "Quit without saving" in screen_text(app)
        await pilot.press("n")
        await pilot.pause()
        assert app.draft is not None and app.draft.dirty and app.is_running
