"""Schemas: what each makes of a row, how `auto` chooses among them, and mappings to missing columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.events import no_sink
from qdl_engine.core.lab import Lab
from qdl_engine.data.json_rows import SourceRow
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.data.preview import SourceHead
from qdl_engine.data.schemas import (
    SCHEMAS,
    Chain,
    Drop,
    as_level,
    as_verdict,
    at_path,
    chains_of,
    check_mapping,
    choose_schema,
    columns_of,
    detect_schema,
    has_path,
    mapped,
    schema_columns,
)
from qdl_engine.teachers.file import FileTeacher
from tests.engine.data.words import WordTokenizer, system1, system2, write_lines

WORDS = WordTokenizer()
Rows = list[dict[str, Any]]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.at(tmp_path / "lab")


def chains(fields: str, row: Any, mapping: dict[str, str] | None = None) -> list[Chain | Drop]:
    return chains_of(row, choose_schema(fields, mapping or {}, [], source="test")[1])


def only(fields: str, row: Any, mapping: dict[str, str] | None = None) -> Chain | Drop:
    (chain,) = chains(fields, row, mapping)
    return chain


SYSTEM = {"role": "system", "content": "Be kind."}
USER, REPLY = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
PARTS = {"role": "assistant", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}


@pytest.mark.parametrize(
    ("fields", "row", "chain"),
    [
        ("distilqwen", {"instruction": "Hi", "output": "Hello"}, Chain("Hi", "Hello")),
        # A Markdown heading is a final line only in `qa`.
        ("distilqwen", {"instruction": "Write.", "output": "A\n#### B"}, Chain("Write.", "A\n#### B")),
        ("alpaca", {"instruction": "Go.", "input": "Tag", "output": "day"}, Chain("Go.\n\nTag", "day")),
        ("alpaca", {"instruction": "Go.", "input": "", "output": "day"}, Chain("Go.", "day")),
        ("alpaca", {"instruction": "Q", "output": "<think>\na\n</think>\nb"}, Chain("Q", "b", "a")),
        (
            "alpaca",
            {"instruction": "Q", "output": "<think>\nnever ends"},
            Chain("Q", "", "never ends", cut=True),
        ),
        (
            "qa",
            {"question": "How many?", "answer": "3 and 4\n#### is a comment\n7 in all\n#### 7"},
            Chain("How many?", "7", "3 and 4\n#### is a comment\n7 in all"),
        ),
        ("qa", {"question": "How many?", "answer": "7"}, Chain("How many?", "7")),
        (
            "messages",
            {"messages": [{"role": "system", "content": "Be kind."}, USER, REPLY]},
            Chain("Hi", "Hello"),
        ),
        ("messages", {"messages": [USER]}, Chain("Hi", "")),
        (
            "messages",
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
            Chain("Hi", "Hello"),
        ),
        ("messages", {"messages": [USER, PARTS | {"reasoning_content": "hm"}]}, Chain("Hi", "Hello", "hm")),
        ("messages", {"messages": [USER, REPLY] * 2}, Drop("multi-turn", "user assistant user assistant")),
        (
            "omnithought",
            {"question": "Q", "reasoning": [{"full_response": "<think>\nbecause\n</think>\nA"}]},
            Chain("Q", "A", "because"),
        ),
        (
            "distilqwen",
            {"instruction": {"a": 1}, "output": "x"},
            Drop("broken", "instruction is dict, not text"),
        ),
    ],
)
def test_a_row_becomes_a_chain_or_a_reason(fields: str, row: Any, chain: Chain | Drop) -> None:
    assert only(fields, row) == chain


@pytest.mark.parametrize(
    ("output", "chain"),
    [
        ("<|begin_of_thought|> Add. <|end_of_thought|>\n<|begin_of_solution|> 2", Chain("Q", "2", "Add.")),
        ("<thinking>Add.</thinking><answer>2</answer>", Chain("Q", "2", "Add.")),
        ("<|begin_of_thought|>Add", Chain("Q", "Add", cut=True)),
        ("<|begin_of_thought|>Add<|end_of_thought|>", Chain("Q", "Add")),
    ],
)
def test_reasoning_in_the_tags_of_easydistill_moves_to_the_thought(output: str, chain: Chain) -> None:
    assert only("distilqwen", {"instruction": "Q", "output": output}) == chain


OMNI = {
    "question": "What is 2 + 2?",
    "reasoning": [
        {
            "thought": "Two and two.",
            "solution": "4",
            "full_response": "ignored",
            "thought_correctness_verify": True,
            "Reasoning_Verbosity": {"level": 4, "judge": "QwQ-32B"},
            "Cognitive_Difficulty": {"level": 1, "judge": "QwQ-32B"},
        },
        {"thought": "Guess.", "solution": "5", "thought_correctness_verify": False},
        "no record",
        {"thought": ["x"]},
        {
            "thought": "<|begin_of_thought|>\nwhy\n<|end_of_thought|>",
            "solution": "<|begin_of_solution|>42<|end_of_solution|>",
        },
        {"thought": "<think>\nwhy\n</think>", "solution": "42"},
    ],
}


def test_omnithought_gives_each_record_its_own_levels_and_its_own_fault() -> None:
    question = "What is 2 + 2?"
    assert chains("omnithought", OMNI) == [
        Chain(question, "4", "Two and two.", rv=4, cd=1, verified=True),
        Chain(question, "5", "Guess.", verified=False),
        Drop("broken", "reasoning[2] is not a record"),
        Drop("broken", "reasoning[3].thought is list, not text"),
        Chain(question, "42", "why"),
        Chain(question, "42", "why"),
    ]


@pytest.mark.parametrize("reasoning", ["text", None, 3, {"thought": "x"}])
def test_omnithought_without_a_list_of_records_is_broken(reasoning: Any) -> None:
    found = only("omnithought", {"question": "Q", "reasoning": reasoning})
    assert found == Drop("broken", "reasoning is not a list of records")


def test_a_mapping_takes_dotted_paths_and_names_what_it_does_not_know() -> None:
    row = {"meta": {"q": "Q"}, "steps": [{"text": "why"}], "result": 7, "level": "3"}
    mapping = {"instruction": "meta.q", "thought": "steps.0.text", "answer": "result", "rv": "level"}
    assert only("mapping", row, mapping) == Chain("Q", "7", "why", rv=3)
    with pytest.raises(SettingsError, match="'instruction'"):
        mapped({"instuction": "q"})
    with pytest.raises(SettingsError, match="no instruction column"):
        mapped({"output": "a"})


@pytest.mark.parametrize("row", ["text", 3, None, ["a"]])
def test_a_row_that_is_not_an_object_is_broken(row: Any) -> None:
    assert isinstance(only("distilqwen", row), Drop)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_hold_is_broken(value: float) -> None:
    drop = only("distilqwen", {"instruction": "a", "output": value})
    assert isinstance(drop, Drop) and drop.step == "broken" and "output is" in drop.detail


@pytest.mark.parametrize("column", ["question", "thought", "solution"])
def test_half_a_surrogate_pair_is_broken_wherever_it_stands(column: str) -> None:
    row = {"question": "q", "thought": "t", "solution": "s"} | {column: "half \ud800"}
    drop = only("omnithought", {"question": row["question"], "reasoning": [row]})
    assert isinstance(drop, Drop) and (drop.step, drop.detail[:17]) == ("broken", "not valid Unicode")


@pytest.mark.parametrize(
    ("value", "level"),
    [(4, 4), (4.5, 4.5), ("4", 4), ({"level": 4}, 4), (None, None), (True, None), (12, None), ("x", None),
     (float("nan"), None), ({}, None), (-1, None), (0, 0), (9, 9)],
)  # fmt: skip
def test_levels(value: Any, level: float | None) -> None:
    assert as_level(value) == level


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(True, True), (False, False), (None, None), ("True", True), ("false", False), (1, True), (0, False),
     ({"judge": "?"}, False)],
)  # fmt: skip
def test_an_unreadable_verdict_does_not_pass(value: Any, verdict: bool | None) -> None:
    assert as_verdict(value) is verdict


SAMPLES: dict[str, dict[str, Any]] = {
    "distilqwen": {"instruction": "i", "output": "o", "rv": 3, "cd": 4},
    "alpaca": {"instruction": "i", "input": "n", "output": "o"},
    "qa": {"question": "q", "answer": "because\n#### 4", "verified": True},
    "messages": {"messages": [USER, REPLY]},
    "omnithought": {"question": "q", "reasoning": [{"thought": "t", "solution": "s", "rv": 3, "cd": 4}]},
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_is_recognised_and_reads_exactly_the_columns_it_names(schema: str) -> None:
    assert detect_schema([SAMPLES[schema]], source="test") == schema
    row = {**SAMPLES[schema], "id": 1, "source": "web", "context": "c"}
    columns = SourceHead("rows", (SourceRow(1, row),)).columns
    used = set(schema_columns(schema, columns).values())
    marked = {name: row[name] for name in {column.partition(".")[0] for column in used}}
    assert chains_of(marked, SCHEMAS[schema]) == chains_of(row, SCHEMAS[schema])
    for column in used:
        without = {name: value for name, value in row.items() if name != column.partition(".")[0]}
        assert chains_of(without, SCHEMAS[schema]) != chains_of(row, SCHEMAS[schema]), column


def test_auto_names_unknown_columns_and_prefers_a_mapping() -> None:
    assert detect_schema([{"instruction": "prompts alone"}], source="test") == "distilqwen"
    with pytest.raises(DataError, match="here: completion, prompt"):
        detect_schema([{"prompt": "a", "completion": "b"}], source="here")
    assert choose_schema("auto", {"instruction": "q"}, [{"question": ""}], source="t")[0] == "mapping"
    with pytest.raises(SettingsError, match="'alpaca'"):
        choose_schema("alpacca", {}, [], source="t")


# Paths and mappings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "path", "there", "value"),
    [
        ({"a.b": 1}, "a.b", True, 1),
        ({"a": {"b": 2}}, "a.b", True, 2),
        ({"a": None}, "a.b.c", True, None),
        ({"a": []}, "a.0.b", True, None),
        ({"a": [{"b": 1}]}, "a.4.b", True, None),
        ({"a": [{"b": 1}]}, "a.0.c", False, None),
        ({"a": [{"b": 1}]}, "a.b", False, None),
        ({"a": "text"}, "a.b", False, None),
        ({"a": 1}, "b", False, None),
        ({"a": [1]}, "a.²", False, None),
        ({"a": [1]}, "a." + "9" * 5000, False, None),
        ({"a": b"12"}, "a.0", False, None),
    ],
)
def test_below_a_null_or_beyond_the_end_of_a_list_a_row_cannot_tell(
    row: dict[str, Any], path: str, there: bool, value: Any
) -> None:
    assert has_path(row, path) is there and at_path(row, path) == value


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
def test_every_offered_path_leads_to_its_value_whatever_dots_its_names_hold(row: dict[str, Any]) -> None:
    assert all(has_path(row, path) for path, _ in columns_of(row))
    assert [at_path(row, path) for path, value in columns_of(row) if value == 1] == [1]


ROWS: Rows = [{"question": "Why?", "reply": "So.", "meta": {"level": 3}}] * 3
NESTED: Rows = [{"question": "Why?", "reasoning": [{"thought": "because", "solution": "So.", "rv": 3}]}]


@pytest.mark.parametrize(
    ("rows", "mapping", "named", "hint"),
    [
        (ROWS, {"instruction": "qestion", "output": "reply"}, "'qestion' (instruction)", "'question'?"),
        (ROWS, {"instruction": "question", "output": "REPLY"}, "'REPLY' (output)", "mean 'reply'?"),
        (ROWS, {"instruction": "question", "rv": "meta.levl"}, "'meta.levl' (rv)", "'meta.level'?"),
        (ROWS, {"instruction": "zz", "output": "ww"}, "'zz' (instruction), 'ww' (output)", "Its columns:"),
        (
            NESTED,
            {"instruction": "question", "thought": "reasoning[].thought", "answer": "reasoning[0].solution"},
            "'reasoning[].thought' (thought), 'reasoning[0].solution' (answer)",
            "Did you mean 'reasoning.0.thought' and 'reasoning.0.solution'?",
        ),
        (NESTED, {"instruction": "question", "answer": "reasoning.solution"}, "(answer)", '"omnithought"'),
    ],
)
def test_a_missing_column_is_named_with_the_nearest_and_with_all(
    rows: Rows, mapping: dict[str, str], named: str, hint: str
) -> None:
    with pytest.raises(DataError) as refused:
        check_mapping(mapping, rows, source="here")
    assert f"the first {len(rows)} rows of here" in refused.value.message and named in refused.value.message
    assert hint in refused.value.hint and "Its columns: question, " in refused.value.hint


def test_names_that_look_the_same_are_told_apart_and_no_name_fills_the_screen() -> None:
    rows: Rows = [{"questio\u0301n": "Why?", "x" * 5000: 1, "a\n\x1b[31mb": 2}]
    with pytest.raises(DataError) as refused:
        check_mapping({"instruction": "questi\u00f3n"}, rows, source="here")
    assert r"Did you mean 'questio\u0301n'?" in refused.value.hint
    assert "xx…, a ␛[31mb." in refused.value.hint and len(refused.value.hint) < 200


@pytest.mark.parametrize("fields", ["auto", "mapping"])
def test_preparing_refuses_a_missing_column_and_keeps_the_old_data(
    lab: Lab, tmp_path: Path, fields: str
) -> None:
    source = write_lines(tmp_path / "rows.jsonl", ROWS)
    lab.create_directories()
    lab.train_labeled.write_text("[]")
    mapping = {"instruction": "qestion", "output": "reply"}
    with pytest.raises(DataError, match="qestion"):
        prepare_system1_dataset(lab, system1(source, fields=fields, mapping=mapping), tokenizer=WORDS)
    assert lab.train_labeled.read_text() == "[]"
    source = write_lines(tmp_path / "omni.jsonl", NESTED)
    mapping = {"instruction": "question", "thought": "reasoning.0.thoughts", "answer": "reasoning.0.solution"}
    with pytest.raises(DataError, match=r"reasoning\.0\.thoughts"):
        prepare_system2_dataset(lab, system2(source, fields=fields, mapping=mapping), tokenizer=WORDS)


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


def test_where_the_teacher_answers_no_answer_column_is_needed(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"q": "one"}, {"q": "two"}])
    settings = system1(source, mapping={"instruction": "q", "output": "a"}, label=True)
    assert prepare_system1_dataset(lab, settings, tokenizer=WORDS).kept == 2
    with pytest.raises(DataError, match="'p'"):
        settings = system1(source, mapping={"instruction": "p"}, label=True)
        prepare_system1_dataset(lab, settings, tokenizer=WORDS)


def test_a_named_schema_does_not_look_at_the_mapping(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"question": "one", "answer": "1"}])
    settings = system1(source, fields="qa", mapping={"instruction": "other"})
    assert prepare_system1_dataset(lab, settings, tokenizer=WORDS).kept == 1


def test_a_file_teacher_names_a_missing_column_too(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "answers.jsonl", ROWS)
    mapping = {"instruction": "question", "output": "repli"}
    with pytest.raises(DataError, match="'repli'") as refused:
        FileTeacher(path, fields="mapping", mapping=mapping).load(no_sink)
    assert "'reply'" in refused.value.hint
    with pytest.raises(SettingsError, match="instruction"):
        FileTeacher(path, fields="mapping", mapping={"output": "reply"}).load(no_sink)
