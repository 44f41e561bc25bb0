"""The app offers what is possible: footers by the state of the run, and keys that say why not."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.runs.process import identity_of
from qdl_engine.runs.store import State, save_run
from qdl_tui.app import QdlApp
from qdl_tui.shared.bars import MOST_KEYS
from tests.tui.conftest import finished_run
from tests.tui.screen import screen_text, settled

OFFERED: dict[State, tuple[bool, bool]] = {
    "queued": (False, False),
    "starting": (True, False),
    "running": (True, False),
    "stopping": (False, False),
    "done": (False, False),
    "failed": (False, True),
    "stopped": (False, True),
    "lost": (False, True),
}
"""Whether Stop and Resume are offered."""


def run_in(lab: Lab, state: State) -> None:
    """A run in that state; this process stands for its supervisor."""
    run = finished_run(lab, state=state)
    me = os.getpid()
    save_run(replace(run, supervisor_pid=me, supervisor_identity=identity_of(me)))


def footer(app: QdlApp) -> str:
    return screen_text(app).splitlines()[-1]


def said(app: QdlApp) -> list[str]:
    return [notice.message for notice in app._notifications]


@pytest.mark.parametrize(("state", "screen"), list(itertools.product(OFFERED, ("4", "5"))))
async def test_stop_and_resume_are_offered_when_they_can_be_done(lab: Lab, state: State, screen: str) -> None:
    run_in(lab, state)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press(screen)
        await settled(app, pilot)
        assert app.screen.run_at_hand().state == state  # type: ignore[attr-defined]
        for key, name, offered in zip("sR", ("Stop", "Resume"), OFFERED[state], strict=True):
            assert (f"{key} {name}" in footer(app)) is offered
            if not offered:
                await pilot.press(key)
                await settled(app, pilot)
                (why,) = said(app)
                assert why.startswith("It is ")


async def test_a_run_of_a_copied_lab_is_not_resumed_into_the_first(lab: Lab, tmp_path: Path) -> None:
    first = Lab.at(tmp_path / "first")
    first.create_directories()
    first.settings_file.write_text("", encoding="utf-8")
    save_run(replace(finished_run(lab, state="stopped"), output_dir=first.root / "student"))
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("4")
        await settled(app, pilot)
        assert "R Resume" not in footer(app)
        await pilot.press("R")
        await settled(app, pilot)
        (why,) = said(app)
        assert why.startswith("This lab is a copy: ")


async def test_the_offer_follows_the_cursor_and_the_run(lab: Lab) -> None:
    finished_run(lab, state="failed")
    newest = finished_run(lab)
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("4")
        await settled(app, pilot)
        assert "R Resume" not in footer(app)
        await pilot.press("j")
        await settled(app, pilot)
        assert "R Resume" in footer(app)
        await pilot.press("k")
        save_run(replace(newest, state="stopped"))
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "R Resume" in footer(app)


DIALOGS: dict[str, tuple[str, ...]] = {
    "lab": (),
    "lab-new": ("n",),
    "recipe": ("2",),
    "recipe-edit": ("3", "j", "enter"),
    "recipe-filter": ("2", "slash"),
    "recipe-preset": ("2", "P"),
    "recipe-config": ("2", "c"),
    "recipe-data": ("2", "v"),
    "recipe-mapping": ("2", "m"),
    "recipe-preflight": ("2", "f"),
    "runs": ("4",),
    "runs-filter": ("4", "slash"),
    "runs-delete": ("4", "x"),
    "runs-rename": ("4", "r"),
    "training": ("5",),
    "training-charts": ("5", "tab"),
    "training-search": ("5", "slash"),
    "training-zoom": ("5", "z"),
    "compare": ("6",),
    "compare-edit": ("6", "i"),
    "compare-models": ("6", "m"),
    "help": ("question_mark",),
    "jump": ("5", "ctrl+o"),
    "messages": ("ctrl+g",),
}
"""The keys that lead to every kind of footer."""


@pytest.mark.parametrize(
    "state", ["none", "running", pytest.param("done", marks=pytest.mark.slow), "stopped"]
)
@pytest.mark.parametrize("size", [(80, 24), (60, 20)])
async def test_every_footer_has_six_keys_at_most_and_none_is_cut(
    lab: Lab, size: tuple[int, int], state: str
) -> None:
    if state != "none":
        run_in(lab, state)  # type: ignore[arg-type]
    app = QdlApp(lab)
    async with app.run_test(size=size) as pilot:
        await settled(app, pilot)
        for name, keys in DIALOGS.items():
            if state != "done" and not name.startswith(("runs", "training")):
                continue
            await pilot.press("1")
            for key in keys:
                await pilot.press(key)
                await settled(app, pilot)
            for bar in app.screen.query("KeyBar"):
                text = str(bar.render())
                shown = [part for part in text.split("  ") if part.strip()]
                assert 1 <= len(shown) <= MOST_KEYS, name
                assert len(text.rstrip()) <= bar.size.width, name
                assert text.strip() in screen_text(app), f"{name}: {text!r} is cut"
            while len(app.screen_stack) > 1:
                app.pop_screen()
                await pilot.pause()
            await pilot.press("escape")


async def test_saving_and_undoing_are_offered_once_something_is_changed(lab: Lab) -> None:
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        assert "Save" not in footer(app) and "Undo" not in footer(app) and "r Run" in footer(app)
        await pilot.press("ctrl+z")
        await settled(app, pilot)
        await pilot.press("ctrl+s")
        await settled(app, pilot)
        assert said(app) == ["Nothing to save"], "the key took the message before away"
        await pilot.press("enter", "x", "enter")
        await settled(app, pilot)
        assert "^s Save" in footer(app) and "^z Undo" in footer(app)
        await pilot.press("ctrl+z")
        await settled(app, pilot)
        assert "Save" not in footer(app)


@pytest.mark.parametrize("text", [None, "[system1]\nrow = 5\n"])
async def test_without_settings_a_recipe_offers_nothing_that_needs_them(lab: Lab, text: str | None) -> None:
    if text is None:
        lab.settings_file.unlink()
    else:
        lab.settings_file.write_text(text, encoding="utf-8")
    app = QdlApp(lab)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("2")
        await settled(app, pilot)
        assert footer(app).split() == ["?", "Help", "q", "Quit"]
        await pilot.press("r")
        await settled(app, pilot)
        assert said(app) == ["The settings cannot be read"]
        lab.settings_file.write_text("", encoding="utf-8")
        app.screen.tick()  # type: ignore[attr-defined]
        await settled(app, pilot)
        assert "enter Edit" in footer(app) and "r Run" in footer(app)
