"""The shipped models and tokenizer, as they are loaded by everybody."""

import json
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.demo.exam import Paper, sit
from qdl_engine.demo.lab import ASSETS, BASE_STUDENT, CHAINS, TEACHER
from qdl_engine.demo.report import score
from qdl_engine.demo.world import ALL_TASKS, exam, system2_samples
from qdl_engine.models.generate import generate
from qdl_engine.models.load import load_student


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TEACHER)


def test_tokenizer_gives_back_what_it_read(tokenizer: Any) -> None:
    for sample in exam("dev", 5):
        text = sample.prompt("system2") + sample.completion("system2")
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    for text in ("Größe 漢字 🙂", "a  b\n\n c\t"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_tokenizer_is_built_like_qwens(tokenizer: Any) -> None:
    assert len(tokenizer) == 800
    assert len(tokenizer("2026")["input_ids"]) == 4
    assert len(tokenizer("<|im_start|><think></think><|im_end|>")["input_ids"]) == 4
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_chat_template_renders_the_engines_prompt(tokenizer: Any) -> None:
    for sample in exam("dev", 1):
        messages = [
            {"role": "system", "content": "Think step by step."},
            {"role": "user", "content": sample.question},
        ]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert rendered == sample.prompt("system2")


def test_both_models_share_one_tokenizer() -> None:
    assert (TEACHER / "tokenizer.json").read_bytes() == (BASE_STUDENT / "tokenizer.json").read_bytes()


def test_assets_are_small() -> None:
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 8e6


@pytest.mark.parametrize("directory", [TEACHER, BASE_STUDENT])
def test_models_are_qwen2(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen2ForCausalLM"]


def test_teacher_is_right_when_it_reasons() -> None:
    marks = sit(Paper("teacher", str(TEACHER), "system2", ALL_TASKS, per_task=16))
    assert score(marks).asked >= 200
    assert score(marks).accuracy >= 0.95


def test_base_student_knows_none_of_the_tasks() -> None:
    for style in ("system1", "system2"):
        marks = sit(Paper("base", str(BASE_STUDENT), style, ALL_TASKS, per_task=8))
        assert score(marks).accuracy < 0.05


def test_card_says_what_the_models_were_measured_at() -> None:
    card = json.loads((ASSETS / "card.json").read_text(encoding="utf-8"))
    assert card["refinement"]["test"]["system2"]["accuracy"] > 0.95
    assert card["student"]["test"]["system2"]["accuracy"] < 0.05
    for entry in card.values():
        assert entry["training"]["steps"] == entry["recipe"]["steps"]
        assert {"seed", "muon_lr", "adamw_lr"} <= entry["recipe"].keys()


def test_chains_are_the_teachers_own() -> None:
    chains = json.loads(CHAINS.read_text(encoding="utf-8"))
    samples = system2_samples(len(chains["reasoned"]), chains["seed"])
    teacher = load_student(TEACHER)
    prompts = [sample.prompt("system2") for sample in samples[:64]]
    texts = [answer.text for answer in generate(teacher, prompts, max_new_tokens=120, batch_size=64)]
    same = sum(text == stored for text, stored in zip(texts, chains["reasoned"], strict=False))
    # Another processor may round a tie the other way.
    assert same >= 62
