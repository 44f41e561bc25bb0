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
from qdl_engine.data.files import array_file, load_rows, preview_rows
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.data.report import PrepareReport, TokenLengths, differences, digest
from qdl_engine.data.sampling import row_id, token_counts
from qdl_engine.settings import System2Settings
from tests.engine.data.words import WordTokenizer, prompt_words, record, system1, system2, write_lines

WORDS = WordTokenizer()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    return lab


def prepare1(lab: Lab, rows: list[Any], /, *, extra: str = "", **settings: Any) -> PrepareReport:
    """Prepare System 1 from JSON Lines; `extra` is added to the file as it is."""
    source = write_lines(lab.root.parent / "rows.jsonl", rows)
    source.write_text(source.read_text() + extra)
    return prepare_system1_dataset(lab, system1(source, **settings), tokenizer=WORDS)


def prepare2(lab: Lab, rows: list[Any], /, **settings: Any) -> PrepareReport:
    source = write_lines(lab.root.parent / "rows.jsonl", rows)
    return prepare_system2_dataset(lab, system2(source, **settings), tokenizer=WORDS)


def omni(*records: dict[str, Any]) -> list[Any]:
    return [{"question": "Q?", "reasoning": list(records)}]


def pairs(count: int) -> list[Any]:
    return [{"instruction": f"q{i}", "output": f"a{i}"} for i in range(count)]


def ids(lab: Lab) -> list[str]:
    return [row["id"] for row in load_rows(lab.train_labeled)]


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


def test_every_bad_row_is_counted_and_named(lab: Lab) -> None:
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
    report = prepare1(lab, rows, extra="{broken\n", max_length=prompt_words() + 50)
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


def test_sampling_depends_on_the_seed_and_not_on_the_order_of_the_file(lab: Lab) -> None:
    samples = []
    for rows, seed in ((pairs(500), 1), (pairs(500)[::-1], 1), (pairs(500), 2)):
        assert dropped(prepare1(lab, rows, rows=50, seed=seed)) == {"not sampled": 450}
        samples.append(ids(lab))
    assert len(set(samples[0])) == 50 and samples[1] == samples[0] != samples[2]


def test_rows_over_the_limit_are_replaced_by_others(lab: Lab) -> None:
    rows = [{"instruction": f"q{i}", "output": "w " * (100 if i % 2 else 1)} for i in range(400)]
    limit = prompt_words() + 20
    report = prepare1(lab, rows, rows=150, max_length=limit)
    assert report.kept == 150 and report.tokens.maximum <= limit
    check_sums(report)


def test_the_token_lengths_are_those_of_prompt_answer_and_end(lab: Lab) -> None:
    report = prepare1(lab, [{"instruction": "one two", "output": "three four"}])
    # "two<|im_end|>" and "four<|im_end|>" stay one word each.
    assert report.tokens.minimum == report.tokens.maximum == prompt_words("one two") + 2


def test_each_chain_is_filtered_on_its_own_with_inclusive_bounds(lab: Lab) -> None:
    levels = [(2, 4), (3, 4), (5, 4), (6, 4), (4, 3), (4, 5)]
    chains = omni(*(record(f"t{rv}", "s", rv=rv, cd=cd) for rv, cd in levels))
    report = prepare2(lab, chains, rv_min=3, rv_max=5, cd_min=4, cd_max=4)
    assert dropped(report) == {"outside RV": 2, "outside CD": 2}
    kept = sorted(load_rows(lab.omnithought_cot), key=lambda row: row["rv"])
    assert [(row["rv"], row["cd"], row["output"]) for row in kept] == [
        (3, 4, "<think>\nt3\n</think>\ns"),
        (5, 4, "<think>\nt5\n</think>\ns"),
    ]
    check_sums(report)


def test_no_chain_comes_back_when_all_fail(lab: Lab) -> None:
    lab.omnithought_cot.write_text("[]")
    with pytest.raises(DataError) as error:
        prepare2(lab, omni(record("t", "s", rv=1), record("u", "s", rv=2)), rv_min=8)
    assert error.value.message == "No data for System 2 distillation"
    assert "2 read" in error.value.hint and "outside RV: 2" in error.value.hint
    assert lab.omnithought_cot.read_text() == "[]"
    assert [path.name for path in lab.data.iterdir()] == [lab.omnithought_cot.name]


def test_levels_are_needed_only_where_the_filter_is_narrow(lab: Lab) -> None:
    chains = omni(record("t", "s", rv=None, cd=None), record("u", "s"))
    assert prepare2(lab, chains).kept == 2
    assert dropped(prepare2(lab, chains, cd_max=8)) == {"no level": 1}


@pytest.mark.parametrize(("require", "kept"), [(True, 2), (False, 3)])
def test_chains_found_wrong_are_dropped_on_request(lab: Lab, require: bool, kept: int) -> None:
    chains = omni(*(record(f"t{mark}", "s", verified=mark) for mark in (True, None, False)))
    assert prepare2(lab, chains, require_verified=require).kept == kept


def test_system2_needs_reasoning_that_ends(lab: Lab) -> None:
    outputs = ["no reasoning", "<think>\nno end", "<think>\nwhy\n</think>\nso", "<think>\nwhy\n</think>\n"]
    report = prepare2(lab, [{"instruction": text, "output": text} for text in outputs])
    assert dropped(report) == {"no reasoning": 2, "empty": 1}
    assert [row["output"] for row in load_rows(lab.omnithought_cot)] == [outputs[2]]


def test_system1_leaves_reasoning_out(lab: Lab) -> None:
    answers = ["steps\n#### 7", "<think>\nx\n</think>\n8"]
    prepare1(lab, [{"question": f"q{i}", "answer": answer} for i, answer in enumerate(answers)])
    assert sorted(row["output"] for row in load_rows(lab.train_labeled)) == ["7", "8"]


