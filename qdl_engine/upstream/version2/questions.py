"""The questions that a job of EasyDistill 2.x is given, read by the columns that people call them by."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import DataError
from qdl_engine.data.schemas import merge_input
from qdl_engine.data.sources import read_file
from qdl_engine.upstream.version2.report import Question

QUESTION_COLUMNS = ("instruction", "question", "problem", "prompt")
ANSWER_COLUMNS = ("answer", "output", "solution", "response")


def read_questions(path: Path) -> list[Question]:
    """Every question of a file with its answer, if it has one; repeated questions are asked once.

    Raises:
        DataError: when the file is not there, or no row of it asks anything.
    """
    if not path.is_file():
        raise DataError(f"Data file not found: {path}", "Name a JSON, JSONL or Parquet file of questions.")
    found: dict[str, str] = {}
    columns: Counter[str] = Counter()
    for row in read_file(path):
        if row.problem or not isinstance(row.value, dict):
            continue
        columns.update(row.value.keys())
        question = merge_input(_text(row.value, QUESTION_COLUMNS), _text(row.value, ("input",)))
        if question.strip():
            found.setdefault(question, _text(row.value, ANSWER_COLUMNS))
    if not found:
        names = ", ".join(sorted(columns)[:12]) or "none"
        raise DataError(
            f"No questions in {path}; its columns: {names}",
            f"A question stands under {', '.join(QUESTION_COLUMNS[:-1])} or {QUESTION_COLUMNS[-1]}.",
        )
    return list(found.items())


def _text(row: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := row.get(name), str) and value.strip()), "")
