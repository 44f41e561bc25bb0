"""The lab screen: where things stand, and how to begin in an empty directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.errors import LabError
from qdl_engine.lab import Lab
from qdl_tui.app import QdlApp
from qdl_tui.state import UserState, load_state
from tests.tui.screen import check_golden, screen_text, settled

SIZES = [(80, 24), (120, 40)]


@pytest.mark.parametrize("size", SIZES)
async def test_an_empty_directory_offers_ways_to_begin(tmp_path: Path, size: tuple[int, int]) -> None:
    empty = Lab.at(tmp_path / "lab")
    app = QdlApp(empty)
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        check_golden(f"lab-empty-{size[0]}x{size[1]}", screen_text(app), empty.root)


@pytest.mark.parametrize("size", SIZES)
async def test_a_fresh_lab_shows_its_stages_and_the_next_step(lab: Lab, size: tuple[int, int]) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        check_golden(f"lab-fresh-{size[0]}x{size[1]}", screen_text(app), lab.root)


async def test_the_help_lists_the_keys_of_the_screen(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        check_golden("help-lab-80x24", screen_text(app), lab.root)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.screen_stack[0]


async def test_below_60x20_it_says_what_it_needs(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(50, 15)) as pilot:
        await settled(app, pilot)
        assert "needs 60x20" in screen_text(app)
        assert "Next step" not in screen_text(app)


async def test_the_theme_is_remembered_and_so_is_the_lab(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("ctrl+t")
        await settled(app, pilot)
        assert app.theme == "qdl-light"
    state = load_state()
    assert state.theme == "qdl-light"
    assert state.recent == [str(lab.root)]


async def test_a_name_with_escapes_and_markup_is_shown_not_obeyed(tmp_path: Path) -> None:
    root = tmp_path / "[red]x\x1b[2J"
    root.mkdir()
    app = QdlApp(Lab.at(root), state=UserState(recent=["/labs/[bold]\x1b]0;title\x07"]))
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(app, pilot)
        shown = screen_text(app)
    assert "[red]x␛[2J" in shown
    assert "[bold]␛]0;title␇" in shown


async def test_all_screens_are_named_at_60_columns(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(60, 20)) as pilot:
        await settled(app, pilot)
        for key, name in enumerate(
            ("[1 Lab]", "[2 System 1]", "[3 System 2]", "[4 Runs]", "[5 Training]"), 1
        ):
            await pilot.press(str(key))
            await settled(app, pilot)
            top = screen_text(app).splitlines()[0]
            assert name in top
            assert "6 Compare" in top


async def test_the_same_trouble_is_told_once(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        for _ in range(3):
            app.tell_error(LabError("The disk is full", "Delete something"))
        await pilot.pause()
        assert [item.message for item in app._notifications] == ["The disk is full. Delete something"]
