"""The runs table: live, in place, and careful before it deletes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.runs.edit import delete_run, note_run, rename_run
from qdl_engine.runs.store import create_run, list_runs, refresh_run, save_run
from qdl_tui.app import QdlApp
from qdl_tui.runs.feed import number_text, time_text
from qdl_tui.runs.screen import RunsScreen, RunsTable
from qdl_tui.shared.state import copied_file
from tests.tui.conftest import finished_run, opened
from tests.tui.screen import check_golden, screen_text, settled


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40)])
async def test_runs_are_listed_newest_first(lab: Lab, size: tuple[int, int]) -> None:
    rename_run(finished_run(lab), "the \x1b[1mfirst try with half of the rows")
    job = create_run(lab, "evaluate", system="system2", argv=["x"])
    save_run(replace(job, state="done", started=100.0, ended=110.0))
    failed = finished_run(lab, state="failed", losses=2, message="Out of \x1b[31mmemory")
    note_run(failed, "try batch_size = 2")
    async with opened(lab, "4", size=size) as (app, _pilot):
        check_golden(f"runs-{size[0]}x{size[1]}", screen_text(app), lab.root)


async def test_the_table_changes_in_place_and_the_cursor_stays_on_its_run(lab: Lab) -> None:
    first = finished_run(lab)
    finished_run(lab)
    async with opened(lab, "4") as (app, pilot):
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


def ids(app: QdlApp) -> list[str]:
    """The ids of the runs on show, from the top."""
    lines = screen_text(app).splitlines()
    return [line.split()[0] for line in lines if line.startswith(" 0")]


async def test_the_filter_follows_what_is_typed(lab: Lab) -> None:
    first = finished_run(lab, state="stopped")
    second = finished_run(lab)
    async with opened(lab, "4") as (app, pilot):
        await pilot.press(*"/stop")  # in one piece, as a slow line brings it
        await settled(app, pilot)
        assert ids(app) == [first.id]
        assert "/stop   1 of 2 runs   esc: all" in screen_text(app)
        assert "/ Filter" not in screen_text(app), "it is a letter of the words now"
        await pilot.press("enter")
        await settled(app, pilot)
        at_hand = app.screen.run_at_hand()  # type: ignore[attr-defined]
        assert at_hand.id == first.id and isinstance(app.focused, RunsTable)
        finished_run(lab)
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert ids(app) == [first.id]
        await pilot.press("escape")
        await settled(app, pilot)
        assert len(ids(app)) == 3 and second.id in ids(app)
        await pilot.press("slash", *"nope")
        await settled(app, pilot)
        assert ids(app) == [] and "0 of 3 runs" in screen_text(app)
        await pilot.press("escape")
        await settled(app, pilot)
        assert len(ids(app)) == 3


async def test_a_name_and_a_note_are_written_and_taken_away(lab: Lab) -> None:
    run = finished_run(lab)
    async with opened(lab, "4") as (app, pilot):
        await pilot.press("r", *"small", "enter")
        await settled(app, pilot)
        await pilot.press("o", *"half", "enter")
        await settled(app, pilot)
        assert "Note: half" in screen_text(app) and " small " in screen_text(app)
        await pilot.press("r", "ctrl+u", "escape")
        await settled(app, pilot)
        assert refresh_run(run).name == "small", "escape changes nothing"
        await pilot.press("r", "ctrl+u", "enter")
        await settled(app, pilot)
        assert (refresh_run(run).name, refresh_run(run).note) == ("", "half")


async def test_a_narrow_terminal_has_fewer_columns_and_cuts_none(lab: Lab) -> None:
    rename_run(finished_run(lab), "small")
    async with opened(lab, "4", size=(60, 20)) as (app, pilot):
        heads, row = screen_text(app).splitlines()[1:3]
        assert heads.split() == ["Id", "State", "Progress", "Loss", "Time"]
        assert row.split() == ["0001-train-system1", "done", "100%", "0.600", "2:05"]
        assert "small · train System 1" in screen_text(app)
        await pilot.resize_terminal(70, 20)
        await settled(app, pilot)
        assert "ETA" in screen_text(app) and " Name " not in screen_text(app)
        await pilot.resize_terminal(80, 20)
        await settled(app, pilot)
        assert " Name " in screen_text(app)


async def test_what_a_run_does_is_said_shorter_where_it_would_be_cut(lab: Lab) -> None:
    finished_run(lab)
    async with opened(lab, "4") as (app, pilot):
        row = screen_text(app).splitlines()[2]
        assert row.split() == ["0001-train-system1", "train", "done", "100%", "0.600", "2:05"]
        await pilot.resize_terminal(84, 24)
        await settled(app, pilot)
        assert "0001-train-system1    train System 1 done" in screen_text(app)


async def test_scroll_and_cursor_stay_when_runs_come_and_go(lab: Lab) -> None:
    runs = [finished_run(lab) for _ in range(40)]
    async with opened(lab, "4") as (app, pilot):
        await pilot.press("G", *"kkkkk")
        await settled(app, pilot)
        held = app.screen.run_at_hand()  # type: ignore[attr-defined]
        before = ids(app)
        assert held.id == runs[5].id and before[-1] == runs[0].id
        finished_run(lab)
        delete_run(runs[20])
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert app.screen.run_at_hand().id == held.id  # type: ignore[attr-defined]
        assert ids(app) == before


async def test_the_id_is_copied_and_the_figures_are_written(lab: Lab) -> None:
    run = finished_run(lab)
    async with opened(lab, "4", "c") as (app, pilot):
        assert copied_file().read_text(encoding="utf-8") == f"{run.id}\n"
        await pilot.press("E")
        await settled(app, pilot)
        assert (run.directory / "metrics.csv").is_file() and (run.directory / "metrics.json").is_file()


async def test_deleting_asks_first(lab: Lab) -> None:
    finished_run(lab)
    async with opened(lab, "4", "x") as (app, pilot):
        assert "Delete run 0001-train-system1?" in screen_text(app)
        assert "Deletes its log and its figures" in screen_text(app)
        await pilot.press("n")
        await settled(app, pilot)
        assert len(list_runs(lab)) == 1
        await pilot.press("x")
        await settled(app, pilot)
        await pilot.press("y")
        await settled(app, pilot)
        assert list_runs(lab) == []
        assert "No runs yet" in screen_text(app)


def test_numbers_and_durations_are_short() -> None:
    assert [time_text(value) for value in (7, 125, 3723, 370800, float("inf"), None)] == [
        "7 s",
        "2:05",
        "1:02:03",
        "4 d 7 h",
        "",
        "",
    ]
    assert [number_text(value) for value in (1.23456, 2e-5, 6.85e-4, 0.0, 1234.5, float("nan"), None)] == [
        "1.235",
        "2e-5",
        "6.8e-4",
        "0",
        "1234.5",
        "nan",
        "",
    ]
