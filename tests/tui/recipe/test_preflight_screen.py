"""The screen before a training: at once there, measured in a process of its own, and never in the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.data.report import provenance
from qdl_engine.models.checkpoint import sign
from qdl_engine.settings import System1Settings
from qdl_tui.app import QdlApp
from qdl_tui.recipe.preflight import PreflightScreen
from tests.tui.conftest import opened
from tests.tui.screen import screen_text, settled

Started = list[tuple[str, ...]]


@pytest.fixture
def prepared(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [{"id": str(at), "instruction": f"Say {at}.", "output": f"It is {at}."} for at in range(40)]
    lab.train_labeled.write_text(json.dumps(rows), encoding="utf-8")
    return lab


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The jobs that were started, instead of detached processes."""
    commands: Started = []
    monkeypatch.setattr(QdlApp, "launch_job", lambda app, command: commands.append(command))
    return commands


def dialog_words(app: QdlApp) -> str:
    """What the dialog says, whatever lines it is broken into."""
    lines = [line.split("│")[1] for line in screen_text(app).splitlines() if line.count("│") > 1]
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_enter_on_the_next_step_shows_what_it_needs_and_enter_starts(
    prepared: Lab, started: Started, size: tuple[int, int]
) -> None:
    async with opened(prepared, size=size) as (app, pilot):
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, PreflightScreen) and not started
        await settled(app, pilot)
        shown = screen_text(app)
        assert "Train System 1?" in shown and "RAM, libraries not counted" in shown
        for word in ("weights", "optimizer", "activations"):
            assert word in shown
        await pilot.press(*["j"] * 9)
        await pilot.pause()
        below = screen_text(app)
        for word in ("rows", "tokens", "time", "disk"):
            assert word in below
        assert "━" in shown and "38 trained, 2 held out" in below
        assert "enter Start" in shown and "e Edit recipe" in shown and "esc Back" in shown
        await pilot.press("enter")
        await pilot.pause()
        assert started == [("train", "system1")]
        assert not isinstance(app.screen, PreflightScreen)


async def test_the_student_that_a_training_replaces_is_named(prepared: Lab, started: Started) -> None:
    prepared.system1_checkpoint.mkdir()
    (prepared.system1_checkpoint / "config.json").write_text("{}", encoding="utf-8")
    (prepared.system1_checkpoint / "model.safetensors").write_bytes(b"")
    sign(prepared.system1_checkpoint, "0003-train-system1")
    async with opened(prepared) as (app, pilot):
        app.start_job(("train", "system1"))
        await settled(app, pilot)
        assert "The student of run 0003 moves to distilled-qwen2.5-0.5b.previous" in dialog_words(app)


async def test_at_60_columns_every_part_has_its_size_beside_its_bar(prepared: Lab, started: Started) -> None:
    async with opened(prepared, "enter", size=(60, 20)) as (app, _pilot):
        weights = next(line for line in screen_text(app).splitlines() if "weights" in line)
        assert weights.rstrip(" │▇▁▂▃▄▅▆█").endswith("B")


async def test_enter_does_not_wait_for_the_measuring(prepared: Lab, started: Started) -> None:
    async with opened(prepared) as (app, pilot):
        await pilot.press("enter")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, PreflightScreen) and "Measuring" in screen_text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert started == [("train", "system1")] and screen.found is None


async def test_escape_goes_back_and_e_goes_to_the_setting_that_would_make_it_fit(
    prepared: Lab, started: Started
) -> None:
    prepared.settings_file.write_text(
        "[system2]\nrows = 4000\nbatch_size = 1024\nmax_length = 131072\n", encoding="utf-8"
    )
    async with opened(prepared) as (app, pilot):
        app.show_preflight("system2")
        await settled(app, pilot)
        shown = screen_text(app)
        assert "✗ Does not fit" in shown and "not prepared" in " ".join(shown.split())
        await pilot.press("escape")
        await settled(app, pilot)
        assert "[1 Lab]" in screen_text(app)
        app.show_preflight("system2")
        await settled(app, pilot)
        await pilot.press("e")
        await settled(app, pilot)
        shown = screen_text(app)
        assert "[3 System 2]" in shown and "system2." in shown
        assert not started


