"""What 2.x wrote, read with suspicion; questions as people write them down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError
from qdl_engine.data.schemas import chains_of, choose_schema
from qdl_engine.upstream.version2.configs import ShardFiles
from qdl_engine.upstream.version2.harvest import harvest
from qdl_engine.upstream.version2.questions import read_questions
from tests.engine.upstream.version2.conftest import wish, write_lines


def test_scores_off_the_scale_are_no_scores(tmp_path: Path) -> None:
    files = ShardFiles(tmp_path)
    write_lines(files.input, [{"id": str(number), "problem": "same"} for number in range(4)])
    whole = "<|begin_of_thought|>t<|end_of_thought|> <|begin_of_solution|>s"
    scores: list[dict[str, Any]] = [
        {"reasoning_verbosity": 9, "cognitive_difficulty": 0, "logical_correctness": True},
        {"reasoning_verbosity": 12, "cognitive_difficulty": 3, "logical_correctness": False},
        {"reasoning_verbosity": None, "cognitive_difficulty": True},
    ]
    responses = [whole, "no tags", whole]
    write_lines(
        files.scored,
        [
            {"instruction": "same", "response": response} | score
            for response, score in zip(responses, scores, strict=True)
        ],
    )
    result = harvest(wish("advanced_cot_distill"), files)
    assert (result.requested, result.answered) == (4, 3)
    assert result.counts == {"without reasoning": 1, "unscored": 2}
    name, schema = choose_schema("auto", {}, result.rows, source="x")
    first, second, third = (chain for row in result.rows for chain in chains_of(row, schema))
    assert name == "omnithought"
    assert (first.thought, first.answer, first.rv, first.cd, first.verified) == ("t", "s", 9, 0, True)  # type: ignore[union-attr]
    assert (second.answer, second.rv, second.cd, second.verified) == ("no tags", None, 3, False)  # type: ignore[union-attr]
    assert (third.rv, third.cd, third.verified) == (None, None, None)  # type: ignore[union-attr]


def test_pairs_of_equal_answers_are_no_pairs(tmp_path: Path) -> None:
    files = ShardFiles(tmp_path)
    write_lines(files.input, [{"id": "4", "instruction": "q"}, {"id": "5", "instruction": "r"}])
    write_lines(files.answered, [{"candidates": ["a", "b"]}, {"candidates": ["a", "a "]}])
    pair = {"chosen_score": 2.0, "rejected_score": 1.0}
    write_lines(
        files.scored,
        [
            pair | {"id": "4", "instruction": "q", "chosen": "a", "rejected": "b"},
            pair | {"id": "5", "instruction": "r", "chosen": "a", "rejected": "a "},
        ],
    )
    result = harvest(wish("dpo_data_build", system_prompt=""), files)
    assert [row["id"] for row in result.rows] == ["4"] and result.counts == {"no pair": 1}
    assert result.rows[0]["prompt"] == [{"role": "user", "content": "q"}]


def test_questions_are_read_by_the_names_people_give_them(tmp_path: Path) -> None:
    rows = [
        {"problem": "1 and 1?", "answer": "2"},
        {"instruction": "Add.", "input": "1 and 2", "output": ""},
        {"problem": "1 and 1?", "answer": "again"},
        {"text": "nothing"},
    ]
    path = tmp_path / "questions.jsonl"
    write_lines(path, rows)
    assert read_questions(path) == [("1 and 1?", "2"), ("Add.\n\n1 and 2", "")]
    write_lines(path, rows[3:])
    with pytest.raises(DataError, match="its columns: text"):
        read_questions(path)
    with pytest.raises(DataError, match="not found"):
        read_questions(tmp_path / "none.jsonl")
