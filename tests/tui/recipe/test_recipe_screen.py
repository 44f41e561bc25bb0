"""The recipe form: made from the settings, checked as typed, saved with the comments kept."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Static

from qdl_engine.core.lab import Lab
from qdl_engine.runs.store import save_run
from qdl_engine.settings.toml import load_settings
from qdl_tui.app import QdlApp
from qdl_tui.recipe.draft import Draft
from qdl_tui.recipe.field_list import FieldList
from tests.tui.conftest import opened, run_under_way
from tests.tui.screen import check_golden, screen_text, settled

TO_ROWS = ["G", "g", "slash", *"rows to keep", "enter"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_form_shows_groups_values_and_help(lab: Lab, size: tuple[int, int]) -> None:
    async with opened(lab, "2", size=size) as (app, pilot):
        await pilot.press("j", "j")
        await settled(app, pilot)
        shown = screen_text(app)
        if size[0] == 120:
            # The config beside the form names the paths of this machine, wrapped by their length.
            shown = "\n".join(line.partition("▏")[0].rstrip() for line in shown.split("\n"))
        check_golden(f"recipe-{size[0]}x{size[1]}", shown, lab.root)


async def test_an_edit_is_checked_marked_saved_and_keeps_comments(lab: Lab) -> None:
    async with opened(lab, "2") as (app, pilot):
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
    async with opened(lab, "2") as (app, pilot):
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
    async with opened(lab, "3") as (app, pilot):
        await pilot.press("slash", *"require_ver", "enter")
        await settled(app, pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert app.draft is not None and app.draft.current.system2.require_verified is False


async def test_a_broken_file_is_told_and_the_app_goes_on(lab: Lab) -> None:
    lab.settings_file.write_text("[system1]\nrow = 5\n", encoding="utf-8")
    async with opened(lab, "2") as (app, pilot):
        shown = " ".join(screen_text(app).split())
        assert "system1.row" in shown
        assert "no settings read" in shown
        await pilot.resize_terminal(120, 40)
        await settled(app, pilot)
        await pilot.press("4")
        await settled(app, pilot)
        assert "[4 Runs]" in screen_text(app)


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
            return " ".join(screen_text(app).split())

        assert "system1.row:" in await written("[system1]\nrow = 5\n")
        shown = await written("[system1]\nrowss = 5\n")
        assert "system1.rowss" in shown and "system1.row:" not in shown
        shown = await written(None)
        assert "No lab at" in shown and "Or press f6: the lab" in shown
        shown = await written("")
        assert "as saved in qdl.toml" in shown and "enter edits; f7:" in shown

        await written("[system1]\nrow = 5\n")
        await pilot.press("3")
        await settled(app, pilot)
        assert "no settings read" in " ".join(screen_text(app).split())
        await written("[system1]\nrows = 8\n")
        await pilot.press("2")
        await settled(app, pilot)
        shown = " ".join(screen_text(app).split())
        assert "as saved in qdl.toml" in shown and "system1.row:" not in shown
        assert listed(app)


async def test_a_preset_is_one_edit_and_the_config_shows_it(lab: Lab) -> None:
    async with opened(lab, "3") as (app, pilot):
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
    async with opened(lab, "2") as (app, pilot):
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


async def open_recipe(app: QdlApp, pilot: Pilot[None], *keys: str) -> None:
    await settled(app, pilot)
    await pilot.press("2")
    await settled(app, pilot)
    await pilot.press(*keys)
    await settled(app, pilot)


async def press_each(app: QdlApp, pilot: Pilot[None], *keys: str) -> None:
    """Press keys, each after the workers of the one before are done."""
    for key in keys:
        await pilot.press(key)
        await settled(app, pilot)


async def test_while_the_settings_are_read_it_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    read = Draft.read

    def slow(lab: Lab) -> Draft:
        go_on.wait(30)
        return read(lab)

    monkeypatch.setattr(Draft, "read", slow)
    async with opened(lab) as (app, pilot):
        await pilot.press("2")
        await pilot.pause()
        assert "reading settings…" in screen_text(app)
        await pilot.press("P")
        go_on.set()
        await settled(app, pilot)
        assert "as saved" in screen_text(app)
        assert "T4 16 GB" in screen_text(app), "a key typed ahead was lost"


async def test_a_choice_is_made_from_a_list_that_begins_at_the_value(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "slash", *"precision", "enter", "enter")
        assert "the default" in screen_text(app)
        await pilot.press("j", "enter")
        await settled(app, pilot)
        assert app.draft is not None and app.draft.current.system1.precision == "fp32"
        assert "* precision" in screen_text(app)


async def test_a_switch_is_turned_by_space_and_backspace_goes_to_the_default(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "slash", *"group_by", "enter", "space")
        assert app.draft is not None and app.draft.current.system1.group_by_length is False
        await pilot.press("backspace")
        await pilot.pause()
        assert not app.draft.dirty


async def test_a_wrong_value_is_said_once_and_stays_in_the_editor(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, *TO_ROWS, "enter", "ctrl+u", *"many", "enter")
        assert screen_text(app).count("'many' is not accepted") == 1
        assert not app._notifications


async def test_one_change_is_one_change_and_no_change_is_nothing_to_save(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "ctrl+s")
        assert [item.message for item in app._notifications] == ["Nothing to save"]
        await pilot.press(*TO_ROWS, "enter", "ctrl+u", *"25", "enter", "ctrl+s")
        await pilot.pause()
        assert "Save 1 change to qdl.toml?" in screen_text(app)
        assert "system1.rows: 1000 -> 25" in screen_text(app)


async def test_a_file_changed_outside_is_read_when_nothing_would_be_lost(lab: Lab) -> None:
    async with opened(lab, "2") as (app, pilot):
        lab.settings_file.write_text("[system1]\nrows = 7\n", encoding="utf-8")
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert app.draft is not None and app.draft.saved.system1.rows == 7
        assert "7 rows" in screen_text(app)


async def test_edits_go_over_a_file_changed_outside_and_leave_the_rest_of_it(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, *TO_ROWS, "enter", "ctrl+u", *"25", "enter")
        lab.settings_file.write_text("[system1]\nrows = 7\nseed = 5\n", encoding="utf-8")
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "changed outside" in screen_text(app)
        await pilot.press("f5")
        await pilot.pause()
        assert "Drop 1 change and read qdl.toml again?" in screen_text(app)
        await pilot.press("n", "ctrl+s", "y")
        await settled(app, pilot)
        assert lab.settings_file.read_text(encoding="utf-8") == "[system1]\nrows = 25\nseed = 5\n"
        assert "changed outside" not in screen_text(app)


async def test_a_wide_terminal_shows_the_config_and_what_of_it_waits_to_be_saved(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(120, 40)) as pilot:
        await open_recipe(app, pilot, "slash", *"adam_beta2", "enter", "enter", "ctrl+u", *"0.98", "enter")
        app.screen.read_config("panel")  # type: ignore[attr-defined]
        await settled(app, pilot)
        text = app.screen.query_one("#config-text", Static).content
        assert '*     "adam_beta2": 0.98,' in str(text)
        assert "$ " in screen_text(app) and "qdl_engine.trainer" in screen_text(app)


async def test_the_shown_command_says_what_is_wrong_with_the_runtime(lab: Lab) -> None:
    lab.settings_file.write_text('[runtime]\nkind = "easydistill"\ncheckout = "/nowhere"\n', encoding="utf-8")
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "c")
        await pilot.press(*["ctrl+d"] * 6)
        await pilot.pause()
        assert "cannot be built: No EasyDistill 1.0 at /nowhere" in " ".join(screen_text(app).split())


async def test_config_and_command_are_copied_from_the_form_and_from_the_dialog(
    lab: Lab, own_state: Path
) -> None:
    copied = own_state / "qdl" / "copied.txt"
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, *TO_ROWS, "enter", "ctrl+u", *"25", "enter")
        for keys in (["y"], ["c", "y"]):
            copied.unlink(missing_ok=True)
            await press_each(app, pilot, *keys)
            assert json.loads(copied.read_text(encoding="utf-8"))["job_type"] == "kd_black_box_train_only"
        assert "Copied the EasyDistill config" in str([item.message for item in app._notifications])
        await press_each(app, pilot, "Y")
        assert "qdl_engine.trainer" in copied.read_text(encoding="utf-8")
        await press_each(app, pilot, "escape", "Y")
        assert not copied.read_text(encoding="utf-8").startswith("$")


async def test_a_command_that_cannot_be_built_is_not_copied(lab: Lab, own_state: Path) -> None:
    lab.settings_file.write_text('[runtime]\nkind = "easydistill"\ncheckout = "/nowhere"\n', encoding="utf-8")
    async with opened(lab, "2") as (app, pilot):
        await press_each(app, pilot, "Y")
        assert "No command to copy: No EasyDistill 1.0" in str([item.message for item in app._notifications])
        assert not (own_state / "qdl" / "copied.txt").exists()


def listed(app: QdlApp) -> list[str]:
    return app.screen.query_one(FieldList).keys


async def test_only_what_the_kind_of_teacher_uses_is_shown(lab: Lab) -> None:
    async with opened(lab, "2") as (app, pilot):
        assert "teacher.quantization" in listed(app) and "teacher.url" not in listed(app)
        await press_each(app, pilot, "slash", *"teacher.kind", "enter", "enter", "j", "j", "enter", "escape")
        assert app.draft is not None and app.draft.current.teacher.kind == "server"
        assert "teacher.url" in listed(app) and "teacher.quantization" not in listed(app)
        assert "teacher.answers" not in listed(app)
        await press_each(app, pilot, "ctrl+z")
        assert "teacher.quantization" in listed(app) and "teacher.url" not in listed(app)


async def test_a_setting_that_is_not_used_is_found_and_says_why(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "slash", *"teacher.retries", "enter")
        assert "5 (unused)" in screen_text(app)
        assert "kind is hf" in screen_text(app)
        await press_each(app, pilot, "enter", "ctrl+u", "7", "enter", "escape")
        assert "teacher.retries" in listed(app), "what is changed is never hidden"


async def test_the_columns_of_a_teacher_in_a_file_are_typed(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "slash", *"teacher.mapping", "enter", "enter", "ctrl+u")
        await press_each(app, pilot, *'{instruction = "q"}', "enter")
        assert app.draft is not None and app.draft.current.teacher.mapping == {"instruction": "q"}


async def test_a_long_path_keeps_both_its_ends(lab: Lab) -> None:
    model = "/data/" + "deep/" * 12 + "Qwen2.5-0.5B"
    lab.settings_file.write_text(f'[system1]\nstudent = "{model}"\n', encoding="utf-8")
    async with opened(lab, "2") as (app, _pilot):
        row = screen_text(app).splitlines()[3]
        assert "/data" in row and "…" in row and "-0.5B" in row


async def test_at_60_columns_help_stands_below_the_form(lab: Lab) -> None:
    async with opened(lab, "2", size=(60, 20)) as (app, pilot):
        shown = screen_text(app)
        assert "Qwen/Qwen2.5-0.5B-Instruct" in shown and "Hub id or local directory" in shown
        await pilot.resize_terminal(80, 24)
        await settled(app, pilot)
        assert "▏ system1.student" in screen_text(app)


async def test_a_long_list_of_changes_is_scrolled_and_its_keys_stay_on_show(lab: Lab) -> None:
    async with opened(lab, "2", size=(60, 20)) as (app, pilot):
        assert app.draft is not None
        names = ("rows", "seed", "max_steps", "epochs", "save_steps", "lora_rank", "eval_steps")
        changes = {f"system{n}.{name}": "7" for n in (1, 2) for name in names}
        app.draft.set_many("many", changes)
        await press_each(app, pilot, "ctrl+s")
        assert "Save 14 changes" in screen_text(app) and "y Yes" in screen_text(app)
        assert "system2.save_steps: 200 -> 7" not in screen_text(app)
        await press_each(app, pilot, "ctrl+d")
        assert "system2.save_steps: 200 -> 7" in screen_text(app) and "y Yes" in screen_text(app)


async def test_a_value_that_its_line_cuts_is_shown_whole_beside_it(lab: Lab) -> None:
    words = "Answer in one short sentence and name the place where it happened."
    lab.settings_file.write_text(f'[system1]\nsystem_prompt = "{words}"\n', encoding="utf-8")
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "slash", *"system1.system_prompt", "enter")
        side = str(app.screen.query_one("#field-help").render())
        assert words in side
        await pilot.press("enter", "ctrl+u")
        app.post_message(Paste("Be brief.\nBe kind.\n"))
        await settled(app, pilot)
        assert "Be brief.\\nBe kind." in screen_text(app)
        await press_each(app, pilot, "enter")
        assert app.draft is not None
        assert app.draft.current.system1.system_prompt == "Be brief.\nBe kind."
        await open_recipe(app, pilot, "escape", "slash", *"system1.rows", "enter")
        assert "value " not in str(app.screen.query_one("#field-help").render())


async def test_a_search_that_finds_nothing_says_so_and_describes_nothing(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_recipe(app, pilot, "slash", *"zzzz")
        shown = screen_text(app)
        assert "Nothing matches" in shown and "accepts" not in shown
        await pilot.press("escape")
        await settled(app, pilot)
        assert "accepts" in screen_text(app)


async def test_a_training_of_this_system_is_told_with_the_key_that_shows_it(lab: Lab) -> None:
    run = run_under_way(lab)
    async with opened(lab, "2", size=(60, 24)) as (app, pilot):
        assert "as saved in qdl.toml  training 45% (5 shows it)" in screen_text(app)
        app.run_started(run, ("train", "system1"))
        await pilot.pause()
        told = [notice.message for notice in app._notifications]
        assert told == ["Started: qdl train system1 (5 shows it)"]
        await pilot.press("3")
        await settled(app, pilot)
        assert "training" not in screen_text(app).splitlines()[1]
        save_run(replace(run, state="done"))
        await pilot.press("2")
        await settled(app, pilot)
        assert "training" not in screen_text(app).splitlines()[1]