async def test_the_recipe_shows_it_with_unsaved_edits_and_saves_before_it_starts(
    prepared: Lab, started: Started
) -> None:
    async with opened(prepared, "2") as (app, pilot):
        assert app.draft is not None
        app.draft.set("system1.held_out", "0.5")
        await pilot.press("f")
        await settled(app, pilot)
        assert "20 trained, 20 held out" in screen_text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert "Save 1 change" in screen_text(app) and not started
        await pilot.press("y")
        await settled(app, pilot)
        assert "held_out = 0.5" in prepared.settings_file.read_text(encoding="utf-8")
        await pilot.press("enter")
        await pilot.pause()
        assert started == [("train", "system1")]


async def test_what_is_wrong_is_said_and_shown_not_obeyed(
    prepared: Lab, started: Started, tmp_path: Path
) -> None:
    bad = tmp_path / "[red]no\x1b[2J"
    bad.mkdir()
    prepared.settings_file.write_text(f"[system1]\nstudent = {json.dumps(str(bad))}\n", encoding="utf-8")
    async with opened(prepared, "enter") as (app, _pilot):
        shown = screen_text(app)
        assert "Invalid student model" in shown and "no config.json" in shown and "\x1b" not in shown


async def test_the_palette_reaches_it(prepared: Lab) -> None:
    async with opened(prepared) as (app, pilot):
        await pilot.press("ctrl+p", *"preflight of system 2")
        await settled(app, pilot)
        await pilot.press("enter")
        await settled(app, pilot)
        if not isinstance(app.screen, PreflightScreen):
            await pilot.press("enter")
            await settled(app, pilot)
        assert isinstance(app.screen, PreflightScreen) and app.screen.system == "system2"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_data_prepared_with_other_settings_are_named_and_can_be_prepared_again(
    prepared: Lab, started: Started, size: tuple[int, int]
) -> None:
    write_json_atomic(prepared.report_file("system1"), provenance(System1Settings(rows=40, seed=7)))
    async with opened(prepared, size=size) as (app, pilot):
        assert "with other" in screen_text(app) and "rows, seed" in screen_text(app)
        app.start_job(("train", "system1"))
        await settled(app, pilot)
        shown = dialog_words(app)
        assert "rows was 40, is 1,000" in shown and "seed was 7, is 42" in shown
        assert "enter Start" in shown and "p Prepare again, train" in shown
        await pilot.press("p")
        await pilot.pause()
        assert started == [("train", "system1", "--prepare")]


async def test_data_as_the_recipe_wants_them_are_not_prepared_again(prepared: Lab, started: Started) -> None:
    write_json_atomic(prepared.report_file("system1"), provenance(System1Settings(rows=1000)))
    async with opened(prepared) as (app, pilot):
        app.start_job(("train", "system1"))
        await settled(app, pilot)
        assert "Prepare again" not in screen_text(app) and "other settings" not in screen_text(app)
        await pilot.press("p")
        await pilot.pause()
        assert not started


async def test_unsaved_edits_count_and_the_saved_training_prepares_again(
    prepared: Lab, started: Started
) -> None:
    write_json_atomic(prepared.report_file("system1"), provenance(System1Settings(rows=1000)))
    async with opened(prepared, "2") as (app, pilot):
        assert app.draft is not None
        app.draft.set("system1.seed", "9")
        await pilot.press("f")
        await settled(app, pilot)
        shown = dialog_words(app)
        assert "Will the training of System 1 fit?" in shown and "seed was 42, is 9" in shown
        await pilot.press("p")
        await settled(app, pilot)
        await pilot.press("y")
        await settled(app, pilot)
        assert "Prepares the data again first" in screen_text(app) and not started
        await pilot.press("enter")
        await pilot.pause()
        assert started == [("train", "system1", "--prepare")]
