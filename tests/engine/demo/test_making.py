"""The trainer of the shipped models, on a model that is smaller still."""

from itertools import islice
from typing import Any

import pytest
import torch

from qdl_engine.demo.build import COMMANDS
from qdl_engine.demo.lab import BASE_STUDENT
from qdl_engine.demo.making.lessons import (
    REFINEMENT_WEIGHTS,
    WEIGHTS,
    student_lessons,
    teacher_lessons,
)
from qdl_engine.demo.making.training import (
    IGNORED,
    Architecture,
    Encoded,
    Recipe,
    collate,
    new_model,
    orthogonalise,
    schedule,
    train,
)
from qdl_engine.demo.world import ALL_TASKS

TINY = Recipe(Architecture(hidden=32, layers=1, heads=2, kv_heads=1, mlp=64), steps=20, seed=0)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE_STUDENT)


@pytest.mark.parametrize("shape", [(3, 16, 24), (2, 24, 16)])
def test_muon_makes_updates_orthogonal(shape: tuple[int, ...]) -> None:
    updates = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalise(updates))
    assert singular.min() > 0.6
    assert singular.max() < 1.4


def test_prompt_and_padding_carry_no_loss() -> None:
    inputs, labels = collate([Encoded([1, 2, 3, 4], 2), Encoded([5, 6], 1)], padding=9)
    assert inputs.tolist() == [[1, 2, 3, 4], [5, 6, 9, 9]]
    assert labels.tolist() == [[IGNORED, IGNORED, 3, 4], [IGNORED, 6, IGNORED, IGNORED]]


def test_schedule_rises_holds_and_falls() -> None:
    values = [schedule(done, warmup=0.1, decay=0.5) for done in (0.0, 0.05, 0.3, 0.75, 1.0)]
    assert values == pytest.approx([0.0, 0.5, 1.0, 0.51, 0.02])


def test_the_same_recipe_gives_the_same_weights(tokenizer: Any) -> None:
    losses = []
    for _ in range(2):
        model = new_model(tokenizer, TINY.architecture, TINY.seed)
        losses.append(train(model, tokenizer, teacher_lessons(0), TINY).loss)
    assert losses[0] == losses[1]
    assert losses[0] < 6.6


def test_teacher_practises_every_task_in_both_styles() -> None:
    for weights in (WEIGHTS, REFINEMENT_WEIGHTS):
        assert all(set(tasks) == set(ALL_TASKS) for tasks in weights.values())


def test_base_student_is_taught_no_task() -> None:
    drills = ("Repeat", "Write", "Spell", "What is", "What day comes after")
    for lesson in islice(student_lessons(0), 500):
        question = lesson.prompt.split("user\n")[1]
        assert lesson.answer == "" or question.startswith(drills)


def test_everything_that_ships_can_be_built() -> None:
    assert COMMANDS == ("tokenizer", "student", "teacher", "refinement", "chains")
