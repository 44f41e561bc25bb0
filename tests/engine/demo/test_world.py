import subprocess
import sys
from collections import Counter
from itertools import islice

import pytest

from qdl_engine.core.prompts import format_prompt
from qdl_engine.demo.tasks import COUNTRIES
from qdl_engine.demo.world import (
    ALL_TASKS,
    Sample,
    Split,
    Style,
    distinct,
    exam,
    final_answer,
    split_of,
    stream,
)
from tests.engine.demo.solver import solve

PROMPTS: tuple[tuple[Style, str], ...] = (
    ("system1", "Answer directly."),
    ("system2", "Think step by step."),
)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_every_answer_is_right(task: str) -> None:
    for sample in distinct("train", "answers", task, 300):
        assert sample.answer == solve(task, sample.question), sample


@pytest.mark.parametrize("task", ["add", "sub", "mul", "unit", "story", "two"])
def test_every_equation_of_a_chain_holds(task: str) -> None:
    for sample in distinct("train", "chains", task, 200):
        for line in sample.thought.splitlines():
            first, *results = line.split("=")
            if first.startswith("1 ") or not results:
                continue
            borrows = int(results[-1].endswith(" b1")) * 10
            assert eval(first) + borrows == int(results[-1].split(" ")[0]), sample


def test_the_same_seed_gives_the_same_samples() -> None:
    first = list(islice(stream("train", "7"), 200))
    assert first == list(islice(stream("train", "7"), 200))
    assert first != list(islice(stream("train", "8"), 200))
    assert exam("test", 5) == exam("test", 5)


def test_the_held_out_line_does_not_move() -> None:
    """The shipped weights were trained on one side of it."""
    assert [split_of("add", key) for key in ["71,502", "14,732", "681,937"]] == ["test", "dev", "train"]


def test_splits_share_no_operands() -> None:
    keys = {
        split: {(sample.task, sample.key) for sample in islice(stream(split, "keys"), 4_000)}
        for split in ("train", "dev", "test")
    }
    assert not keys["train"] & keys["dev"]
    assert not keys["train"] & keys["test"]
    assert not keys["dev"] & keys["test"]


def test_a_sum_and_its_mirror_are_in_one_split() -> None:
    keys = {sample.question: sample.key for sample in distinct("train", "mirror", "add", 500)}
    for key in keys.values():
        a, b = map(int, key.split(","))
        assert a <= b


def test_an_exam_asks_nothing_twice() -> None:
    questions = [sample.question for sample in exam("test", 100)]
    assert len(questions) == len(set(questions)) > 1_000


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_fact_is_asked_only_where_training_tells_it_in_two_other_wordings(split: Split) -> None:
    told = Counter(_fact(sample) for sample in _facts("train"))
    asked = _facts(split)
    assert len(asked) >= 15
    assert min(told[_fact(sample)] for sample in asked) >= 2


def _facts(split: Split) -> list[Sample]:
    return [sample for task in ("capital", "continent") for sample in distinct(split, "facts", task, 1_000)]


def _fact(sample: Sample) -> tuple[str, str, bool]:
    """What is asked for, and whether the question names the country or its capital."""
    country = sample.key.split(",")[0]
    return sample.task, country, country in sample.question


def test_prompt_is_the_engines_own() -> None:
    sample = distinct("train", "prompt", "add", 1)[0]
    for style, system in PROMPTS:
        assert sample.prompt(style) == format_prompt(sample.question, style, system_prompt=system)
        assert sample.prompt(style) == (
            f"<|im_start|>system\n{system}<|im_end|>\n"
            f"<|im_start|>user\n{sample.question}<|im_end|>\n<|im_start|>assistant\n"
        )


def test_completions_end_and_give_their_answer_back() -> None:
    for sample in exam("dev", 5):
        assert sample.completion("system1") == f"{sample.answer}<|im_end|>"
        reasoned = sample.completion("system2")
        assert reasoned == f"<think>\n{sample.thought}\n</think>\n{sample.answer}<|im_end|>"
        assert final_answer(reasoned) == sample.answer
        assert final_answer(reasoned.split("</think>")[0]) == ""


def test_no_country_hides_in_another_name() -> None:
    names = [name for country in COUNTRIES for name in (country.name, country.capital)]
    hidden = {(a, b) for a in names for b in names if a != b and a in b}
    assert hidden <= {("Mexico", "Mexico City")}


def test_world_needs_no_model_library() -> None:
    code = "import sys, qdl_engine.demo.world, qdl_engine.demo.world; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
