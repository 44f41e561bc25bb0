"""A comparison while it is asked, without a process: what the worker says goes in, a comparison grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdl_engine.compare.comparison import list_comparisons, load_comparison
from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_tui.compare.models import Contestant, Setting
from qdl_tui.compare.session import Asking

MODELS = ("teacher", "system1", "system2")


def setting(missing: str = "") -> Setting:
    contestants = tuple(
        Contestant(name, f"/m/{name}", "gone" if name == missing else "", "system1", "Be good.", "2026")
        for name in MODELS
    )
    return Setting(contestants, ("One?", "Two?"), 8, 0.0, "none")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.at(tmp_path)


def answer(asking: Asking, name: str, **values: Any) -> None:
    about = {"event": "answer", "name": name, "id": asking.question_id(name)}
    figures = {"tokens": 3, "seconds": 1.0, "tokens_per_second": 3.0, "first_token_seconds": 0.1}
    text = {"reasoning": "", "answer": f"of {name}", "stopped": "eos", "reason": ""}
    asking.hear({**about, **figures, **text, **values})


def test_every_prompt_is_put_to_every_model_that_is_there(lab: Lab) -> None:
    asking = Asking(lab, setting("system2"), MODELS, ["One?", "Two?"], 7)
    for prompt in ("One?", "Two?"):
        assert [item.name for item in asking.begin()] == ["teacher", "system1"]
        assert asking.prompt == prompt
        answer(asking, "teacher")
        assert asking.waiting == {"system1"}
        answer(asking, "system1")
        shown = asking.complete()
        assert shown is not None and shown.prompt == prompt
        assert asking.go_on() is (prompt == "One?")
    comparison = asking.kept.comparison
    assert comparison.prompts == ["One?", "Two?"] and comparison.skipped == {"system2": "gone"}
    assert [len(model.answers) for model in comparison.models.values()] == [2, 2]


def test_what_the_worker_says_of_an_earlier_question_is_told_apart(lab: Lab) -> None:
    asking = Asking(lab, setting(), MODELS, ["One?"], 7)
    asking.begin()
    assert asking.is_current({"event": "chunk", "id": "7-teacher"})
    assert not asking.is_current({"event": "chunk", "id": "6-teacher"})
    assert asking.is_current({"event": "loaded", "name": "teacher"})


def test_a_model_that_does_not_load_is_skipped_once_and_for_all(lab: Lab) -> None:
    asking = Asking(lab, setting(), ("teacher", "system1"), ["One?", "Two?"], 1)
    asking.begin()
    asking.hear({"event": "load_failed", "name": "teacher", "message": "no model", "hint": "train"})
    asking.hear({"event": "error", "name": "teacher", "id": "1-teacher", "message": "not loaded", "hint": ""})
    answer(asking, "system1")
    assert asking.complete() is not None and asking.go_on()
    assert [item.name for item in asking.begin()] == ["system1"]
    assert asking.kept.comparison.skipped == {"teacher": "no model\n\ntrain"}


def test_one_failing_prompt_does_not_lose_the_rest(lab: Lab) -> None:
    asking = Asking(lab, setting(), ("system1", "system2"), ["One?", "Two?", "Three?"], 1)
    asking.begin()
    answer(asking, "system1")
    asking.hear({"event": "error", "name": "system2", "id": "1-system2", "message": "too long", "hint": ""})
    assert asking.complete() is not None and asking.go_on()
    asking.begin()
    for name in ("system1", "system2"):
        asking.hear({"event": "error", "name": name, "id": f"2-{name}", "message": "too long", "hint": ""})
    assert asking.complete() is None and asking.go_on()
    asking.begin()
    answer(asking, "system1")
    answer(asking, "system2")
    assert asking.complete() is not None and not asking.go_on()
    comparison = asking.kept.comparison
    assert comparison.prompts == ["One?", "Three?"]
    assert [item.failed for item in comparison.models["system2"].answers] == [True, False]


def test_a_worker_that_dies_leaves_the_answers_that_were_given(lab: Lab) -> None:
    asking = Asking(lab, setting(), ("system1", "system2"), ["One?", "Two?"], 1)
    asking.begin()
    answer(asking, "system1")
    asking.lose_worker("killed")
    assert not asking.waiting
    shown = asking.complete()
    assert shown is not None and not asking.go_on()
    answers = shown.comparison.answers_to(0)
    assert answers["system1"].answer == "of system1" and answers["system2"].reason == "killed"


def test_an_older_state_is_never_written_over_a_newer_one(lab: Lab) -> None:
    asking = Asking(lab, setting(), ("system1", "system2"), ["One?", "Two?"], 1)
    states = []
    for _ in range(2):
        asking.begin()
        answer(asking, "system1")
        answer(asking, "system2")
        asking.complete()
        states.append(asking.snapshot())
        asking.go_on()
    assert asking.save(states[1]) == asking.save(states[0])
    (path,) = list_comparisons(lab)
    assert load_comparison(path).prompts == ["One?", "Two?"]


def test_a_comparison_that_cannot_be_saved_says_so(lab: Lab) -> None:
    asking = Asking(lab, setting(), ("system1", "system2"), ["One?"], 1)
    asking.begin()
    answer(asking, "system1")
    answer(asking, "system2")
    asking.complete()
    lab.comparisons.write_text("in the way")
    with pytest.raises(LabError, match="could not be saved"):
        asking.save(asking.snapshot())
