"""The user's own keys: what holds, what is said of the rest, and that quitting always works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab, user_settings_file
from qdl_tui.__main__ import main
from qdl_tui.shared.keymap import (
    TOGETHER,
    Keymap,
    character_of,
    is_key,
    key_table,
    normalised,
    read_keymap,
    resolve,
)
from tests.tui.conftest import opened
from tests.tui.screen import screen_text, settled


def write_settings(text: str) -> Path:
    path = user_settings_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def resolved(**wanted: str) -> Keymap:
    return resolve({name.replace("__", "."): keys for name, keys in wanted.items()}, key_table(), "FILE")


def test_the_apps_own_table_has_no_clash_and_every_row_says_what_it_does() -> None:
    keymap = resolved()
    assert keymap.keys == {} and keymap.problems == ()
    assert all(row.does and row.keys for row in keymap.rows)


def test_every_group_that_meets_is_in_the_table() -> None:
    groups = {row.group for row in key_table()}
    assert {"app", "lab", "recipe", "runs", "training", "compare", "log", "list"} <= groups
    assert {"lab", "recipe", "runs", "training", "compare"} <= {
        group for groups in TOGETHER.values() for group in groups
    }


def test_a_character_and_several_keys_are_taken() -> None:
    assert resolved(app__theme="f2, !").keys == {"app.theme": "f2,exclamation_mark"}


def test_an_unknown_id_names_the_nearest() -> None:
    keymap = resolved(app__themes="f2")
    assert keymap.keys == {}
    assert keymap.problems[0].startswith(
        "FILE: [keymap] app.themes: unknown action; the nearest is app.theme"
    )


@pytest.mark.parametrize("keys", ["", " ", ",", "ctrl+", "contrl+x", "f99"])
def test_what_is_no_key_is_refused(keys: str) -> None:
    keymap = resolved(app__theme=keys)
    assert keymap.keys == {}
    assert len(keymap.problems) == 1


def test_a_clash_names_both_actions_the_key_and_the_file_and_costs_no_action() -> None:
    keymap = resolved(lab__new="d")
    assert keymap.keys == {}
    problem = keymap.problems[0]
    assert "FILE" in problem and "lab.new" in problem and "lab.demo" in problem and " d " in problem


def test_two_that_swap_their_keys_do_not_clash() -> None:
    assert resolved(lab__new="d", lab__demo="n").problems == ()


def test_two_that_want_one_key_leave_it_to_the_first() -> None:
    keymap = resolved(lab__new="f9", lab__demo="f9")
    assert keymap.keys == {"lab.new": "f9"}
    assert len(keymap.problems) == 1


def test_screens_that_never_meet_share_keys() -> None:
    assert resolved(lab__new="x").problems == ()


def test_what_acts_everywhere_clashes_with_every_screen() -> None:
    assert len(resolved(app__theme="n").problems) == 1


@pytest.mark.parametrize("entry", [{"lab__new": "ctrl+q"}, {"app__quit_ctrl": "x"}])
def test_nothing_takes_the_sure_way_to_quit(entry: dict[str, str]) -> None:
    keymap = resolved(**entry)
    assert keymap.keys == {}
    assert len(keymap.problems) == 1


def test_the_keymap_is_read_without_checks_and_without_a_crash() -> None:
    assert read_keymap() == {}
    write_settings('[keymap]\n"app.theme" = "f2"\n"app.help" = 3\n"app.quit" = ""\n')
    assert read_keymap() == {"app.theme": "f2"}
    write_settings("[keymap\n")
    assert read_keymap() == {}
    write_settings("keymap = 3\n")
    assert read_keymap() == {}


async def test_the_users_key_acts_and_footer_and_help_show_it(lab: Lab) -> None:
    write_settings('[keymap]\n"lab.new" = "f9"\n"app.help" = "f2"\n"list.down" = "ctrl+n"\n')
    async with opened(lab) as (app, pilot):
        assert "f9 New lab" in screen_text(app)
        await pilot.press("n")
        assert app.screen.id != "ask" and "Directory" not in screen_text(app)
        await pilot.press("f2")
        await settled(app, pilot)
        shown = screen_text(app)
        assert " f9            Make a new lab" in shown
        assert " ^n            Down" in shown
        await pilot.press("escape", "f9")
        await settled(app, pilot)
        assert "Directory of the new lab" in screen_text(app)


async def test_a_wrong_keymap_is_told_at_start_and_the_apps_own_keys_act(lab: Lab) -> None:
    path = write_settings('[keymap]\n"lab.new" = "d"\n"app.thme" = "f2"\n')
    async with opened(lab) as (app, pilot):
        said = [item.message for item in app._notifications]
        assert len(said) == 2 and all(str(path) in text for text in said)
        await pilot.press("n")
        await settled(app, pilot)
        assert "Directory of the new lab" in screen_text(app)


async def test_a_settings_file_that_is_no_toml_is_told_and_the_app_goes_on(lab: Lab) -> None:
    path = write_settings("[keymap\n")
    async with opened(lab) as (app, _pilot):
        assert any(str(path) in item.message for item in app._notifications)
        assert "New lab" in screen_text(app)


async def test_ctrl_q_quits_from_a_dialog(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        await pilot.press("n", "ctrl+q")
        await settled(app, pilot)
        assert app._exit


def test_keys_prints_the_table_and_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    write_settings('[keymap]\n"app.theme" = "f2"\n"lab.new" = "d"\n')
    assert main(["--keys"]) == 1
    printed = capsys.readouterr()
    assert "* app.theme" in printed.out and " f2 " in printed.out
    assert "lab.demo" in printed.err


def test_keys_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["--keys", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    row = next(row for row in table["keys"] if row["id"] == "app.palette")
    assert row == {
        "id": "app.palette",
        "keys": "ctrl+p",
        "does": "Every action and every run",
        "default": "ctrl+p",
        "changed": False,
    }


@pytest.mark.parametrize("key", "/-+_@\\?[a")
def test_every_character_can_be_a_key(key: str) -> None:
    assert is_key(normalised(key))
    assert character_of(normalised(key)) == key


@pytest.mark.parametrize("words", [["--keys"], ["--keys", "--json"], ["--paths"], ["--version"]])
def test_a_reader_that_has_had_enough_is_no_error(words: list[str]) -> None:
    unread, written = os.pipe()
    os.close(unread)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "qdl_tui", *words], stdout=written, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(written)
    assert (done.returncode, done.stderr) == (0, b"")
