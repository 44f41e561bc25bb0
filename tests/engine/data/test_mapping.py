"""A mapping to columns that the source has not: named before anything is read through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.events import no_sink
from qdl_engine.core.lab import Lab
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.data.schemas import at_path, check_mapping, columns_of, has_path
from qdl_engine.teachers.file import FileTeacher
from tests.engine.data.words import WordTokenizer, system1, system2, write_lines

WORDS = WordTokenizer()
ROWS: list[dict[str, Any]] = [{"question": "Why?", "reply": "So.", "meta": {"level": 3}}] * 3
OMNI: list[dict[str, Any]] = [
    {"question": "Why?", "reasoning": [{"thought": "because", "solution": "So.", "rv": 3}]}
]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.at(tmp_path / "lab")


@pytest.mark.parametrize(
    ("rows", "mapping", "named", "hint"),
    [
        (ROWS, {"instruction": "qestion", "output": "reply"}, "'qestion' (instruction)", "'question'?"),
        (ROWS, {"instruction": "question", "output": "REPLY"}, "'REPLY' (output)", "mean 'reply'?"),
        (ROWS, {"instruction": "question", "rv": "meta.levl"}, "'meta.levl' (rv)", "'meta.level'?"),
        (ROWS, {"instruction": "zz", "output": "ww"}, "'zz' (instruction), 'ww' (output)", "Its columns:"),
        (
            OMNI,
            {"instruction": "question", "thought": "reasoning[].thought", "answer": "reasoning[0].solution"},
            "'reasoning[].thought' (thought), 'reasoning[0].solution' (answer)",
            "Did you mean 'reasoning.0.thought' and 'reasoning.0.solution'?",
        ),
        (OMNI, {"instruction": "question", "answer": "reasoning.solution"}, "(answer)", '"omnithought"'),
    ],
)
def test_a_column_that_is_not_there_is_named_with_the_nearest_and_with_all(
    rows: list[dict[str, Any]], mapping: dict[str, str], named: str, hint: str
) -> None:
    with pytest.raises(DataError) as refused:
        check_mapping(mapping, rows, source="here")
    assert f"the first {len(rows)} rows of here" in refused.value.message and named in refused.value.message
    assert hint in refused.value.hint and "Its columns: question, " in refused.value.hint


@pytest.mark.parametrize(
    ("row", "path", "there"),
    [
        ({"a.b": 1}, "a.b", True),
        ({"a": None}, "a.b.c", True),
        ({"a": []}, "a.0.b", True),
        ({"a": [{"b": 1}]}, "a.4.b", True),
        ({"a": [{"b": 1}]}, "a.0.c", False),
        ({"a": [{"b": 1}]}, "a.b", False),
        ({"a": "text"}, "a.b", False),
        ({"a": 1}, "b", False),
        ({"a": [1]}, "a.²", False),
        ({"a": [1]}, "a." + "9" * 5000, False),
        ({"a": b"12"}, "a.0", False),
    ],
)
def test_below_a_null_or_beyond_the_end_of_a_list_a_row_cannot_tell(
    row: dict[str, Any], path: str, there: bool
) -> None:
    assert has_path(row, path) is there


@pytest.mark.parametrize(
    "row",
    [
        {"a.b": {"c": 1}},
        {"a": {"b.c": 1}},
        {"a": None, "a.b": {"c": 1}},
        {"a": {"b": {"c": 1}}, "a.b": None},
        {"y.z": {"..": 1}},
    ],
)
def test_every_path_that_is_offered_leads_to_its_value_whatever_dots_its_names_hold(
    row: dict[str, Any],
) -> None:
    assert all(has_path(row, path) for path, _ in columns_of(row))
    assert [at_path(row, path) for path, value in columns_of(row) if value == 1] == [1]


@pytest.mark.parametrize("fields", ["auto", "mapping"])
def test_preparing_refuses_it_and_keeps_what_was_prepared(lab: Lab, tmp_path: Path, fields: str) -> None:
    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    lab.create_directories()
    lab.train_labeled.write_text("[]")
    mapping = {"instruction": "qestion", "output": "reply"}
    with pytest.raises(DataError, match="qestion"):
        prepare_system1_dataset(lab, system1(source, fields=fields, mapping=mapping), tokenizer=WORDS)
    assert lab.train_labeled.read_text() == "[]"
    source = write_lines(tmp_path / "omni.jsonl", OMNI)
    mapping = {"instruction": "question", "thought": "reasoning.0.thoughts", "answer": "reasoning.0.solution"}
    with pytest.raises(DataError, match=r"reasoning\.0\.thoughts") as refused:
        prepare_system2_dataset(lab, system2(source, fields=fields, mapping=mapping), tokenizer=WORDS)
    assert "'reasoning.0.thought'" in refused.value.hint


def test_names_that_look_the_same_are_told_apart_and_no_name_fills_the_screen() -> None:
    rows: list[dict[str, Any]] = [{"questio\u0301n": "Why?", "x" * 5000: 1, "a\n\x1b[31mb": 2}]
    with pytest.raises(DataError) as refused:
        check_mapping({"instruction": "questi\u00f3n"}, rows, source="here")
    assert r"Did you mean 'questio\u0301n'?" in refused.value.hint
    assert "xx…, a ␛[31mb." in refused.value.hint and len(refused.value.hint) < 200


def test_a_column_that_comes_late_is_no_mistake(lab: Lab, tmp_path: Path) -> None:
    rows = [{"q": f"Say {at}.", "a": "so"} | ({"context": "it"} if at == 40 else {}) for at in range(50)]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    mapping = {"instruction": "q", "input": "context", "output": "a"}
    report = prepare_system1_dataset(lab, system1(source, mapping=mapping, rows=100), tokenizer=WORDS)
    assert report.kept == 50


def test_a_column_is_looked_for_in_few_rows_when_they_are_large(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdl_engine.data.prepare._CHARACTERS_TO_FIND_COLUMNS", 10_000)
    source = write_lines(tmp_path / "rows.jsonl", [{"q": "long " * 100}] * 100)
    mapping = {"instruction": "q", "output": "a"}
    with pytest.raises(DataError, match=r"the first 20 rows of .* lack"):
        prepare_system1_dataset(lab, system1(source, mapping=mapping), tokenizer=WORDS)


def test_where_the_teacher_answers_no_answer_need_be_there(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"q": "one"}, {"q": "two"}])
    mapping = {"instruction": "q", "output": "a"}
    report = prepare_system1_dataset(lab, system1(source, mapping=mapping, label=True), tokenizer=WORDS)
    assert report.kept == 2
    with pytest.raises(DataError, match="'p'"):
        prepare_system1_dataset(
            lab, system1(source, mapping={"instruction": "p"}, label=True), tokenizer=WORDS
        )


def test_a_mapping_that_a_named_schema_passes_over_is_not_looked_at(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"question": "one", "answer": "1"}])
    settings = system1(source, fields="qa", mapping={"instruction": "other"})
    assert prepare_system1_dataset(lab, settings, tokenizer=WORDS).kept == 1


def test_a_teacher_of_a_file_names_it_too(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "answers.jsonl", ROWS)
    mapping = {"instruction": "question", "output": "repli"}
    with pytest.raises(DataError, match="'repli'") as refused:
        FileTeacher(path, fields="mapping", mapping=mapping).load(no_sink)
    assert "'reply'" in refused.value.hint
    with pytest.raises(SettingsError, match="instruction"):
        FileTeacher(path, fields="mapping", mapping={"output": "reply"}).load(no_sink)
