"""The recipe form: made from the settings, checked as typed, saved with the comments kept."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Static

from qdl_engine.core.lab import Lab
from qdl_engine.runs.store import save_run
from qdl_engine.settings import LabSettings
from qdl_engine.settings.toml import load_settings
from qdl_tui.app import QdlApp
from qdl_tui.recipe.form import FieldList, form_fields, heading
from qdl_tui.recipe.screen import RecipeScreen
from qdl_tui.shared.draft import Draft
from tests.tui.conftest import opened, run_under_way
from tests.tui.screen import check_golden, screen_text, settled

TO_ROWS = ["G", "g", "slash", *"rows to keep", "enter"]
ROWS_25 = [*TO_ROWS, "enter", "ctrl+u", *"25", "enter"]


async def press(app: QdlApp, pilot: Pilot[None], *keys: str) -> None:
    """Type keys ahead, as they come over a slow link."""
    await pilot.press(*keys)
    await settled(app, pilot)


async def press_each(app: QdlApp, pilot: Pilot[None], *keys: str) -> None:
    """Press keys, each after the workers of the one before are done."""
    for key in keys:
        await press(app, pilot, key)


@asynccontextmanager
async def recipe(
    lab: Lab, *typed: str, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[QdlApp, Pilot[None], RecipeScreen]]:
    """The recipe of System 1, after keys typed ahead."""
    async with opened(lab, "2", size=size) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RecipeScreen)
        await press(app, pilot, *typed)
        yield app, pilot, screen


def current(app: QdlApp) -> LabSettings:
    """The settings with their edits."""
    assert app.draft is not None
    return app.draft.current


def listed(app: QdlApp) -> list[str]:
    return app.screen.query_one(FieldList).keys


def words(app: QdlApp) -> str:
    """The screen without its line breaks."""
    return " ".join(screen_text(app).split())


def told(app: QdlApp) -> str:
    return str([item.message for item in app._notifications])


@contextmanager
def slow_reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    go_on, read = threading.Event(), Draft.read

    def slow(lab: Lab) -> Draft:
        go_on.wait(30)
        return read(lab)

    monkeypatch.setattr(Draft, "read", slow)
    yield go_on
    go_on.set()


# The form ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_form_shows_groups_values_and_help(lab: Lab, size: tuple[int, int]) -> None:
    async with recipe(lab, "j", "j", size=size) as (app, _pilot, _screen):
        shown = screen_text(app)
        if size[0] == 120:
            # The config beside the form names the paths of this machine, wrapped by their length.
            shown = "\n".join(line.partition("▏")[0].rstrip() for line in shown.split("\n"))
        check_golden(f"recipe-{size[0]}x{size[1]}", shown, lab.root)


def test_headings_name_the_shared_tables_once() -> None:
    headings = dict.fromkeys(heading(info) for info in form_fields("system2"))
    assert {"Filter", "Evaluation and saving", "Teacher: Server", "Runtime"} <= set(headings)
    assert "System2" not in str(headings) and "Runtime: Runtime" not in headings


async def test_at_60_columns_help_stands_below_the_form(lab: Lab) -> None:
    async with recipe(lab, size=(60, 20)) as (app, pilot, _screen):
        shown = screen_text(app)
        assert "Qwen/Qwen2.5-0.5B-Instruct" in shown and "Hub id or local directory" in shown
        await pilot.resize_terminal(80, 24)
        await settled(app, pilot)
        assert "▏ system1.student" in screen_text(app)


async def test_only_what_the_kind_of_teacher_uses_is_shown(lab: Lab) -> None:
    async with recipe(lab) as (app, pilot, _screen):
        assert "teacher.quantization" in listed(app) and "teacher.url" not in listed(app)
        await press_each(app, pilot, "slash", *"teacher.kind", "enter", "enter", "j", "j", "enter", "escape")
        assert current(app).teacher.kind == "server"
        assert "teacher.url" in listed(app) and "teacher.quantization" not in listed(app)
        assert "teacher.answers" not in listed(app)
        await press_each(app, pilot, "ctrl+z")
        assert "teacher.quantization" in listed(app) and "teacher.url" not in listed(app)


async def test_a_search_finds_an_unused_setting_and_says_why_it_is_unused(lab: Lab) -> None:
    async with recipe(lab, "slash", *"teacher.retries", "enter") as (app, pilot, _screen):
        assert "5 (unused)" in screen_text(app) and "kind is hf" in screen_text(app)
        await press_each(app, pilot, "enter", "ctrl+u", "7", "enter", "escape")
        assert "teacher.retries" in listed(app), "what is changed is never hidden"
        await press(app, pilot, "slash", *"zzzz")
        assert "Nothing matches" in screen_text(app) and "accepts" not in screen_text(app)
        await press(app, pilot, "escape")
        assert "accepts" in screen_text(app)


async def test_a_long_path_keeps_both_its_ends(lab: Lab) -> None:
    model = "/data/" + "deep/" * 12 + "Qwen2.5-0.5B"
    lab.settings_file.write_text(f'[system1]\nstudent = "{model}"\n', encoding="utf-8")
    async with recipe(lab) as (app, _pilot, _screen):
        row = screen_text(app).splitlines()[3]
        assert "/data" in row and "…" in row and "-0.5B" in row


async def test_a_value_that_its_line_cuts_is_shown_whole_beside_it(lab: Lab) -> None:
    prompt = "Answer in one short sentence and name the place where it happened."
    lab.settings_file.write_text(f'[system1]\nsystem_prompt = "{prompt}"\n', encoding="utf-8")
    async with recipe(lab, "slash", *"system1.system_prompt", "enter") as (app, pilot, screen):
        assert prompt in str(screen.query_one("#field-help").render())
        await pilot.press("enter", "ctrl+u")
        app.post_message(Paste("Be brief.\nBe kind.\n"))
        await settled(app, pilot)
        assert "Be brief.\\nBe kind." in screen_text(app)
        await press_each(app, pilot, "enter")
        assert current(app).system1.system_prompt == "Be brief.\nBe kind."
        await press(app, pilot, "escape", "slash", *"system1.rows", "enter")
        assert "value " not in str(screen.query_one("#field-help").render())


# Editing -------------------------------------------------------------------------------------------------


async def test_an_edit_is_checked_marked_saved_and_keeps_comments(lab: Lab) -> None:
    async with recipe(lab, "ctrl+s") as (app, pilot, _screen):
        assert told(app) == "['Nothing to save']"
        await press(app, pilot, *TO_ROWS, "enter", "ctrl+u", *"0", "enter")
        assert "✗" in screen_text(app) and current(app).system1.rows == 1000
        await press(app, pilot, "ctrl+u", *"25", "enter")
        assert "* rows" in screen_text(app) and "1 changed, not saved" in screen_text(app)
        await press(app, pilot, "ctrl+s")
        assert "Save 1 change to qdl.toml?" in screen_text(app)
        assert "system1.rows: 1000 -> 25" in screen_text(app)
        await press(app, pilot, "y")
        assert load_settings(lab).system1.rows == 25
        assert lab.settings_file.read_text(encoding="utf-8") == "# mine\n[system1]\nrows = 25 # few\n"
        assert "as saved" in screen_text(app)


async def test_a_wrong_value_is_said_once_and_stays_in_the_editor_until_escape(lab: Lab) -> None:
    async with recipe(lab, *TO_ROWS, "enter", "ctrl+u", *"many", "enter") as (app, pilot, _screen):
        assert screen_text(app).count("'many' is not accepted") == 1 and not app._notifications
        await press(app, pilot, "escape")
        assert "✗" not in screen_text(app) and current(app).system1.rows == 1000


async def test_undo_takes_back_one_edit_after_the_other(lab: Lab) -> None:
    async with recipe(lab, *ROWS_25, "enter", "ctrl+u", *"30", "enter") as (app, pilot, _screen):
        for rows in (30, 25, 1000):
            assert current(app).system1.rows == rows
            await press(app, pilot, "ctrl+z")
        assert "Nothing to undo" in told(app) and app.draft is not None and not app.draft.dirty


@pytest.mark.parametrize(
    ("key", "typed", "value"),
    [
        ("system1.precision", ["enter", "j", "enter"], "fp32"),
        ("system1.group_by_length", ["space"], False),
        ("teacher.mapping", ["enter", "ctrl+u", *'{instruction = "q"}', "enter"], {"instruction": "q"}),
    ],
)
async def test_enter_edits_by_kind_and_backspace_restores_the_default(
    lab: Lab, key: str, typed: list[str], value: object
) -> None:
    section, name = key.split(".")
    async with recipe(lab, "slash", *key, "enter", *typed) as (app, pilot, _screen):
        assert getattr(getattr(current(app), section), name) == value and f"* {name}" in screen_text(app)
        await press(app, pilot, "backspace")
        assert app.draft is not None and not app.draft.dirty


async def test_a_choice_begins_at_its_value_and_names_the_default(lab: Lab) -> None:
    lab.settings_file.write_text('[system1]\nprecision = "bf16"\n', encoding="utf-8")
    async with recipe(lab, "slash", *"precision", "enter", "enter") as (app, pilot, _screen):
        assert "the default" in screen_text(app)
        await press(app, pilot, "k", "enter")
        assert current(app).system1.precision == "fp16"


async def test_a_choice_that_another_setting_rules_out_is_refused(lab: Lab) -> None:
    lab.settings_file.write_text('[teacher]\nkind = "server"\nmodel = ""\n', encoding="utf-8")
    async with recipe(lab, "slash", *"teacher.kind", "enter", "enter", "g", "enter") as (
        app,
        _pilot,
        _screen,
    ):
        assert "model must not be empty when kind is hf" in told(app)
        assert app.draft is not None and not app.draft.dirty


async def test_a_long_list_of_changes_is_scrolled_and_its_keys_stay_on_show(lab: Lab) -> None:
    async with recipe(lab, size=(60, 20)) as (app, pilot, _screen):
        names = ("rows", "seed", "max_steps", "epochs", "save_steps", "lora_rank", "eval_steps")
        assert app.draft is not None
        app.draft.set_many("many", {f"system{n}.{name}": "7" for n in (1, 2) for name in names})
        await press(app, pilot, "ctrl+s")
        assert "Save 14 changes" in screen_text(app) and "y Yes" in screen_text(app)
        assert "system2.save_steps: 200 -> 7" not in screen_text(app)
        await press(app, pilot, "ctrl+d")
        assert "system2.save_steps: 200 -> 7" in screen_text(app) and "y Yes" in screen_text(app)


async def test_quitting_with_edits_asks(lab: Lab) -> None:
    async with recipe(lab, *ROWS_25) as (app, pilot, _screen):
        await press(app, pilot, "q")
        assert "Quit without saving" in screen_text(app)
        await press(app, pilot, "n")
        assert app.draft is not None and app.draft.dirty and app.is_running


# The file ------------------------------------------------------------------------------------------------


async def test_while_the_settings_are_read_it_says_so_and_keeps_a_key(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_reading(monkeypatch) as go_on:
        async with opened(lab) as (app, pilot):
            await pilot.press("2")
            await pilot.pause()
            assert "reading settings…" in screen_text(app)
            await pilot.press("P")
            go_on.set()
            await settled(app, pilot)
            assert "as saved" in screen_text(app)
            assert "T4 16 GB" in screen_text(app), "a key typed ahead was lost"


async def test_the_form_follows_a_file_that_is_broken_and_mended(lab: Lab, own_state: Path) -> None:
    keys = own_state / "qdl" / "settings.toml"
    keys.parent.mkdir()
    keys.write_text('[keymap]\n"app.lab" = "f6"\n"form.default" = "f7"\n', encoding="utf-8")
    async with opened(lab, "2") as (app, pilot):

        async def written(text: str | None) -> str:
            if text is None:
                lab.settings_file.unlink()
            else:
                lab.settings_file.write_text(text, encoding="utf-8")
            app.screen.tick()  # type: ignore[attr-defined]
            await settled(app, pilot)
            return words(app)

        shown = await written("[system1]\nrow = 5\n")
        assert "system1.row:" in shown and "no settings read" in shown
        await press(app, pilot, "r")
        assert "The settings cannot be read" in told(app)
        shown = await written("[system1]\nrowss = 5\n")
        assert "system1.rowss" in shown and "system1.row:" not in shown
        shown = await written(None)
        assert "No lab at" in shown and "Or press f6: the lab" in shown
        shown = await written("")
        assert "as saved in qdl.toml" in shown and "enter: edit; f7:" in shown

        await written("[system1]\nrow = 5\n")
        await press(app, pilot, "3")
        assert "no settings read" in words(app)
        await written("[system1]\nrows = 8\n")
        await press(app, pilot, "2")
        assert "as saved in qdl.toml" in words(app) and "system1.row:" not in words(app)
        assert "8 rows" in words(app)


async def test_a_file_changed_outside_is_read_when_nothing_would_be_lost(lab: Lab) -> None:
    async with recipe(lab) as (app, pilot, screen):
        lab.settings_file.write_text("[system1]\nrows = 7\n", encoding="utf-8")
        screen.tick()
        await settled(app, pilot)
        assert app.draft is not None and app.draft.saved.system1.rows == 7 and "7 rows" in screen_text(app)


async def test_edits_go_over_a_file_changed_outside_and_leave_the_rest_of_it(lab: Lab) -> None:
    async with recipe(lab, *ROWS_25) as (app, pilot, screen):
        lab.settings_file.write_text("[system1]\nrows = 7\nseed = 5\n", encoding="utf-8")
        screen.tick()
        await settled(app, pilot)
        assert "changed outside" in screen_text(app)
        await press(app, pilot, "f5")
        assert "Drop 1 change and read qdl.toml again?" in screen_text(app)
        await press(app, pilot, "n", "ctrl+s", "y")
        assert lab.settings_file.read_text(encoding="utf-8") == "[system1]\nrows = 25\nseed = 5\n"
        assert "changed outside" not in screen_text(app)


async def test_an_edit_of_a_shared_setting_shows_on_the_other_recipe(lab: Lab) -> None:
    async with recipe(lab) as (app, pilot, _screen):
        await press(
            app, pilot, "3", "2", "slash", *"runtime.threads", "enter", "enter", "ctrl+u", "3", "enter"
        )
        await press(app, pilot, "3", "slash", *"runtime.threads", "enter")
        assert "* threads" in screen_text(app) and "3 threads" in screen_text(app)


# Jobs and the config -------------------------------------------------------------------------------------


async def test_a_preset_is_one_edit_and_the_config_shows_it(lab: Lab) -> None:
    async with opened(lab, "3", "P") as (app, pilot):
        assert "T4 16 GB" in screen_text(app)
        await press(app, pilot, "j", "enter")
        assert current(app).system2.lora_rank == 16
        await press(app, pilot, "c")
        assert '"kd_black_box_train_only"' in screen_text(app)
        await press(app, pilot, "escape", "ctrl+z")
        assert app.draft is not None and not app.draft.dirty


async def test_a_wide_terminal_shows_the_config_and_what_of_it_is_not_saved(lab: Lab) -> None:
    typed = ["slash", *"adam_beta2", "enter", "enter", "ctrl+u", *"0.98", "enter"]
    async with recipe(lab, *typed, size=(120, 40)) as (app, pilot, screen):
        screen.read_config("panel")
        await settled(app, pilot)
        assert '*     "adam_beta2": 0.98,' in str(screen.query_one("#config-text", Static).content)
        assert "$ " in screen_text(app) and "qdl_engine.trainer" in screen_text(app)


async def test_config_and_command_are_copied_from_the_form_and_from_the_dialog(
    lab: Lab, own_state: Path
) -> None:
    copied = own_state / "qdl" / "copied.txt"
    async with recipe(lab, *ROWS_25) as (app, pilot, _screen):
        for keys in (["y"], ["c", "y"]):
            copied.unlink(missing_ok=True)
            await press_each(app, pilot, *keys)
            assert json.loads(copied.read_text(encoding="utf-8"))["job_type"] == "kd_black_box_train_only"
        assert "Copied the EasyDistill config" in told(app)
        for keys in (["Y"], ["escape", "Y"]):
            copied.unlink()
            await press_each(app, pilot, *keys)
            command = copied.read_text(encoding="utf-8")
            assert "qdl_engine.trainer" in command and not command.startswith("$")


async def test_a_command_that_cannot_be_built_says_why_and_is_not_copied(lab: Lab, own_state: Path) -> None:
    lab.settings_file.write_text('[runtime]\nkind = "easydistill"\ncheckout = "/nowhere"\n', encoding="utf-8")
    async with recipe(lab, "c") as (app, pilot, _screen):
        await press(app, pilot, *["ctrl+d"] * 6)
        assert "cannot be built: No EasyDistill 1.0 at /nowhere" in words(app)
        await press_each(app, pilot, "escape", "Y")
        assert "No command to copy: No EasyDistill 1.0" in told(app)
        assert not (own_state / "qdl" / "copied.txt").exists()


async def test_a_training_of_this_system_is_told_with_the_key_that_shows_it(lab: Lab) -> None:
    run = run_under_way(lab)
    async with opened(lab, "2", size=(60, 24)) as (app, pilot):
        assert "as saved in qdl.toml  training 45% (5 shows it)" in screen_text(app)
        app.run_started(run, ("train", "system1"))
        await pilot.pause()
        assert told(app) == "['Started: qdl train system1 (5 shows it)']"
        await press(app, pilot, "3")
        assert "training" not in screen_text(app).splitlines()[1]
        save_run(replace(run, state="done"))
        await press(app, pilot, "2")
        assert "training" not in screen_text(app).splitlines()[1]
