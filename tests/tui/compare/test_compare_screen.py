"""The comparison: panes that say why, and a real worker process with tiny models that answer nonsense."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Paste

from qdl_engine.compare.comparison import MODELS, Answer, list_comparisons, load_comparison
from qdl_engine.core.lab import Lab
from qdl_engine.runs.store import save_run
from qdl_tui.compare.answer_pane import AnswerPane
from qdl_tui.compare.screen import CompareScreen
from qdl_tui.compare.worker import ModelWorker
from qdl_tui.shared.state import CompareTaste, load_state
from tests.tiny import make_tiny_model
from tests.tui.conftest import opened, run_under_way
from tests.tui.screen import check_golden, screen_text, settled


async def test_a_missing_model_says_why(lab: Lab) -> None:
    lab.sample_prompts.write_text(
        "# mine\nWhat is [bold]two[/] plus two?\n\nName a river.\n", encoding="utf-8"
    )
    async with opened(lab, "6") as (app, pilot):
        shown = screen_text(app)
        assert "Prompt 1/2" in shown
        assert "[bold]two[/]" in shown
        assert "Model not found" in shown
        await pilot.press("right_square_bracket")
        await pilot.pause()
        assert "Name a river." in screen_text(app)
        await pilot.press("right_square_bracket")
        await pilot.pause()
        assert "Prompt 1/2" in screen_text(app)
        await pilot.press("i", "ctrl+u")
        app.post_message(Paste("Add:\n\t1\n\t2\n"))
        await settled(app, pilot)
        assert "Add:␊␉1␊␉2" in screen_text(app)
        assert isinstance(app.screen, CompareScreen)
        assert app.screen.prompt_input.prompt == "Add:\n\t1\n\t2"
        lab.settings_file.unlink()
        app.screen.tick()
        await settled(app, pilot)
        assert "Or press 1: the lab" in screen_text(app)


async def test_a_student_in_training_says_so_until_it_is_done(lab: Lab) -> None:
    run = run_under_way(lab)
    async with opened(lab, "6") as (app, pilot):
        shown = " ".join(screen_text(app).replace("▏", " ").split())
        assert "Train System 2 first" in shown and "Train System 1 first" not in shown
        assert isinstance(app.screen, CompareScreen) and app.screen.lineup is not None
        missing = app.screen.lineup.contestant("system1").missing
        assert "System 1 is being trained (45%).\nAvailable when training finishes." in missing
        save_run(replace(run, state="done"))
        lab.system1_checkpoint.mkdir()
        (lab.system1_checkpoint / "config.json").write_text("{}", encoding="utf-8")
        (lab.system1_checkpoint / "model.safetensors").write_bytes(b"")
        app.screen._look_if_shown()
        await settled(app, pilot)
        assert app.screen.lineup.contestant("system1").missing == ""
        assert "System 1 is being trained" not in screen_text(app)


async def test_an_answer_is_drawn_with_its_reasoning_folded_or_open(lab: Lab) -> None:
    async with opened(lab, "6") as (app, pilot):
        for other in app.screen.query(AnswerPane):
            other.begin("waiting")
        pane = app.screen.query_one("#answer-system2", AnswerPane)
        text = "<think>\none and one\x1b[2J makes two\n</think>\nIt is [b]two[/b]."
        pane.add_text(text)
        pane.show_answer(Answer.of(text, 12, 0.5, 0.1, "eos"))
        await pilot.pause()
        check_golden("compare-folded-80x24", screen_text(app), lab.root)
        await pilot.press("t")
        await pilot.pause()
        check_golden("compare-open-80x24", screen_text(app), lab.root)


@pytest.fixture
def trained_lab(lab: Lab, tmp_path: Path) -> Lab:
    """A lab whose models are tiny and random, and there."""
    teacher = make_tiny_model(tmp_path / "teacher")
    make_tiny_model(lab.system1_checkpoint, seed=1)
    lab.settings_file.write_text(
        f"[teacher]\nmodel = {json.dumps(str(teacher))}\nquantization = 'none'\n"
        "[comparison]\nmax_new_tokens = 8\n",
        encoding="utf-8",
    )
    lab.sample_prompts.write_text("Hello?\n", encoding="utf-8")
    return lab


async def test_the_models_answer_and_the_comparison_is_saved(trained_lab: Lab) -> None:
    async with opened(trained_lab, "6") as (app, pilot):
        await pilot.press("enter")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        for _ in range(600):
            await pilot.pause(0.1)
            if list_comparisons(trained_lab):
                break
        await settled(app, pilot)
        assert screen_text(app).count("tok/s") == 2
        trained_lab.sample_prompts.write_text("Hello?\nYou?\nThey?\n", encoding="utf-8")
        await pilot.press("1", "6")
        await settled(app, pilot)
        await pilot.press("A")
        for _ in range(600):
            await pilot.pause(0.1)
            if screen.live is None:
                break
        await settled(app, pilot)
        assert "Prompt 3/3  They?" in screen_text(app), "the screen goes along"
        assert len(list_comparisons(trained_lab)) == 2
        assert load_comparison(list_comparisons(trained_lab)[0]).prompts == ["Hello?", "You?", "They?"]
        await pilot.press("A", "c")
        for _ in range(600):
            await pilot.pause(0.1)
            if screen.live is None:
                break
        await settled(app, pilot)
        assert "0 tok " not in screen_text(app), "what was cancelled before a word hides no earlier answer"
        assert load_comparison(list_comparisons(trained_lab)[-1]).prompts == ["Hello?"]
        await pilot.press("i", *"Other?")
        await pilot.pause()
        assert "tok/s" not in screen_text(app), "answers to one prompt stood under another"
        worker = screen.worker
        assert worker is not None and worker.running
    assert not worker.running
    comparison = load_comparison(list_comparisons(trained_lab)[0])
    assert sorted(comparison.models) == ["system1", "teacher"]
    assert "Model not found" in comparison.skipped["system2"]


async def test_a_worker_that_dies_leaves_the_app_standing(trained_lab: Lab) -> None:
    async with opened(trained_lab, "6") as (app, pilot):
        await pilot.press("enter")
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, CompareScreen) and screen.worker is not None
        while screen.worker._process is None:
            await asyncio.sleep(0.01)
        screen.worker._process.kill()
        for _ in range(100):
            await pilot.pause(0.05)
            if "process ended" in " ".join(screen_text(app).split()):
                break
        assert "failed" in screen_text(app)


async def test_a_typed_prompt_can_be_kept(lab: Lab) -> None:
    lab.sample_prompts.write_text("# mine\nOne?", encoding="utf-8")
    async with opened(lab, "6") as (app, pilot):
        await pilot.press("i", "!", "left", "ctrl+u", *"Two?", "escape", "a")
        await settled(app, pilot)
        assert lab.sample_prompts.read_text(encoding="utf-8") == "# mine\nOne?\nTwo?\n"
        assert "Prompt 2/2  Two?" in screen_text(app)


async def test_a_model_that_does_not_load_says_why_and_not_that_it_is_not_loaded(trained_lab: Lab) -> None:
    broken = trained_lab.system1_checkpoint / "model.safetensors"
    broken.write_bytes(b"rubbish")
    async with opened(trained_lab, "6", size=(120, 40)) as (app, pilot):
        await pilot.press("enter")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        for _ in range(600):
            await pilot.pause(0.1)
            if list_comparisons(trained_lab):
                break
        shown = screen_text(app)
        assert "skipped" in shown and "Load it first" not in shown


async def test_models_and_blind_mode_are_remembered_for_each_lab(trained_lab: Lab, tmp_path: Path) -> None:
    async with opened(trained_lab, "6") as (app, pilot):
        await pilot.press("m", "j", "enter", "b")
        await settled(app, pilot)
    assert load_state().compare[str(trained_lab.root)] == CompareTaste(("teacher", "system1"), blind=True)

    other = Lab.at(tmp_path / "other")
    other.create_directories()
    for lab, names, blind in ((trained_lab, ("teacher", "system1"), True), (other, MODELS, False)):
        async with opened(lab, "6") as (app, pilot):
            screen = app.screen
            assert isinstance(screen, CompareScreen)
            assert (screen.names, screen.voting.blind) == (names, blind)


async def test_a_cancel_while_a_model_loads_ends_at_once_and_the_next_question_is_answered(
    trained_lab: Lab,
) -> None:
    async with opened(trained_lab, "6") as (app, pilot):
        await pilot.press("enter")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        while screen.worker is None or not screen.worker.running:
            await pilot.pause(0.01)
        while "loading" not in screen_text(app):
            await pilot.pause(0.01)
        process = screen.worker._process
        assert process is not None
        await pilot.press("c")
        await settled(app, pilot)
        assert screen.live is None and process.returncode is not None and not screen.worker.running
        assert "Cancelled while Teacher was loading" in str([item.message for item in app._notifications])
        assert "loading" not in screen_text(app)
        await pilot.press("enter")
        for _ in range(600):
            await pilot.pause(0.1)
            if list_comparisons(trained_lab):
                break
        await settled(app, pilot)
        assert screen_text(app).count("tok/s") == 2


async def test_another_lab_ends_the_question(trained_lab: Lab, tmp_path: Path) -> None:
    trained_lab.settings_file.write_text(
        trained_lab.settings_file.read_text(encoding="utf-8").replace("= 8\n", "= 4000\n"), encoding="utf-8"
    )
    other = Lab.at(tmp_path / "other")
    other.create_directories()
    other.settings_file.write_text(trained_lab.settings_file.read_text(encoding="utf-8"), encoding="utf-8")
    async with opened(trained_lab, "6") as (app, pilot):
        await pilot.press("enter")
        screen = app.screen
        assert isinstance(screen, CompareScreen) and screen.live is not None
        live = screen.live
        app.open_lab(other)
        await settled(app, pilot)
        assert live.stopped and screen.live is None and screen.known == {}
    assert list_comparisons(trained_lab) == [] == list_comparisons(other)


async def test_requests_that_come_together_start_one_worker(lab: Lab) -> None:
    async with opened(lab, "6") as (app, _pilot):
        worker = ModelWorker(lab.logs / "worker.log", app.screen)
        started: list[int] = []

        async def send() -> None:
            await worker.send({"op": "cancel", "id": "none"})
            assert worker._process is not None
            started.append(worker._process.pid)

        await asyncio.gather(send(), send(), send())
        assert len(started) == 3 and len(set(started)) == 1
        await worker.close()
