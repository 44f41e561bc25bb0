"""One rule for what the app says: how long it stays, what takes it away, where it can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdl_engine.core.errors import LabError
from qdl_engine.core.events import Note, append_event
from qdl_engine.core.lab import Lab
from qdl_tui.runs.screen import RunsScreen
from qdl_tui.shared.messages import LONGEST
from tests.tui.conftest import opened
from tests.tui.screen import screen_text, settled


async def test_what_is_told_goes_with_the_next_key_which_still_acts(lab: Lab) -> None:
    async with opened(lab, notifications=True) as (app, pilot):
        app.notify("It is so [b]now")
        await settled(app, pilot)
        assert "It is so [b]now" in screen_text(app)
        assert all(notice.timeout <= LONGEST for notice in app._notifications)
        await pilot.press("4")
        await settled(app, pilot)
        assert "It is so" not in screen_text(app) and isinstance(app.screen, RunsScreen)


async def test_an_error_stays_until_esc_and_can_be_read_again(lab: Lab) -> None:
    async with opened(lab, notifications=True) as (app, pilot):
        await pilot.press("4", "slash")
        app.tell_error(LabError("The disk is \x1b[31mfull", "Delete something"))
        await settled(app, pilot)
        await pilot.press("x")
        await settled(app, pilot)
        assert "The disk is ␛[31mfull. Delete something" in screen_text(app)
        assert "(esc)" in screen_text(app)
        await pilot.press("escape")
        await settled(app, pilot)
        assert "The disk" not in screen_text(app)
        assert app.screen.wanted == "x", "esc took the error away, and nothing else"  # type: ignore[attr-defined]
        await pilot.press("ctrl+g")
        await settled(app, pilot)
        assert "The disk is ␛[31mfull. Delete something" in screen_text(app)


async def test_a_full_disk_is_told_with_the_file_and_what_to_do(lab: Lab) -> None:
    async with opened(lab, notifications=True) as (app, pilot):
        with pytest.raises(OSError) as caught:
            append_event(Path("/dev/full"), Note("a"))
        app.tell_error(caught.value)
        await settled(app, pilot)
        shown = " ".join(screen_text(app).split())
        assert "No space left on device: /dev/full" in shown and "Free some space" in shown
        assert "OSError" not in shown


async def test_ctrl_c_says_which_key_leaves_by_the_keymap(lab: Lab) -> None:
    async with opened(lab, notifications=True) as (app, pilot):
        app.set_keymap({"app.quit": "Z"})
        await pilot.press("ctrl+c")
        await settled(app, pilot)
        assert "Z quits the app; runs continue" in screen_text(app)


async def test_hints_name_the_keys_as_they_are_mapped(lab: Lab) -> None:
    async with opened(lab, notifications=True) as (app, pilot):
        app.set_keymap({"app.lab": "f6", "compare.ask": "f7", "compare.edit": "f8"})
        await pilot.press("4")
        await settled(app, pilot)
        assert "The lab screen (f6) starts one" in screen_text(app)
        await pilot.press("6")
        await settled(app, pilot)
        assert "f8: type a prompt" in screen_text(app)