def test_prompts_alone_will_do_when_the_teacher_labels(lab: Lab) -> None:
    rows = [
        {"instruction": "a"},
        {"instruction": "b", "output": "w " * 500},
        {"instruction": "a", "output": "x"},
    ]
    lab.train_labeled.write_text("[]")
    report = prepare1(lab, rows, label=True, max_length=prompt_words() + 10)
    assert dropped(report) == {"duplicate": 1}
    assert "before labelling" in report.table()
    assert not lab.train_labeled.exists()
    assert sorted(row["instruction"] for row in preview_rows(lab, "system1", 0, 9)) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"instruction": "a"}\n' * 3, "empty: 3."),
        ('{"instruction": ["a"], "output": ["c"]}', "broken: 1. Line 1: instruction is list, not text."),
        ("", "0 read; none dropped."),
        ("\n\n", "0 read; none dropped."),
        ("not json at all\nnor this\n", "broken: 2. Line 1: not valid JSON: "),
        ("[]", "0 read; none dropped."),
        ("[1, 2]", "broken: 2. Line 1, row 1: not an object."),
    ],
)
def test_no_rows_say_where_they_went_and_what_is_wrong_with_the_first(
    lab: Lab, tmp_path: Path, text: str, hint: str
) -> None:
    source = tmp_path / "r.json"
    source.write_text(text)
    with pytest.raises(DataError) as error:
        prepare_system1_dataset(lab, system1(source), tokenizer=WORDS)
    assert error.value.message == "No data for System 1 distillation" and hint in error.value.hint


def test_a_wrapper_on_one_line_is_told_how_to_unwrap(lab: Lab) -> None:
    with pytest.raises(DataError, match="No named schema fits the columns") as error:
        prepare1(lab, [{"version": 1, "data": [{"instruction": "a"}]}])
    source = lab.root.parent / "rows.jsonl"
    assert f"'data' holds a list of objects. If that holds the rows, unwrap it: jq .data {source}" in str(
        error.value
    )


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
    sample = ids(lab)
    prepare_system1_dataset(lab, settings, tokenizer=WORDS)
    assert ids(lab) == sample
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
        ("./nope", "The directory does not exist in {lab}."),
        ("some/where/nope", "The directory does not exist in {lab}."),
        ("nope/", "The directory does not exist in {lab}."),
        ("/nope", "The directory does not exist."),
        ("~/no/such/student", "The directory does not exist."),
        ("./qdl.toml", "A file, not a checkpoint directory."),
        ("no such", "Neither a directory nor a hub id."),
        ("n" * 5000, "Neither a directory nor a hub id."),
    ],
)
def test_a_student_that_is_a_path_to_nowhere_is_not_looked_for_at_the_hub(
    lab: Lab, tmp_path: Path, student: str, reason: str
) -> None:
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


def test_events_and_table_tell_the_story(lab: Lab) -> None:
    events: list[Event] = []
    source = write_lines(lab.root.parent / "r.jsonl", [*pairs(300), "\x1b[2J bad"])
    report = prepare_system1_dataset(lab, system1(source), tokenizer=WORDS, on_event=events.append)
    assert {event.kind for event in events} == {"progress"}
    assert events[-1].done == report.kept == 300
    assert "Kept 300 of 1,000 rows" in report.table() and "\x1b" not in report.table()
    assert json.loads(json.dumps(report.to_dict()))["steps"][0]["name"] == "read"


def test_preview_of_nothing_is_empty_and_of_a_page_is_that_page(lab: Lab) -> None:
    assert preview_rows(lab, "system2", 0, 5) == []
    prepare2(lab, omni(*(record(f"t{i}", "s") for i in range(9))))
    assert preview_rows(lab, "system2", 3, 2) == list(load_rows(lab.omnithought_cot))[3:5]


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


def test_the_report_keeps_the_settings_and_the_digest_of_what_was_written(lab: Lab) -> None:
    source = write_lines(lab.root.parent / "rows.jsonl", pairs(1))
    settings = system1(source, max_length=500)
    prepare_system1_dataset(lab, settings, tokenizer=WORDS)
    report = json.loads(lab.report_file("system1").read_text())
    assert differences(report, settings.model_dump()) == []
    assert [str(found) for found in differences(report, settings.model_dump() | {"max_length": 600})] == [
        "max_length was 500, is 600"
    ]
    assert report["digest"] == digest(lab.train_labeled)


def test_the_next_writer_deletes_what_a_killed_one_left(tmp_path: Path) -> None:
    path, other = tmp_path / "rows.json", tmp_path / ".labels.json.abc"
    (tmp_path / ".rows.json.x1y2").write_text("[1,")
    other.write_text("")
    with array_file(path) as handle:
        handle.write("1")
    assert json.loads(path.read_text()) == [1]
    assert sorted(tmp_path.iterdir()) == [other, path]


class Letters:
    """One token a letter; remembers the longest text it was given."""

    longest = 0

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any:
        self.longest = max(self.longest, *map(len, text))
        return {"input_ids": [list(range(len(one.replace(" ", "")))) for one in text]}


@pytest.mark.parametrize(
    ("texts", "counts", "longest"),
    [
        (["x" * 3_000_000, "abc"], [(400_000, True), (3, False)], 400_000),
        # A long row of few tokens is counted to its end.
        ([" " * 500_000 + "abc"], [(3, False)], 500_003),
    ],
)
def test_a_huge_row_is_not_tokenised_whole(
    texts: list[str], counts: list[tuple[int, bool]], longest: int
) -> None:
    tokenizer = Letters()
    assert token_counts(texts, tokenizer, 2048) == counts
    assert tokenizer.longest == longest
