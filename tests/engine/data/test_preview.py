"""Rows as a person looks at them: filtered, rendered, and a source through its mapping before preparing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.data.preview import (
    RowFilter,
    SourceHead,
    find_rows,
    guess_mapping,
    map_head,
    read_head,
    read_report,
    render_row,
)
from qdl_engine.data.report import report_lines
from qdl_engine.settings import System1Settings, System2Settings
from tests.engine.data.words import write_lines

ROW = {"instruction": "Two trains meet.", "output": "At NOON.", "rv": 3, "cd": 4.5}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    return lab


@pytest.mark.parametrize(
    ("words", "kept"),
    [("", True), ("two TRAINS", True), ("noon", True), ("trains two", False), ("rv:3", True), ("rv:4", False),
     ("RV:2-3 cd:4-", True), ("cd:-4", False), ("cd:4..5 noon", True), ("cd:4..5 moon", False)],
)  # fmt: skip
def test_a_filter_keeps_texts_and_levels(words: str, kept: bool) -> None:
    assert RowFilter.parse(words).keeps(ROW) is kept


def test_a_row_without_a_level_is_outside_of_every_range() -> None:
    assert not RowFilter.parse("rv:0-9").keeps({"instruction": "x", "output": None, "rv": None})


@pytest.mark.parametrize("words", ["rv:", "rv:x", "cd:5-2", "rv:-", "cd:10"])
def test_a_range_that_is_none_says_what_is_accepted(words: str) -> None:
    with pytest.raises(SettingsError, match="Not a range"):
        RowFilter.parse(words)


def test_rows_are_found_by_number_and_the_search_can_be_stopped(lab: Lab) -> None:
    assert list(find_rows(lab, "system2", RowFilter())) == []
    write_json_atomic(lab.omnithought_cot, [{**ROW, "rv": level} for level in (1, 5, 5)])
    assert [number for number, _row in find_rows(lab, "system2", RowFilter.parse("rv:5"))] == [2, 3]
    assert list(find_rows(lab, "system2", RowFilter(), cancelled=lambda: True)) == []


def test_the_trained_part_ends_with_the_end_token_or_is_empty() -> None:
    rendered = render_row(1, ROW, "system2", "Think.")
    assert rendered.trained == "At NOON.<|im_end|>"
    assert rendered.prompt.endswith("<|im_start|>assistant\n") and "Think." in rendered.prompt
    assert render_row(1, {"instruction": "x", "output": None}, "system1", "").trained == ""


def recipe(source: Path, **values: Any) -> System1Settings:
    return System1Settings(source=str(source), **values)


def test_a_mapping_is_laid_over_the_first_rows(lab: Lab, tmp_path: Path) -> None:
    rows = [{"q": f"What is {n}?", "nested": {"a": str(n)}, "list": [{"b": None}]} for n in range(30)]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    source.write_text("{broken\n" + source.read_text())
    head = read_head(lab, recipe(source))
    assert len(head.rows) == 20
    assert list(head.columns) == ["q", "nested", "nested.a", "list", "list.0", "list.0.b"]
    assert head.columns["nested.a"] == "0"
    with pytest.raises(DataError, match="q"):
        map_head(head, recipe(source))
    mapping = {"instruction": "q", "output": "nested.a"}
    fields, mapped = map_head(head, recipe(source, fields="mapping", mapping=mapping))
    assert fields == "mapping"
    assert str(mapped[0].place) == "line 1" and mapped[0].dropped.startswith("broken: not valid JSON")
    assert mapped[2].rendered is not None and mapped[2].rendered.trained == "1<|im_end|>"
    assert SourceHead.from_dict(json.loads(json.dumps(head.to_dict()))) == head


def test_a_chain_that_the_filter_drops_says_which_step(lab: Lab, tmp_path: Path) -> None:
    chains = [{"thought": "t", "solution": "s", "Reasoning_Verbosity": {"level": n}} for n in (2, 8)]
    source = write_lines(tmp_path / "rows.jsonl", [{"question": "q", "reasoning": chains}])
    settings = System2Settings(source=str(source), rv_max=5)
    fields, mapped = map_head(read_head(lab, settings), settings)
    assert fields == "omnithought"
    assert mapped[0].rendered is not None and mapped[0].rendered.row["rv"] == 2
    assert mapped[1].dropped == "outside RV: RV 8: q"


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (["question", "answer"], {"instruction": "question", "output": "answer"}),
        (["prompt", "thought", "solution", "rv"],
         {"instruction": "prompt", "thought": "thought", "answer": "solution", "rv": "rv"}),
        (["x"], {}),
    ],
)  # fmt: skip
def test_a_mapping_begins_with_the_columns_that_say_what_they_are(
    columns: list[str], mapping: dict[str, str]
) -> None:
    assert guess_mapping(columns) == mapping


def test_the_saved_report_names_the_rows_left_out(lab: Lab) -> None:
    assert read_report(lab, "system1") == {}
    lab.report_file("system1").write_text("{", encoding="utf-8")
    assert read_report(lab, "system1") == {}
    examples = [
        {"line": 17, "row": 0, "detail": "not valid JSON"},
        {"line": 1, "row": 3, "detail": "\x1b[2J"},
    ]
    steps = [
        {"name": "read", "dropped": 0, "remaining": 9, "why": "", "examples": []},
        {"name": "broken", "dropped": 5, "remaining": 4, "why": "no JSON object", "examples": examples},
        {"name": "empty", "dropped": 0, "remaining": 4, "why": "", "examples": []},
    ]
    tokens = {
        "minimum": 10,
        "median": 12,
        "p95": 14,
        "maximum": 14,
        "histogram": [[10, 12, 1], [12, 15, 100]],
    }
    report = {"source": "a\x1b", "source_rows": 9, "kept": 4, "steps": steps, "tokens": tokens}
    lines = report_lines(report)
    assert "  line 17: not valid JSON" in lines and "  line 1, row 3: ␛[2J" in lines
    assert "  and 3 more" in lines
    assert any("10-11 ▏" in line for line in lines)
    assert not any(line.startswith("empty") for line in lines)
    figures = "minimum 10, median 12, p95 14, maximum 14"
    assert f"Tokens per row: {figures}" in lines
    before = report_lines({**report, "settings": {"label": True}})
    assert f"Tokens per row, before labelling (the prompt alone): {figures}" in before
