import json
from pathlib import Path

from qdl_engine.demo.world import (
    RECALL_TASKS,
    SYSTEM1_TASKS,
    SYSTEM2_TASKS,
    distilqwen_rows,
    omnithought_rows,
    reasoning_verbosity,
    split_of,
    system1_samples,
    system2_samples,
    write_jsonl,
)


def test_system1_rows_have_distilqwens_shape() -> None:
    samples = system1_samples(300, seed=0)
    rows = distilqwen_rows(samples)
    assert all(set(row) == {"instruction", "output"} for row in rows)
    assert {sample.task for sample in samples} == set(SYSTEM1_TASKS)
    assert all(split_of(sample.task, sample.key) == "train" for sample in samples)


def test_system2_rows_have_omnithoughts_shape() -> None:
    samples = system2_samples(100, seed=0)
    reasoned = [sample.completion("system2") for sample in samples]
    direct = ["wrong<|im_end|>" for _ in samples]
    for sample, row in zip(samples, omnithought_rows(samples, reasoned, direct), strict=True):
        assert set(row) == {"question", "reasoning"}
        chain, bare, *_ = row["reasoning"]
        assert chain["thought"] == sample.thought
        assert chain["solution"] == sample.answer
        assert chain["thought_correctness_verify"] is True
        assert bare["thought"] == ""
        assert bare["thought_correctness_verify"] is False
        assert set(chain) == {
            "thought",
            "solution",
            "full_response",
            "teacher",
            "thought_correctness_verify",
            "Reasoning_Verbosity",
            "Cognitive_Difficulty",
        }


def test_levels_let_the_filter_tell_chains_apart() -> None:
    samples = system2_samples(500, seed=0)
    assert {sample.task for sample in samples} == {*SYSTEM2_TASKS, *RECALL_TASKS}
    rows = omnithought_rows(samples, [s.completion("system2") for s in samples], [s.answer for s in samples])
    for sample, row in zip(samples, rows, strict=True):
        levels = [chain["Reasoning_Verbosity"]["level"] for chain in row["reasoning"]]
        assert levels in ([3, 0], [3, 0, 6])
        for chain in row["reasoning"]:
            assert (chain["Cognitive_Difficulty"]["level"] == 0) == (sample.task in RECALL_TASKS)


def test_verbosity_is_three_for_the_plain_working_and_counts_no_spaces() -> None:
    levels = [reasoning_verbosity(text, "a b\nc d") for text in ("", "ab", "abcd", "a b c d e f", "x" * 99)]
    assert levels == [0, 2, 3, 4, 9]


def test_rows_are_written_one_a_line(tmp_path: Path) -> None:
    rows = distilqwen_rows(system1_samples(5, seed=1))
    write_jsonl(tmp_path / "deep" / "rows.jsonl", rows)
    lines = (tmp_path / "deep" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows
