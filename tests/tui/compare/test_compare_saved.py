"""Saved comparisons on the screen: walked through, voted on blind, held against each other, exported."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from qdl_engine.compare.comparison import Answer, ComparedModel, Comparison, load_comparison
from qdl_engine.compare.votes import append_vote, blind_order, make_vote, read_votes
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_tui.app import QdlApp
from qdl_tui.compare.answer_pane import AnswerPane, AnswerScroll
from qdl_tui.compare.screen import CompareScreen
from tests.tui.conftest import opened
from tests.tui.screen import check_golden, screen_text, settled

CREATED = "2026-01-02T03:04:05+00:00"
NAMES = {"teacher": "Teacher", "system1": "System 1", "system2": "System 2"}
LONG = "\n".join(f"line {number}" for number in range(60))


def save(lab: Lab, name: str, answers: dict[str, list[str]], prompts: list[str], created: str) -> None:
    models = {
        model: ComparedModel(
            f"/m/{model}", model, 7, 0.1, [Answer.of(text, 12, 0.5, 0.1, "eos") for text in texts]
        )
        for model, texts in answers.items()
    }
    skipped = {model: "Model not found at /m" for model in NAMES if model not in answers}
    comparison = Comparison(prompts, models, skipped, created)
    write_json_atomic(lab.comparisons / f"{name}.json", comparison.to_dict())


@pytest.fixture
def compared_lab(lab: Lab) -> Lab:
    """A lab with two saved comparisons; the newer one has two prompts and three models."""
    save(lab, "older", {"system1": ["x"], "system2": ["y"]}, ["An old one?"], "2025-01-01T00:00:00+00:00")
    save(
        lab,
        "newer",
        {
            "teacher": ["the capital is Havana", "four"],
            "system1": ["the town is Havana", "four"],
            "system2": ["<think>\nCuba, Havana\n</think>\nHavana \x1b[2J", "five"],
        },
        ["What is the\x1b[2J capital of Cuba?", "2 + 2?"],
        CREATED,
    )
    for path, time in ((lab.comparisons / "older.json", 1), (lab.comparisons / "newer.json", 2)):
        os.utime(path, (time, time))
    lab.sample_prompts.write_text("2 + 2?\nAnother?\n", encoding="utf-8")
    return lab


@asynccontextmanager
async def compare_screen(
    lab: Lab, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[QdlApp, Pilot[None], CompareScreen]]:
    async with opened(lab, "6", size=size) as (app, pilot):
        assert isinstance(app.screen, CompareScreen)
        yield app, pilot, app.screen


async def test_the_latest_is_shown_with_its_date_and_no_model_is_loaded(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, screen):
        shown = screen_text(app)
        assert "Prompt 1/3  What is the␛[2J capital of Cuba?" in shown
        assert "the capital is Havana"[:20] in shown and "2026-01-02 03:04" in shown
        assert "12 tok in 0.50 s" in shown and "24 tok/s, first 0.10 s" in shown
        assert screen.worker is None
        await pilot.press("]")
        await settled(app, pilot)
        assert "Prompt 2/3  2 + 2?" in screen_text(app) and "five" in screen_text(app)
        await pilot.press("]")
        await settled(app, pilot)
        assert "Prompt 3/3  Another?" in screen_text(app) and "five" not in screen_text(app)
        assert "Teacher                  ▏ System 1: not trained   ▏" in screen_text(app)
        assert "qdl train system1" in screen_text(app)


async def test_every_figure_is_there_on_the_narrowest_screen(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab, (60, 20)) as (app, _pilot, _screen):
        assert screen_text(app).count("0.10 s") == 3


async def test_an_older_one_is_opened_and_says_who_was_skipped(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, _screen):
        await pilot.press("o")
        await settled(app, pilot)
        assert "older" in screen_text(app) and "newer" in screen_text(app)
        await pilot.press("down", "enter")
        await settled(app, pilot)
        shown = screen_text(app)
        assert "Prompt 1/3  An old one?" in shown and "2025-01-01" in shown
        assert "Teacher: skipped" in shown and "Model not found at /m" in shown


async def test_a_blind_vote_hides_names_figures_and_reasoning_until_it_is_cast(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, screen):
        await pilot.press("b")
        await settled(app, pilot)
        assert "Teacher" in screen_text(app), "what was seen cannot be made unseen"
        assert "Already seen with names" in screen_text(app)
        await pilot.press("]")
        await settled(app, pilot)
        shown = screen_text(app)
        assert not any(name in shown for name in ("Teacher", "System 1: done", "System 2: done", "tok"))
        order = blind_order(list(NAMES), CREATED, "2 + 2?")
        assert [pane.model for pane in screen.panes.shown] == order
        check_golden("compare-blind-80x24", shown, compared_lab.root)
        await pilot.press("e", "R")
        await settled(app, pilot)
        await settled(app, pilot)
        shown = screen_text(app)
        assert f"You voted blind: {NAMES[order[2]]} is best." in shown and "blind mode" not in shown
        assert f"1 vote  Teacher {'100' if order[2] == 'teacher' else '0'}%" in shown
        assert [pane.model for pane in screen.panes.shown] == order, "panes keep their places"
        assert "24 tok/s" in shown
        await pilot.press("T")
        await settled(app, pilot)
        assert any("blind vote stays" in notice.message for notice in app._notifications)
    assert not compared_lab.exports.exists(), "the files would have named the models"
    (vote,) = read_votes(compared_lab)
    assert (vote.best, vote.blind, vote.comparison, vote.prompt) == (order[2], True, "newer", "2 + 2?")
    assert [model.name for model in vote.models] == order


@pytest.mark.parametrize(("width", "question"), [(60, "L left"), (80, "Which is best?")])
async def test_the_keys_of_a_blind_vote_are_whole_on_any_width(
    compared_lab: Lab, width: int, question: str
) -> None:
    async with compare_screen(compared_lab, (width, 20)) as (app, pilot, _screen):
        await pilot.press("b", "]")
        await settled(app, pilot)
        (line,) = [line for line in screen_text(app).splitlines() if "L left" in line]
        assert line.strip().startswith(question)
        assert "L left  M middle  R right  T tie  B all bad" in line


async def test_what_others_voted_does_not_tell_the_names(compared_lab: Lab) -> None:
    kept = load_comparison(compared_lab.comparisons / "newer.json")
    append_vote(compared_lab, replace(make_vote(kept, "newer", 1, "system2"), who="somebody else"))
    async with compare_screen(compared_lab) as (app, pilot, _screen):
        await pilot.press("b", "]")
        await settled(app, pilot)
        assert "Answer A" in screen_text(app)


async def test_an_open_vote_and_a_change_of_mind(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab, (120, 40)) as (app, pilot, _screen):
        await pilot.press("M")
        await settled(app, pilot)
        await pilot.press("T")
        await settled(app, pilot)
        check_golden("compare-voted-120x40", screen_text(app), compared_lab.root)
        await pilot.press("]", "]", "B")
        await settled(app, pilot)
    (vote,) = read_votes(compared_lab)
    assert (vote.best, vote.blind) == ("tie", False)
    assert len(compared_lab.votes.read_text().splitlines()) == 2


async def test_two_models_take_part(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, screen):
        await pilot.press("m")
        await settled(app, pilot)
        await pilot.press("down", "down", "enter")
        await settled(app, pilot)
        assert [pane.model for pane in screen.panes.shown] == ["teacher", "system2"]
        assert "System 1" not in screen_text(app).splitlines()[2]
        await pilot.press("M", "R")
        await settled(app, pilot)
    (vote,) = read_votes(compared_lab)
    assert vote.best == "system2" and [model.name for model in vote.models] == ["teacher", "system2"]


async def test_differences_are_underlined_and_said_in_words(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, _screen):
        await pilot.press("d")
        await settled(app, pilot)
        shown = " ".join(screen_text(app).split())
        assert "not in System 1:" in shown and "not in Teacher:" in shown
        underlined = {
            segment.text.strip()
            for strip in app.screen._compositor.render_strips()
            for segment in strip
            if segment.style is not None and segment.style.underline and segment.text.strip()
        }
        assert {"capital", "town"} <= underlined and "Havana" not in underlined
        await pilot.press("]")
        await settled(app, pilot)
        await settled(app, pilot)
        shown = screen_text(app)
        assert "same as System 1" in shown and "same as Teacher" in shown
        await pilot.press("d", "d", "d")
        await settled(app, pilot)
        assert "same as" not in screen_text(app) and "not in" not in screen_text(app)


async def test_export_says_where(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab, (120, 40)) as (app, pilot, _screen):
        await pilot.press("e")
        await settled(app, pilot)
        (said,) = [notice.message for notice in app._notifications]
        assert said == "Exported in the lab:\ncomparisons/exports/newer.md\nand beside it as .json"
        assert "Exported: comparisons/exports/newer.md and .json" in screen_text(app).splitlines()[-2]
        await pilot.press("t")
        await pilot.pause()
        assert "Exported" not in screen_text(app)
    exported = json.loads((compared_lab.exports / "newer.json").read_text(encoding="utf-8"))
    assert exported["prompts"][1] == "2 + 2?"
    assert "### system2" in (compared_lab.exports / "newer.md").read_text(encoding="utf-8")


async def test_answers_scroll_in_step_or_alone(lab: Lab) -> None:
    save(lab, "long", {name: [LONG] for name in NAMES}, ["Long?"], CREATED)
    async with compare_screen(lab) as (app, pilot, screen):

        def tops() -> list[int]:
            return [round(pane.query_one(AnswerScroll).scroll_y) for pane in screen.panes.shown]

        await pilot.press("G")
        await pilot.pause()
        await pilot.pause()
        assert len(set(tops())) == 1 and tops()[0] > 20
        await pilot.press("g", "s", "l", "G")
        await pilot.pause()
        await pilot.pause()
        assert tops()[0] == tops()[2] == 0 and tops()[1] > 20
        assert "scrolling separately" in screen_text(app)
        await pilot.press("h", "h")
        assert screen.panes.shown[2].has_focus_within


async def test_the_answer_under_the_cursor_is_copied(compared_lab: Lab, own_state: Path) -> None:
    async with compare_screen(compared_lab) as (app, pilot, _screen):
        await pilot.press("l", "y")
        await settled(app, pilot)
    assert (own_state / "qdl" / "copied.txt").read_text(encoding="utf-8").strip() == "the town is Havana"


async def test_a_reopened_screen_keeps_what_is_typed_and_no_answers_under_it(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, screen):
        await pilot.press("i", "ctrl+u", *"Mine?", "escape", "1", "6")
        await settled(app, pilot)
        assert screen.prompt_input.prompt == "Mine?" and "Havana" not in screen_text(app)
        await pilot.press("i", "ctrl+u", *"2 + 2?", "escape")
        await settled(app, pilot)
        assert "five" in screen_text(app), "a prompt that is known has its answers"
        assert all(isinstance(pane, AnswerPane) for pane in screen.panes.shown)


async def test_a_size_belongs_to_the_place_and_not_to_the_model(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, screen):
        await pilot.press(">", ">", "b", "]")
        await settled(app, pilot)
        await pilot.pause()
        widths = [pane.outer_size.width for pane in screen.panes.shown]
        assert [pane.model for pane in screen.panes.shown] != list(NAMES)
        assert widths[0] > widths[1] == widths[2]


async def test_the_keys_of_the_prompt_are_in_the_footer(compared_lab: Lab) -> None:
    async with compare_screen(compared_lab) as (app, pilot, _screen):
        await pilot.press("i")
        await pilot.pause()
        footer = screen_text(app).splitlines()[-1]
        assert all(key in footer for key in ("enter Ask", "esc Back", "^u Clear"))
