"""The training screen: the newest run or the one attached to, read and never touched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qdl_engine.events import append_event, make_event
from qdl_engine.lab import Lab
from qdl_engine.runs.store import create_run, save_run
from qdl_tui.app import QdlApp
from qdl_tui.feed import TrainingFeed
from qdl_tui.state import load_state
from tests.tui.conftest import finished_run
from tests.tui.screen import check_golden, screen_text, settled


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_run_shows_its_state_its_loss_and_its_log(lab: Lab, size: tuple[int, int]) -> None:
    finished_run(lab, losses=40)
    app = QdlApp(lab)
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        await pilot.press("5")
        await settled(app, pilot)
        await settled(app, pilot)
        check_golden(f"training-{size[0]}x{size[1]}", screen_text(app), lab.root)


async def test_attaching_from_the_runs_is_remembered(lab: Lab) -> None:
    first = finished_run(lab)
    finished_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("4")
        await settled(app, pilot)
        await pilot.press("j", "enter")
        await settled(app, pilot)
        assert first.id in screen_text(app)
        assert "2 of 2" in screen_text(app)
    assert load_state().last_run == {str(lab.root): first.id}

    again = QdlApp(lab)
    async with again.run_test(size=(80, 24)) as pilot:
        await settled(again, pilot)
        await pilot.press("5")
        await settled(again, pilot)
        assert first.id in screen_text(again)


async def test_new_events_are_seen_at_the_next_tick(lab: Lab) -> None:
    run = finished_run(lab, losses=3)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("5")
        await settled(app, pilot)
        assert "step 3/3" in screen_text(app)
        append_event(run.events_file, make_event("metrics", step=4, total_steps=8, loss=float("nan")))
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "step 4/8" in screen_text(app)
        assert "loss nan" in screen_text(app)


async def test_zoom_gives_the_screen_to_one_pane(lab: Lab) -> None:
    finished_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("5")
        await settled(app, pilot)
        await pilot.press("z")
        await pilot.pause()
        assert not app.screen.query_one("#loss").display
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.query_one("#loss").display


async def test_without_runs_it_says_where_to_start_one(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("5")
        await settled(app, pilot)
        assert "No run yet" in screen_text(app)


def test_without_a_choice_the_training_is_shown_and_not_a_later_job(lab: Lab) -> None:
    training = finished_run(lab)
    later = create_run(lab, "evaluate", system="system1", argv=["true"])
    save_run(replace(later, state="done", started=300.0, ended=301.0, exit_code=0))
    view = TrainingFeed().read(lab, "")
    assert view is not None
    assert (view.run.id, view.position) == (training.id, 2)
