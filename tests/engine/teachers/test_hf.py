"""Weights in this process: what each word of teacher.quantization makes of them, and who can give logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from qdl_engine.core.events import no_sink
from qdl_engine.models.load import load_teacher
from qdl_engine.settings import TeacherSettings
from qdl_engine.teachers.base import Question, TeacherAnswer
from qdl_engine.teachers.make import make_teacher
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("hf") / "teacher", seed=3, hidden=64, lively=True)


@pytest.mark.parametrize(
    ("quantization", "layer", "dtype"),
    [
        ("8bit", "Linear8bitLt", torch.int8),
        ("4bit", "Linear4bit", torch.uint8),
        ("bf16", "Linear", torch.bfloat16),
        ("none", "Linear", torch.float32),
    ],
)
def test_weights_are_held_as_the_settings_say_and_answer(
    path: Path, quantization: Any, layer: str, dtype: torch.dtype
) -> None:
    projection = load_teacher(path, quantization=quantization, device="cpu").model.model.layers[0].mlp.up_proj
    assert (type(projection).__name__, projection.weight.dtype) == (layer, dtype)
    settings = TeacherSettings(model=str(path), quantization=quantization, max_new_tokens=4, batch_size=2)
    teacher = make_teacher(settings, Path())
    results = dict(teacher.answer_each([Question(text, "") for text in "abc"], on_event=no_sink))
    assert sorted(results) == [0, 1, 2]
    assert all(isinstance(result, TeacherAnswer) and result.tokens for result in results.values())


def test_4_bit_computes_in_what_the_device_does_best(path: Path) -> None:
    config = load_teacher(path, quantization="4bit", device="cpu").model.config.quantization_config
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_compute_dtype) == ("nf4", torch.float32)


def test_each_kind_of_weights_has_answers_of_its_own(path: Path) -> None:
    question = Question("hello", "")
    words: tuple[Any, ...] = ("8bit", "4bit", "bf16", "none")
    keys = {
        make_teacher(TeacherSettings(model=str(path), quantization=word), Path()).key(question)
        for word in words
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("kind", "logits"), [("hf", "all"), ("vllm", "top-k"), ("server", "top-k"), ("file", "none")]
)
def test_a_teacher_says_what_it_can_tell_of_its_logits(kind: Any, logits: str, tmp_path: Path) -> None:
    settings = TeacherSettings(kind=kind, url="http://localhost:1/v1", answers="answers.json")
    assert make_teacher(settings, tmp_path).logits == logits
