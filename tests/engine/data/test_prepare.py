"""Preparing: which rows are kept, which are counted where, and what is written."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError, LabBusyError, ModelError
from qdl_engine.core.events import Event
from qdl_engine.core.lab import Lab
from qdl_engine.data.files import load_rows, preview_rows
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.data.report import PrepareReport, TokenLengths, differences, digest
from qdl_engine.data.sampling import row_id
from qdl_engine.settings import System2Settings
from tests.engine.data.words import WordTokenizer, prompt_words, record, system1, system2, write_lines

WORDS = WordTokenizer()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.at(tmp_path / "lab")


def dropped(report: PrepareReport) -> dict[str, int]:
    return {step.name: step.dropped for step in report.steps if step.dropped}


def lines(report: PrepareReport, name: str) -> list[int]:
    return [example.line for step in report.steps if step.name == name for example in step.examples]


def check_sums(report: PrepareReport) -> None:
    remaining = report.steps[0].remaining
    for step in report.steps:
        remaining -= step.dropped
        assert step.remaining == remaining >= 0
    assert remaining == report.kept


def test_every_bad_row_is_counted_and_named(lab: Lab, tmp_path: Path) -> None:
    rows: list[Any] = [
        {"instruction": "one", "output": "1"},
        "no object",
        {"instruction": "two", "output": "  "},
        {"instruction": None, "output": "2"},
        {"instruction": "one", "output": "1"},
        {"instruction": "long", "output": "word " * 100},
        {"instruction": "evil <|im_end|>", "output": "x"},
        {"instruction": "half \ud800", "output": "x"},
        {"instruction": ["list"], "output": "x"},
        {"instruction": "two", "output": "2"},
    ]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    source.write_text(source.read_text() + "{broken\n")
    report = prepare_system1_dataset(lab, system1(source, max_length=prompt_words() + 50), tokenizer=WORDS)
    assert dropped(report) == {"broken": 5, "empty": 2, "duplicate": 1, "over max_length": 1}
    assert lines(report, "broken") == [2, 7, 8, 9, 11]
    assert lines(report, "empty") == [3, 4]
    assert lines(report, "duplicate") == [5]
    assert lines(report, "over max_length") == [6]
    check_sums(report)
    kept = list(load_rows(lab.train_labeled))
    assert sorted(row["instruction"] for row in kept) == ["one", "two"]
    assert list(load_rows(lab.train_instructions)) == kept
    assert all(row["id"] == row_id(row["instruction"], row["output"]) for row in kept)
    assert set(kept[0]) == {"id", "instruction", "output"}
    assert json.loads(lab.report_file("system1").read_text())["kept"] == 2
    assert [path.name for path in lab.data.iterdir() if path.name.startswith(".")] == []


def test_sampling_depends_on_the_seed_and_not_on_the_order_of_the_file(lab: Lab, tmp_path: Path) -> None:
    rows = [{"instruction": f"q{i}", "output": f"a{i}"} for i in range(500)]
    forward = write_lines(tmp_path / "forward.jsonl", rows)
    backward = write_lines(tmp_path / "backward.jsonl", reversed(rows))

    def ids(source: Path, seed: int) -> list[str]:
        report = prepare_system1_dataset(lab, system1(source, rows=50, seed=seed), tokenizer=WORDS)
        assert dropped(report) == {"not sampled": 450}
        return [row["id"] for row in load_rows(lab.train_labeled)]

    first = ids(forward, 1)
    assert len(set(first)) == 50
    assert ids(backward, 1) == first
    assert ids(forward, 2) != first


def test_rows_over_the_limit_are_replaced_by_others(lab: Lab, tmp_path: Path) -> None:
    rows = [{"instruction": f"q{i}", "output": "w " * (100 if i % 2 else 1)} for i in range(400)]
    limits = {"rows": 150, "max_length": prompt_words() + 20}
    report = prepare_system1_dataset(
        lab, system1(write_lines(tmp_path / "r.jsonl", rows), **limits), tokenizer=WORDS
    )
    assert report.kept == 150
    assert report.tokens.maximum <= limits["max_length"]
    check_sums(report)


def test_the_token_lengths_are_those_of_prompt_answer_and_end(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "r.jsonl", [{"instruction": "one two", "output": "three four"}])
    report = prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    # "two<|im_end|>" and "four<|im_end|>" stay one word each.
    assert report.tokens.minimum == report.tokens.maximum == prompt_words("one two") + 2


def omni(tmp_path: Path, *records: dict[str, Any], question: str = "Q?") -> Path:
    return write_lines(tmp_path / "omni.jsonl", [{"question": question, "reasoning": list(records)}])


def test_each_chain_is_filtered_on_its_own_with_inclusive_bounds(lab: Lab, tmp_path: Path) -> None:
    chains = [
        record(f"t{rv}", "s", rv=rv, cd=cd) for rv, cd in [(2, 4), (3, 4), (5, 4), (6, 4), (4, 3), (4, 5)]
    ]
    settings = system2(omni(tmp_path, *chains), rv_min=3, rv_max=5, cd_min=4, cd_max=4)
    report = prepare_system2_dataset(lab, settings, tokenizer=WORDS)
    assert dropped(report) == {"outside RV": 2, "outside CD": 2}
    kept = sorted(load_rows(lab.omnithought_cot), key=lambda row: row["rv"])
    assert [(row["rv"], row["cd"], row["output"]) for row in kept] == [
        (3, 4, "<think>\nt3\n</think>\ns"),
        (5, 4, "<think>\nt5\n</think>\ns"),
    ]
    check_sums(report)


def test_no_chain_comes_back_when_all_fail(lab: Lab, tmp_path: Path) -> None:
    source = omni(tmp_path, record("t", "s", rv=1), record("u", "s", rv=2))
    lab.create_directories()
    lab.omnithought_cot.write_text("[]")
    with pytest.raises(DataError) as error:
        prepare_system2_dataset(lab, system2(source, rv_min=8), tokenizer=WORDS)
    assert error.value.message == "No data for System 2 distillation"
    assert "2 read" in error.value.hint and "outside RV: 2" in error.value.hint
    assert lab.omnithought_cot.read_text() == "[]"
    assert [path.name for path in lab.data.iterdir()] == [lab.omnithought_cot.name]


def test_levels_are_needed_only_where_the_filter_is_narrow(lab: Lab, tmp_path: Path) -> None:
    source = omni(tmp_path, record("t", "s", rv=None, cd=None), record("u", "s"))
    assert prepare_system2_dataset(lab, system2(source), tokenizer=WORDS).kept == 2
    report = prepare_system2_dataset(lab, system2(source, cd_max=8), tokenizer=WORDS)
    assert dropped(report) == {"no level": 1}


@pytest.mark.parametrize(("require", "kept"), [(True, 2), (False, 3)])
def test_chains_found_wrong_are_dropped_on_request(
    lab: Lab, tmp_path: Path, require: bool, kept: int
) -> None:
    chains = [
        record("t", "s", verified=True),
        record("u", "s", verified=None),
        record("v", "s", verified=False),
    ]
    settings = system2(omni(tmp_path, *chains), require_verified=require)
    assert prepare_system2_dataset(lab, settings, tokenizer=WORDS).kept == kept


def test_system2_needs_reasoning_that_ends(lab: Lab, tmp_path: Path) -> None:
    rows = [
        {"instruction": "a", "output": "no reasoning"},
        {"instruction": "b", "output": "<think>\nnever ends"},
        {"instruction": "c", "output": "<think>\nwhy\n</think>\nbecause"},
        {"instruction": "d", "output": "<think>\nwhy\n</think>\n"},
    ]
    report = prepare_system2_dataset(lab, system2(write_lines(tmp_path / "r.jsonl", rows)), tokenizer=WORDS)
    assert dropped(report) == {"no reasoning": 2, "empty": 1}
    assert [row["output"] for row in load_rows(lab.omnithought_cot)] == ["<think>\nwhy\n</think>\nbecause"]


def test_system1_leaves_reasoning_out(lab: Lab, tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "steps\n#### 7"},
        {"question": "r", "answer": "<think>\nx\n</think>\n8"},
    ]
    prepare_system1_dataset(lab, system1(write_lines(tmp_path / "r.jsonl", rows)), tokenizer=WORDS)
    assert sorted(row["output"] for row in load_rows(lab.train_labeled)) == ["7", "8"]


def test_prompts_alone_will_do_when_the_teacher_labels(lab: Lab, tmp_path: Path) -> None:
    rows = [
        {"instruction": "a"},
        {"instruction": "b", "output": "w " * 500},
        {"instruction": "a", "output": "x"},
    ]
    source = write_lines(tmp_path / "r.jsonl", rows)
    lab.create_directories()
    lab.train_labeled.write_text("[]")
    settings = system1(source, label=True, max_length=prompt_words() + 10)
    report = prepare_system1_dataset(lab, settings, tokenizer=WORDS)
    assert dropped(report) == {"duplicate": 1}
    assert "Tokens per row, before labelling (the prompt alone): " in report.table()
    assert not lab.train_labeled.exists()
    assert [row["instruction"] for row in preview_rows(lab, "system1", 0, 9)] in (["a", "b"], ["b", "a"])


def test_no_rows_for_system1_says_where_they_went(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "r.jsonl", [{"instruction": "a"}] * 3)
    with pytest.raises(DataError) as error:
        prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    assert error.value.message == "No data for System 1 distillation"
    assert "empty: 3" in error.value.hint


def test_rows_that_are_all_broken_say_what_is_wrong_with_the_first(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "r.jsonl", [{"instruction": ["a", "b"], "output": ["c", "d"]}])
    with pytest.raises(DataError) as error:
        prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    assert error.value.hint.endswith("broken: 1. Line 1: instruction is list, not text.")


def test_a_wrapper_on_one_line_is_told_how_to_unwrap(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "r.json", [{"version": 1, "data": [{"instruction": "a"}]}])
    with pytest.raises(DataError, match="No named schema fits the columns") as error:
        prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    assert f"'data' holds a list of objects. If that holds the rows, unwrap it: jq .data {source}" in str(
        error.value
    )


@pytest.mark.parametrize("text", ["", "\n\n", "not json at all\nnor this\n", "[]", "[1, 2]"])
def test_a_file_without_rows_is_no_data(lab: Lab, tmp_path: Path, text: str) -> None:
    source = tmp_path / "r.json"
    source.write_text(text)
    with pytest.raises(DataError) as error:
        prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    assert "No data for System 1 distillation" in error.value.message


def test_a_directory_is_streamed_only_as_far_as_needed(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "shards").mkdir()
    for shard in range(3):
        rows = [{"instruction": f"q{shard}-{i}", "output": "a"} for i in range(1000)]
        write_lines(tmp_path / "shards" / f"train-{shard}.jsonl", [*rows, rows[0]])
    settings = system1(tmp_path / "shards", rows=100)
    report = prepare_system1_dataset(lab, settings, tokenizer=WORDS)
    assert report.kept == 100 and report.streamed and report.source_rows < 1000
    check_sums(report)
    ids = [row["id"] for row in load_rows(lab.train_labeled)]
    prepare_system1_dataset(lab, settings, tokenizer=WORDS)
    assert [row["id"] for row in load_rows(lab.train_labeled)] == ids
    whole = prepare_system1_dataset(lab, system1(tmp_path / "shards", rows=9999), tokenizer=WORDS)
    assert whole.kept == 3000 and dropped(whole) == {"duplicate": 3}


def test_a_directory_without_data_gives_name_cause_and_what_it_should_hold(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as error:
        prepare_system1_dataset(lab, system1(tmp_path / "empty"), tokenizer=WORDS)
    assert str(tmp_path / "empty") in error.value.message and "\n" not in error.value.message
    assert "JSON Lines or Parquet" in error.value.hint


def test_a_student_without_a_tokenizer_is_named(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "nothing").mkdir()
    source = write_lines(tmp_path / "r.jsonl", [{"instruction": "a", "output": "b"}])
    with pytest.raises(ModelError) as error:
        prepare_system1_dataset(lab, system1(source, student=str(tmp_path / "nothing")))
    assert error.value.message == f"Invalid student model: {tmp_path / 'nothing'}"
    assert error.value.hint.startswith("The directory is empty. One that works: Qwen/")
    (tmp_path / "nothing" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="The directory has no tokenizer"):
        prepare_system1_dataset(lab, system1(source, student=str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ("./nope", "There is no such directory in {lab}."),
        ("some/where/nope", "There is no such directory in {lab}."),
        ("nope/", "There is no such directory in {lab}."),
        ("/nope", "There is no such directory."),
        ("~/no/such/student", "There is no such directory."),
        ("./qdl.toml", "A file, not a checkpoint directory."),
        ("no such", "Neither a directory nor a hub id."),
        ("n" * 5000, "Neither a directory nor a hub id."),
    ],
)
def test_a_student_that_is_a_path_to_nowhere_is_not_looked_for_at_the_hub(
    lab: Lab, tmp_path: Path, student: str, reason: str
) -> None:
    lab.create_directories()
    lab.settings_file.write_text("")
    source = write_lines(tmp_path / "r.jsonl", [{"instruction": "a", "output": "b"}])
    with pytest.raises(ModelError) as error:
        prepare_system1_dataset(lab, system1(source, student=student))
    assert error.value.message == f"Invalid student model: {student}"
    assert error.value.hint.startswith(reason.format(lab=lab.root) + " One that works: Qwen/")
    assert "network" not in error.value.hint


def _hold(root: str, ready: Any, release: Any) -> None:
    with Lab.at(root).writer_lock("labelling"):
        ready.set()
        release.wait(30)


def test_only_one_process_prepares_at_a_time(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "r.jsonl", [{"instruction": "a", "output": "b"}])
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(lab.root), ready, release))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(LabBusyError, match=rf"process {holder.pid} \(labelling\)"):
            prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    finally:
        release.set()
        holder.join()
    assert prepare_system1_dataset(lab, system1(source), tokenizer=WORDS).kept == 1


def test_events_and_table_tell_the_story(lab: Lab, tmp_path: Path) -> None:
    events: list[Event] = []
    rows: list[Any] = [{"instruction": f"q{i}", "output": "a"} for i in range(300)] + ["\x1b[2J bad"]
    source = write_lines(tmp_path / "r.jsonl", rows)
    report = prepare_system1_dataset(lab, system1(source), tokenizer=WORDS, on_event=events.append)
    assert {event.kind for event in events} == {"progress"}
    assert events[-1].done == report.kept == 300
    assert "Kept 300 of 1,000 rows" in report.table() and "\x1b" not in report.table()
    assert json.loads(json.dumps(report.to_dict()))["steps"][0]["name"] == "read"


def test_preview_of_nothing_is_empty_and_of_a_page_is_that_page(lab: Lab, tmp_path: Path) -> None:
    assert preview_rows(lab, "system2", 0, 5) == []
    source = omni(tmp_path, *(record(f"t{i}", "s") for i in range(9)))
    prepare_system2_dataset(lab, system2(source), tokenizer=WORDS)
    rows = list(load_rows(lab.omnithought_cot))
    assert preview_rows(lab, "system2", 3, 2) == rows[3:5]


def test_load_rows_refuses_what_is_no_file_of_rows(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not found"):
        list(load_rows(tmp_path / "gone.json"))
    (tmp_path / "odd.json").write_text("[1]")
    with pytest.raises(DataError, match="line 1"):
        list(load_rows(tmp_path / "odd.json"))


def test_histogram_holds_every_row() -> None:
    lengths = [5, 5, 6, 30, 100]
    tokens = TokenLengths.of(lengths)
    assert (tokens.minimum, tokens.median, tokens.p95, tokens.maximum) == (5, 6, 100, 100)
    assert sum(count for _, _, count in tokens.histogram) == len(lengths)
    assert len(tokens.histogram) <= 12
    assert TokenLengths.of([7]).histogram == [(7, 8, 1)]


def test_defaults_are_the_published_recipes() -> None:
    recipe = System2Settings()
    assert (recipe.rows, recipe.rv_min, recipe.rv_max, recipe.cd_min, recipe.cd_max) == (2000, 0, 9, 0, 9)


def test_rows_that_share_a_line_are_named_by_their_number(lab: Lab, tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b"}, {"instruction": "c", "output": ""}]
    source = tmp_path / "r.json"
    source.write_text(json.dumps(rows))
    report = prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    (example,) = next(step for step in report.steps if step.name == "empty").examples
    assert (example.line, example.row) == (1, 2) and "line 1, row 2: no answer" in report.table()


def test_the_report_keeps_the_settings_and_the_digest_of_what_was_written(lab: Lab, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"instruction": "one", "output": "1"}])
    settings = system1(source, max_length=500)
    prepare_system1_dataset(lab, settings, tokenizer=WORDS)
    report = json.loads(lab.report_file("system1").read_text())
    assert differences(report, settings.model_dump()) == []
    assert [str(found) for found in differences(report, settings.model_dump() | {"max_length": 600})] == [
        "max_length was 500, is 600"
    ]
    assert report["digest"] == digest(lab.train_labeled)
