"""A tokenizer that counts words, and rows in the shapes of the named schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qdl_engine.core.prompts import format_prompt
from qdl_engine.settings import System1Settings, System2Settings


class WordTokenizer:
    """One token for each word: a real tokenizer, and one whose lengths a test can count by eye."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> dict[str, list[list[str]]]:
        return {"input_ids": [one.split() for one in text]}


def prompt_words(instruction: str = "") -> int:
    return len(format_prompt(instruction, "system1").split())


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def record(thought: str, solution: str, rv: Any = 5, cd: Any = 5, verified: Any = True) -> dict[str, Any]:
    return {
        "thought": thought,
        "solution": solution,
        "thought_correctness_verify": verified,
        "Reasoning_Verbosity": {"level": rv, "judge": "QwQ-32B"},
        "Cognitive_Difficulty": {"level": cd, "judge": "QwQ-32B"},
    }


def system1(source: Path, **values: Any) -> System1Settings:
    return System1Settings(source=str(source), **values)


def system2(source: Path, **values: Any) -> System2Settings:
    return System2Settings(source=str(source), **values)
