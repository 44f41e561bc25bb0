"""The lab screen: where things stand, and how to begin in an empty directory."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.systems import SYSTEMS
from qdl_engine.lab_state.stages import StageState
from qdl_engine.lab_state.status import LabStatus, Stage, Step, SystemStatus
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.store import refresh_run, save_run
from qdl_tui.lab.view import stage_text, step_lines, steps_title
from qdl_tui.shared.state import UserState, load_state
from tests.tui.conftest import finished_run, opened
from tests.tui.screen import check_golden, screen_text, settled

SIZES = [(80, 24), (100, 30), (120, 40)]


@pytest.mark.parametrize("size", SIZES)
async def test_an_empty_directory_offers_ways_to_begin(tmp_path: Path, size: tuple[int, int]) -> None:
    empty = Lab.at(tmp_path / "lab")
    async with opened(empty, size=size) as (app, _pilot):
        check_golden(f"lab-empty-{size[0]}x{size[1]}", screen_text(app), empty.root)


@pytest.mark.parametrize("size", SIZES)
async def test_a_fresh_lab_shows_its_stages_and_the_next_step(lab: Lab, size: tuple[int, int]) -> None:
    async with opened(lab, size=size) as (app, _pilot):
        check_golden(f"lab-fresh-{size[0]}x{size[1]}", screen_text(app), lab.root)


async def test_the_help_lists_the_keys_of_the_screen(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        check_golden("help-lab-80x24", screen_text(app), lab.root)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.screen_stack[0]


async def test_a_long_help_is_paged_and_gone_to_its_ends(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        await pilot.press("5", "question_mark")
        await settled(app, pilot)
        scroll = app.screen.query_one("#keys-scroll")
        seen = []
        for key in ("pagedown", "pageup", "end", "home", "G", "g"):
            await pilot.press(key)
            await pilot.pause()
            seen.append(scroll.scroll_y)
        assert scroll.max_scroll_y > 10, "the help of the training is longer than a page"
        assert seen == [10, 0, scroll.max_scroll_y, 0, scroll.max_scroll_y, 0]


async def test_in_a_narrow_terminal_the_help_goes_on_under_its_own_column(lab: Lab) -> None:
    async with opened(lab, size=(60, 20)) as (app, pilot):
        await pilot.press("5", "question_mark")
        await settled(app, pilot)
        lines = screen_text(app).splitlines()
        place = next(number for number, line in enumerate(lines) if "Write the run's figures" in line)
        assert lines[place + 1].index("JSON") == lines[place].index("Write")


def test_a_config_without_room_keeps_what_tells_it_from_others() -> None:
    stage = Stage("config", "ready", "kd_black_box_0001-train-system1.json")
    assert [stage_text(stage, width) for width in (36, 35, 20)] == [
        stage.detail,
        "…0001-train-system1.json",
        "…0001-train-system1",
    ]
    assert (
        stage_text(Stage("config", "missing", "written when training starts"), 20) == "when training starts"
    )


def test_a_step_is_one_line_and_its_command_is_whole_or_not_there() -> None:
    steps = [Step("Watch train", ("attach", "0001-train-system1")), Step("Compare", ("compare",))]
    for width in range(12, 60):
        lines = [line.plain for line in step_lines(steps, width)]
        assert all(len(line) <= width for line in lines)
        assert lines[0].endswith("qdl attach 0001-train-system1") is (width > 11 + 29)
        assert lines[1].rstrip().endswith("qdl compare") is (width > 11 + 29)


async def test_below_60x20_it_says_what_it_needs(lab: Lab) -> None:
    async with opened(lab, size=(50, 15)) as (app, pilot):
        assert "needs 60x20" in screen_text(app)
        assert "Next step" not in screen_text(app)
        assert app.focused is None, "what is not seen takes no keys"
        await pilot.resize_terminal(80, 24)
        await settled(app, pilot)
        assert "enter Start" in screen_text(app), "the list has the keys again"


async def test_a_wrong_setting_is_told_with_its_cure_until_it_is_mended(lab: Lab) -> None:
    good = lab.settings_file.read_text(encoding="utf-8")
    lab.settings_file.write_text("[system1]\nrowz = 3\nepochs = -1\nqqqq = 1\nseeed = 1\n", encoding="utf-8")
    async with opened(lab, size=(60, 20)) as (app, pilot):
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        told = " ".join(screen_text(app).split())
        assert "system1.epochs: '-1' is not accepted. Accepted: number, above 0, at most 1,000. In " in told
        assert "qdl.toml 3 more: qdl config validate shows all" in told
        assert "Prepare System 2 data" in told
        lab.settings_file.write_text(good, encoding="utf-8")
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "epochs" not in screen_text(app) and "disk" in screen_text(app)


async def test_what_failed_is_told_whole_where_the_table_cuts_it(lab: Lab) -> None:
    message = "The lab at /labs/mine is being written by process 7 (labelling)"
    run = finished_run(lab, state="failed", message=message)
    save_run(replace(run, hint="Wait for it, or stop that process."))
    async with opened(lab, size=(60, 20)) as (app, _pilot):
        told = " ".join(screen_text(app).split())
        assert f"System 1, run failed: {message}. Wait for it, or stop that process." in told
        assert "Prepare System 2 data" in told


async def test_the_theme_is_remembered_and_so_is_the_lab(lab: Lab) -> None:
    async with opened(lab, "ctrl+t") as (app, _pilot):
        assert app.theme == "qdl-light"
    state = load_state()
    assert state.theme == "qdl-light"
    assert state.recent == [str(lab.root)]


async def test_a_name_with_escapes_and_markup_is_shown_not_obeyed(tmp_path: Path) -> None:
    root = tmp_path / "[red]x\x1b[2J"
    root.mkdir()
    async with opened(
        Lab.at(root), state=UserState(recent=["/labs/[bold]\x1b]0;title\x07"]), size=(120, 40)
    ) as (app, _pilot):
        shown = screen_text(app)
    assert "[red]x␛[2J" in shown
    assert "[bold]␛]0;title␇" in shown


async def test_all_screens_are_named_at_60_columns(lab: Lab) -> None:
    async with opened(lab, size=(60, 20)) as (app, pilot):
        for key, name in enumerate(
            ("[1 Lab]", "[2 System 1]", "[3 System 2]", "[4 Runs]", "[5 Training]"), 1
        ):
            await pilot.press(str(key))
            await settled(app, pilot)
            top = screen_text(app).splitlines()[0]
            assert name in top
            assert "6 Compare" in top


async def test_the_same_trouble_is_told_once(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        for _ in range(3):
            app.tell_error(LabError("The disk is full", "Delete something"))
        await pilot.pause()
        assert [item.message for item in app._notifications] == ["The disk is full. Delete something\n(esc)"]


@pytest.mark.parametrize(
    ("states", "running", "title"),
    [
        (("ready", "skipped"), 0, "Everything is ready. Repeat a step:"),
        (("ready", "missing"), 0, "Next step"),
        (("ready", "stale"), 0, "Next step"),
        (("ready", "ready"), 1, "Next step"),
    ],
)
def test_the_steps_are_the_next_only_while_something_is_to_be_done(
    states: tuple[StageState, StageState], running: int, title: str
) -> None:
    systems = [
        SystemStatus(name, (Stage("data", state, ""),)) for name, state in zip(SYSTEMS, states, strict=True)
    ]
    assert steps_title(LabStatus("lab", True, tuple(systems), active_runs=running)) == title


async def test_the_step_in_focus_says_what_it_will_do(lab: Lab) -> None:
    async with opened(lab) as (app, _pilot):
        assert "Filters the source" in screen_text(app)


async def test_the_last_comparison_is_told_and_a_broken_one_named(lab: Lab) -> None:
    model = {"path": "x", "mode": "system1", "parameters": 1, "load_seconds": 0.0, "answers": []}
    write_json_atomic(
        lab.comparisons / "20260101-000000.json",
        {"prompts": ["a", "b"], "models": {"teacher": model, "system1": model}, "skipped": {}, "created": ""},
    )
    async with opened(lab) as (app, pilot):
        assert "Last comparison: 20260101-000000, 2 prompts: teacher, system1" in screen_text(app)
        (lab.comparisons / "20260102-000000.json").write_text("{", encoding="utf-8")
        app.screen.read_machine()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "Last comparison: Not valid JSON" in screen_text(app)


async def test_a_recent_lab_is_opened_from_a_list(lab: Lab, tmp_path: Path) -> None:
    other = Lab.at(tmp_path / "other")
    other.create_directories()
    other.settings_file.write_text("[system1]\nrows = 7\n", encoding="utf-8")
    state = UserState(recent=[str(lab.root), str(other.root), "/gone/lab"])
    async with opened(lab, state=state, size=(120, 40)) as (app, pilot):
        await pilot.press("o")
        await pilot.pause()
        assert "another directory…" in screen_text(app)
        assert "/gone/lab" in screen_text(app) and "gone" in screen_text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert app.lab == other


async def test_enter_goes_on_with_a_training_that_was_stopped(lab: Lab) -> None:
    argv = (sys.executable, "-m", "qdl_engine.trainer", "--config", "gone.json")
    run = replace(finished_run(lab, state="stopped"), argv=argv)
    save_run(run)
    async with opened(lab) as (app, pilot):
        assert "Resume System 1 training" in screen_text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert app.run_id == run.id
    resumed = wait_for(refresh_run(run), timeout=60)
    assert resumed.attempt == run.attempt + 1


def test_a_stopped_run_says_where_it_stopped_in_the_narrowest_column() -> None:
    stopped = Stage("run", "stopped", "stopped at step 472, checkpoint saved")
    assert stage_text(stopped, 60) == stopped.detail and stage_text(stopped, 20) == "stopped at step 472"
