"""A comparison while the models answer, without a process: the worker's replies go in, a comparison grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdl_engine.compare.ask import ModelSpec
from qdl_engine.compare.comparison import (
    MODELS,
    Answer,
    UnsavedComparisonError,
    list_comparisons,
    load_comparison,
)
from qdl_engine.compare.replies import Answered, AskFailed, Chunk, Loaded, LoadFailed, Loading, Ready
from qdl_engine.core.lab import Lab
from qdl_tui.compare.lineup import Contestant, Lineup
from qdl_tui.compare.live import LiveComparison


def lineup(missing: str = "") -> Lineup:
    specs = [ModelSpec(name, f"/m/{name}", "system1", "Be good.") for name in MODELS]
    contestants = [Contestant(spec, "2026", "gone" if spec.name == missing else "") for spec in specs]
    return Lineup(tuple(contestants), ("One?", "Two?"), 8, 0.0)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.at(tmp_path)


def names(requests: list[dict[str, Any]]) -> list[str]:
    return [request["model"]["name"] for request in requests]


def answer(live: LiveComparison, name: str) -> None:
    given = Answer("", f"of {name}", 3, 1.0, 3.0, 0.1, "eos")
    live.hear(Answered(given, id=live.question_id(name), name=name))


def test_every_prompt_is_put_to_every_model_that_is_there(lab: Lab) -> None:
    live = LiveComparison(lab, lineup("system2"), MODELS, ["One?", "Two?"], 7)
    for prompt in ("One?", "Two?"):
        assert names(live.begin()) == ["teacher", "system1"]
        assert live.prompt == prompt
        answer(live, "teacher")
        assert live.waiting == {"system1"}
        answer(live, "system1")
        shown = live.complete()
        assert shown is not None and shown.prompt == prompt
        assert live.advance() is (prompt == "One?")
    comparison = live.kept.comparison
    assert comparison.prompts == ["One?", "Two?"] and comparison.skipped == {"system2": "gone"}
    assert [len(model.answers) for model in comparison.models.values()] == [2, 2]


def test_replies_to_an_earlier_question_are_ignored(lab: Lab) -> None:
    live = LiveComparison(lab, lineup(), MODELS, ["One?"], 7)
    (teacher, *_others) = live.begin()
    assert teacher["id"] == "7-teacher" and teacher["model"]["path"] == "/m/teacher"
    assert live.hear(Chunk("new", id="7-teacher", name="teacher"))
    assert not live.hear(Chunk("old", id="6-teacher", name="teacher"))
    assert not live.hear(Ready())
    assert live.texts["teacher"] == "new"


def test_the_model_that_is_loading_is_known_until_it_answers(lab: Lab) -> None:
    live = LiveComparison(lab, lineup(), ("teacher", "system1"), ["One?"], 1)
    live.begin()
    assert live.loading == "" and live.states == {"teacher": "waiting", "system1": "waiting"}
    live.hear(Loading(id="1-teacher", name="teacher"))
    assert live.loading == "teacher" and live.states["system1"] == "waiting"
    live.hear(Loaded(2.0, 7, "CPU", id="1-teacher", name="teacher"))
    assert live.loading == ""
    answer(live, "teacher")
    answer(live, "system1")
    shown = live.complete()
    assert shown is not None
    model = shown.comparison.models["teacher"]
    assert (model.path, model.parameters, model.load_seconds, model.written) == ("/m/teacher", 7, 2.0, "2026")


def test_a_model_that_does_not_load_is_skipped_once_and_for_all(lab: Lab) -> None:
    live = LiveComparison(lab, lineup(), ("teacher", "system1"), ["One?", "Two?"], 1)
    live.begin()
    live.hear(LoadFailed("no model", "train", id="1-teacher", name="teacher"))
    answer(live, "system1")
    assert live.complete() is not None and live.advance()
    assert names(live.begin()) == ["system1"]
    assert live.kept.comparison.skipped == {"teacher": "no model\n\ntrain"}


def test_one_failing_prompt_does_not_lose_the_rest(lab: Lab) -> None:
    live = LiveComparison(lab, lineup(), ("system1", "system2"), ["One?", "Two?", "Three?"], 1)
    live.begin()
    answer(live, "system1")
    live.hear(AskFailed("too long", id="1-system2", name="system2"))
    assert live.complete() is not None and live.advance()
    live.begin()
    for name in ("system1", "system2"):
        live.hear(AskFailed("too long", id=f"2-{name}", name=name))
    assert live.complete() is None and live.advance()
    live.begin()
    answer(live, "system1")
    answer(live, "system2")
    assert live.complete() is not None and not live.advance()
    comparison = live.kept.comparison
    assert comparison.prompts == ["One?", "Three?"]
    assert [item.failed for item in comparison.models["system2"].answers] == [True, False]


def test_a_worker_that_dies_leaves_the_answers_that_were_given(lab: Lab) -> None:
    live = LiveComparison(lab, lineup(), ("system1", "system2"), ["One?", "Two?"], 1)
    live.begin()
    answer(live, "system1")
    live.lose_worker("killed")
    assert not live.waiting
    shown = live.complete()
    assert shown is not None and not live.advance()
    answers = shown.comparison.answers_to(0)
    assert answers["system1"].answer == "of system1" and answers["system2"].reason == "killed"


def test_a_comparison_is_saved_prompt_by_prompt_under_one_name(lab: Lab) -> None:
    live = LiveComparison(lab, lineup(), ("system1", "system2"), ["One?", "Two?"], 1)
    for prompts in (["One?"], ["One?", "Two?"]):
        live.begin()
        answer(live, "system1")
        answer(live, "system2")
        live.complete()
        path = live.file.write(live.file.snapshot(live.kept.comparison))
        assert list_comparisons(lab) == [path] and load_comparison(path).prompts == prompts
        live.advance()


def test_a_comparison_that_cannot_be_saved_says_so_and_takes_a_name_later(lab: Lab) -> None:
    live = LiveComparison(lab, lineup(), ("system1", "system2"), ["One?"], 1)
    live.begin()
    answer(live, "system1")
    answer(live, "system2")
    live.complete()
    lab.comparisons.write_text("in the way")
    with pytest.raises(UnsavedComparisonError, match="could not be saved"):
        live.file.write(live.file.snapshot(live.kept.comparison))
    lab.comparisons.unlink()
    path = live.file.write(live.file.snapshot(live.kept.comparison))
    assert list_comparisons(lab) == [path]
