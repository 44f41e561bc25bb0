"""Comparing and scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdl_engine.compare.compare import compare_models
from qdl_engine.compare.comparison import (
    Answer,
    ComparisonFile,
    UnsavedComparisonError,
    append_prompt,
    find_comparison,
    list_comparisons,
    load_comparison,
    read_prompts,
    save_comparison,
    weights_written,
)
from qdl_engine.compare.evaluate import exact_match, wilson_interval
from qdl_engine.core.errors import DataError, LabError, SettingsError
from qdl_engine.core.events import Event, Progress
from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import format_prompt
from qdl_engine.models.generate import generate, infer_student
from qdl_engine.models.load import LoadedModel, load_student
from tests.engine.models.test_models import set_stop_tokens
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def student_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_tiny_model(tmp_path_factory.mktemp("compare") / "student", seed=2, lively=True)
    set_stop_tokens(directory, [0, 2, *range(12, 259, 25)])
    return directory


@pytest.fixture(scope="module")
def student(student_path: Path) -> LoadedModel:
    return load_student(student_path)


def test_all_three_side_by_side(student_path: Path, student: LoadedModel, tmp_path: Path) -> None:
    events: list[Event] = []
    comparison = compare_models(
        ["one", "two"],
        teacher_path=student_path,
        sys1_model=student,
        system2_path=student_path,
        max_new_tokens=12,
        system_prompts={"system2": "Think."},
        save_to=tmp_path / "saved.json",
        on_event=events.append,
    )
    assert list(comparison.models) == ["teacher", "system1", "system2"]
    assert not comparison.skipped
    assert [comparison.models[name].mode for name in comparison.models] == ["system1", "system1", "system2"]
    for index, instruction in enumerate(comparison.prompts):
        expected = infer_student(student, instruction, max_new_tokens=12)
        answer = comparison.answers_to(index)["system1"]
        assert answer.answer == Answer.of(expected, 1, 1, 1, "eos").answer
        assert answer.seconds >= answer.first_token_seconds > 0
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3, 4, 5, 6]
    assert load_comparison(tmp_path / "saved.json") == comparison
    assert "system2" in comparison.table()


def test_a_model_that_is_not_there_is_skipped(student: LoadedModel, tmp_path: Path) -> None:
    comparison = compare_models(["one"], system1_path=tmp_path / "gone", sys2_model=student, max_new_tokens=4)
    assert list(comparison.models) == ["system2"]
    assert comparison.skipped["system1"].startswith(f"Model not found at {tmp_path / 'gone'}")
    assert "skipped: Model not found" in comparison.table()


def test_nothing_to_compare(student: LoadedModel) -> None:
    with pytest.raises(SettingsError, match="No prompts"):
        compare_models([], sys1_model=student)
    with pytest.raises(SettingsError, match="No prompts"):
        compare_models("one prompt that is no list", sys1_model=student)
    with pytest.raises(SettingsError, match="No model"):
        compare_models(["one"])


def test_reasoning_and_answer_are_told_apart() -> None:
    answer = Answer.of("<think>\nwhy\n</think>\nyes", 10, 2.0, 0.5, "eos")
    assert (answer.reasoning, answer.answer, answer.tokens_per_second) == ("why", "yes", 5.0)
    assert Answer.of("<think>\nwhy", 10, 0.0, 0.0, "length", "cut").answer == ""


def test_prompts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeff# a comment\n\n  one  \ntwo # not a comment\n", encoding="utf-8")
    assert read_prompts(file) == ["one", "two # not a comment"]
    file.write_text("# nothing\n")
    with pytest.raises(DataError, match="No prompts in"):
        read_prompts(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="Cannot read"):
        read_prompts(file)
    with pytest.raises(DataError, match="Cannot read"):
        read_prompts(tmp_path / "gone.txt")


def test_saved_comparisons_are_listed_newest_first(tmp_path: Path, student: LoadedModel) -> None:
    lab = Lab.at(tmp_path)
    assert list_comparisons(lab) == []
    comparison = compare_models(["one"], sys1_model=student, max_new_tokens=3)
    paths = [save_comparison(lab, comparison) for _ in range(3)]
    assert len(set(paths)) == 3
    assert set(list_comparisons(lab)) == set(paths)
    assert load_comparison(paths[0]) == comparison
    paths[0].write_text("[]")
    with pytest.raises(LabError, match="Not a comparison"):
        load_comparison(paths[0])


def test_exact_match(student: LoadedModel) -> None:
    questions = [f"question {number}" for number in range(12)]
    prompts = [format_prompt(question) for question in questions]
    answers = generate(student, prompts, max_new_tokens=60)
    sound = [(q, a.text) for q, a in zip(questions, answers, strict=True) if not a.reason]
    cut = [(q, a.text) for q, a in zip(questions, answers, strict=True) if a.reason == "cut"]
    assert len(sound) >= 3
    samples = [*sound[:3], (sound[0][0], "certainly not this"), *cut]
    score = exact_match(student, samples, max_new_tokens=60)
    assert (score.correct, score.total) == (3, 4 + len(cut))
    assert score.low < score.accuracy < score.high
    assert score.mean_tokens > 0 and score.tokens_per_second > 0
    same = exact_match(student, samples[:4], max_new_tokens=60, normalise=lambda _: "same")
    assert (same.correct, same.accuracy) == (4, 1.0)
    assert exact_match(student, []).total == 0


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_interval(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("prompt", ["", "  ", None, 5, "half a \ud800"])
def test_a_blank_prompt_is_refused_before_any_model_is_loaded(prompt: Any) -> None:
    with pytest.raises(SettingsError, match="Prompt 2 "):
        compare_models(["hi", prompt], system1_path="/nowhere")


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": -1},
        {"max_new_tokens": 2.5},
        {"temperature": -0.1},
        {"temperature": float("nan")},
    ],
)
def test_a_length_or_temperature_that_cannot_be_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(bounds))):
        compare_models(["hi"], system1_path="/nowhere", **bounds)


def test_one_prompt_that_fails_costs_only_its_own_answer(student: LoadedModel, tmp_path: Path) -> None:
    too_long = "word " * 5000
    saved = tmp_path / "saved.json"
    comparison = compare_models(["one", too_long, "two"], sys1_model=student, max_new_tokens=4, save_to=saved)
    answers = comparison.models["system1"].answers
    assert [answer.failed for answer in answers] == [False, True, False]
    assert "longer than" in answers[1].shown
    assert comparison.models["system1"].mean_tokens == (answers[0].tokens + answers[2].tokens) / 2
    assert "1 of 3 prompts without an answer" in comparison.table()
    assert load_comparison(saved) == comparison


def test_a_model_that_fails_at_every_prompt_is_skipped_and_nothing_is_left(
    student: LoadedModel, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.json"
    comparison = compare_models(["word " * 5000], sys1_model=student, save_to=saved)
    assert comparison.models == {} and "longer than" in comparison.skipped["system1"]
    assert not saved.exists()


def test_what_was_answered_before_an_interrupt_is_saved(student: LoadedModel, tmp_path: Path) -> None:
    def interrupt_after_two(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 2:
            raise KeyboardInterrupt

    saved = tmp_path / "saved.json"
    with pytest.raises(KeyboardInterrupt):
        compare_models(
            ["one", "two", "three"],
            sys1_model=student,
            max_new_tokens=4,
            save_to=saved,
            on_event=interrupt_after_two,
        )
    kept = load_comparison(saved)
    assert len(kept.models["system1"].answers) == 2
    assert kept.answers_to(2) == {}


def test_a_comparison_that_cannot_be_saved_is_not_lost(student: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnsavedComparisonError, match="could not be saved") as caught:
        compare_models(["one"], sys1_model=student, max_new_tokens=4, save_to=tmp_path / "file" / "c.json")
    assert caught.value.comparison.models["system1"].answers


def test_a_growing_file_is_written_at_the_first_answer_then_in_time_and_at_the_end(
    student: LoadedModel, tmp_path: Path
) -> None:
    comparison = compare_models(["one"], sys1_model=student, max_new_tokens=3)
    file = ComparisonFile(lambda: tmp_path / "c.json", every=3600)
    file.keep(comparison)
    comparison.created = "later"
    file.keep(comparison)
    assert load_comparison(tmp_path / "c.json").created != "later"
    file.finish(comparison)
    assert load_comparison(tmp_path / "c.json").created == "later"


def test_an_older_snapshot_never_replaces_a_newer_one(student: LoadedModel, tmp_path: Path) -> None:
    comparison = compare_models(["one"], sys1_model=student, max_new_tokens=3)
    names = iter(("first.json", "second.json"))
    file = ComparisonFile(lambda: tmp_path / next(names))
    older = file.snapshot(comparison)
    comparison.created = "later"
    assert file.write(file.snapshot(comparison)) == file.write(older) == tmp_path / "first.json"
    assert load_comparison(tmp_path / "first.json").created == "later"


def test_a_saved_comparison_is_found_by_its_name(tmp_path: Path, student: LoadedModel) -> None:
    lab = Lab.at(tmp_path)
    with pytest.raises(LabError, match="No saved comparison"):
        find_comparison(lab, "latest")
    comparison = compare_models(["one"], sys1_model=student, max_new_tokens=3)
    first, second = save_comparison(lab, comparison), save_comparison(lab, comparison)
    assert find_comparison(lab, first.stem) == first
    assert find_comparison(lab, second.stem) == second == find_comparison(lab, str(second))
    assert find_comparison(lab, "latest") in (first, second)
    with pytest.raises(LabError, match="2 comparisons begin with"):
        find_comparison(lab, first.stem[:4])
    with pytest.raises(LabError, match="No comparison 'x'"):
        find_comparison(lab, "x")


def test_a_prompt_is_added_once_and_on_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    append_prompt(file, "One?")
    file.write_text("# mine\nOne?", encoding="utf-8")
    append_prompt(file, " Two\n lines? ")
    append_prompt(file, "One?")
    assert file.read_text(encoding="utf-8") == "# mine\nOne?\nTwo lines?\n"
    for nothing in (" ", "# a comment"):
        with pytest.raises(SettingsError, match="Not a prompt"):
            append_prompt(file, nothing)


def test_weights_tell_when_they_were_written(student_path: Path) -> None:
    assert weights_written(str(student_path)).startswith("20")
    assert weights_written("Qwen/Qwen2.5-7B-Instruct") == ""
    assert weights_written("a\0b") == ""
