"""The runs table: live, in place, and careful before it deletes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qdl_engine.lab import Lab
from qdl_engine.runs.store import list_runs, save_run
from qdl_tui.app import QdlApp
from qdl_tui.feed import duration_text, number_text
from qdl_tui.screens.runs import RunsScreen
from tests.tui.conftest import finished_run
from tests.tui.screen import check_golden, screen_text, settled


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_runs_are_listed_newest_first(lab: Lab, size: tuple[int, int]) -> None:
    finished_run(lab)
    finished_run(lab, state="failed", losses=2, message="Out of \x1b[31mmemory")
    app = QdlApp(lab)
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        await pilot.press("4")
        await settled(app, pilot)
        check_golden(f"runs-{size[0]}x{size[1]}", screen_text(app), lab.root)


async def test_the_table_changes_in_place_and_the_cursor_stays_on_its_run(lab: Lab) -> None:
    first = finished_run(lab)
    finished_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("4")
        await settled(app, pilot)
        await pilot.press("j")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        at_hand = screen.run_at_hand()
        assert at_hand is not None and at_hand.id == first.id

        save_run(replace(first, state="lost"))
        newest = finished_run(lab)
        screen.tick()
        await settled(app, pilot)
        at_hand = screen.run_at_hand()
        assert at_hand is not None and at_hand.id == first.id
        assert at_hand.state == "lost"
        assert newest.id in screen.views


async def test_deleting_asks_first(lab: Lab) -> None:
    finished_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("4")
        await settled(app, pilot)
        await pilot.press("x")
        await pilot.pause()
        assert "Delete run" in screen_text(app)
        await pilot.press("n")
        await settled(app, pilot)
        assert len(list_runs(lab)) == 1
        await pilot.press("x", "y")
        await settled(app, pilot)
        assert list_runs(lab) == []


def test_numbers_and_durations_are_short() -> None:
    assert [duration_text(value) for value in (7, 125, 3723, None)] == ["7 s", "2:05", "1:02:03", ""]
    assert [number_text(value) for value in (1.23456, 2e-5, float("nan"), None)] == [
        "1.235",
        "2e-05",
        "nan",
        "",
    ]
