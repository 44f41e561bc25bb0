"""ctrl+p finds actions, runs and settings."""

from __future__ import annotations

import re

import pytest
from textual.command import CommandPalette

from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.settings.fields import all_fields, sections
from qdl_tui.app import QdlApp
from qdl_tui.palette import LabCommands
from qdl_tui.recipe.screen import RecipeScreen
from qdl_tui.shared.bars import MODE_TITLES, described_bindings
from tests.tui.compare.test_compare_saved import CREATED, save
from tests.tui.conftest import finished_run, opened
from tests.tui.screen import screen_text, settled


async def choose(app: QdlApp, pilot, words: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    await pilot.press("ctrl+p")
    await settled(app, pilot)
    await pilot.press(*words)
    await settled(app, pilot)
    await pilot.pause(0.3)
    await pilot.press("enter")
    if isinstance(app.screen, CommandPalette):
        await pilot.press("enter")
    await settled(app, pilot)


async def test_a_run_is_found_and_watched(lab: Lab) -> None:
    run = finished_run(lab)
    async with opened(lab) as (app, pilot):
        await choose(app, pilot, "watch 0001")
        assert "[5 Training]" in screen_text(app)
        assert run.id in screen_text(app)


async def test_a_setting_is_found_and_the_cursor_put_on_it(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        await choose(app, pilot, "system2.rv_min")
        await settled(app, pilot)
        assert isinstance(app.screen, RecipeScreen)
        assert "[3 System 2]" in screen_text(app)
        assert "Lowest Reasoning" in screen_text(app)


async def test_an_action_of_the_screen_is_found(lab: Lab) -> None:
    async with opened(lab) as (app, pilot):
        await choose(app, pilot, "go to compare")
        assert "[6 Compare]" in screen_text(app)


def provider(app: QdlApp) -> LabCommands:
    return LabCommands(app.screen)


@pytest.mark.parametrize("mode", MODE_TITLES)
async def test_every_action_run_setting_and_comparison_is_listed(lab: Lab, mode: str) -> None:
    runs = [finished_run(lab), finished_run(lab, state="stopped")]
    comparison = {"prompts": ["What?"], "models": {}, "skipped": {}, "created": ""}
    write_json_atomic(lab.comparisons / "20260101-000000.json", comparison)
    async with opened(lab) as (app, pilot):
        app.action_show_mode(mode)
        await settled(app, pilot)
        palette = provider(app)
        await palette.startup()
        listed = {str(hit.display) for hit in [hit async for hit in palette.discover()]}
        bound = [
            binding
            for node in (app, app.screen)
            for bindings in described_bindings(node).values()
            for binding in bindings
            if binding.id and not app.screen.why_not(binding.action)  # type: ignore[attr-defined]
        ]
        expected = {
            f"Go to {binding.description}" if "show_mode" in binding.action else binding.description
            for binding in bound
            if not binding.action.startswith("vote")
        }
        expected |= {f"Watch run {run.id}" for run in runs}
        expected |= {f"Set {info.key}" for section in sections() for info in all_fields(section)}
        expected.add("Open comparison 20260101-000000")
        assert not expected - listed


async def test_what_cannot_be_done_is_not_listed(lab: Lab) -> None:
    finished_run(lab)
    async with opened(lab, "4") as (app, _pilot):
        palette = provider(app)
        await palette.startup()
        listed = {str(hit.display) for hit in [hit async for hit in palette.discover()]}
        assert not {"Stop", "Resume", "All runs"} & listed and "Delete" in listed


async def test_a_saved_comparison_is_opened(lab: Lab) -> None:
    save(lab, "20260101-000000", {"system1": ["Forty-two"]}, ["What is 17 + 25?"], CREATED)
    save(lab, "20260102-000000", {"system1": ["No"]}, ["Is 91 a prime?"], CREATED)
    async with opened(lab) as (app, pilot):
        await choose(app, pilot, "comparison 20260101")
        await settled(app, pilot)
        assert "[6 Compare]" in screen_text(app)
        assert "What is 17 + 25?" in screen_text(app)


async def test_brackets_are_shown_as_they_are(lab: Lab) -> None:
    save(lab, "[b]mine", {"system1": ["No"]}, ["Is 91 a prime?"], CREATED)
    async with opened(lab, "ctrl+p") as (app, pilot):
        assert "Make a new lab in a directory you name [key n]" in screen_text(app)
        assert not re.search(r"(?<!\[)key \S", screen_text(app)), "one form"
        await pilot.press(*"mine")
        await settled(app, pilot)
        await pilot.pause(0.3)
        assert "Open comparison [b]mine" in screen_text(app)
