"""RV and CD by a judge: read strictly, kept by the row, and what the recipe's filter then works on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.core.errors import DataError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.prompts import HIGHEST_SCORE, METRICS, Metric, judge_prompt
from qdl_engine.data.prepare import prepare_system2_dataset
from qdl_engine.demo.lab import ASSETS
from qdl_engine.label.score import parse_score, score_chains
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.store import list_runs
from qdl_engine.settings import LabSettings, System2Settings
from qdl_engine.settings.toml import save_settings
from tests.engine.data.words import WordTokenizer
from tests.engine.upstream.chat_server import Answer, ChatServer, question_of

CHAINS: list[dict[str, Any]] = [
    {"instruction": f"Problem {number}", "output": f"<think>\nStep {number}\n</think>\n{number}"}
    for number in range(6)
]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    write_json_atomic(lab.omnithought_cot, CHAINS)
    return lab


def judge_at(url: str) -> LabSettings:
    return LabSettings.model_validate(
        {"teacher": {"kind": "server", "url": url, "model": "", "retries": 0, "timeout": 30.0}}
    )


def by_number(messages: list[dict[str, str]]) -> str:
    """Scores that follow from the problem's number: RV n, CD 9 - n, and problem 3 is wrong."""
    question = question_of(messages)
    number = int(question.partition("Problem:\nProblem ")[2][0])
    if "Verbosity" in question:
        return f"It takes 7 steps. <score>{number}</score>"
    if "Difficulty" in question:
        return f"<score> {9 - number} </score>"
    return f"<score>{int(number != 3)}</score>"


def written(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab.scored_chains.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("reply", "metric", "score"),
    [
        ("<score>0</score>", "rv", 0),
        ("<think>maybe</think> So: <score> 9 </score>.", "rv", 9),
        ("<score>4</score> ... again <score>4</score>", "cd", 4),
        ("<score>4</score> or <score>5</score>", "cd", None),
        ("<score>10</score>", "rv", None),
        ("<score>-1</score>", "rv", None),
        ("<score>4.5</score>", "rv", None),
        ("<score>five</score>", "rv", None),
        ("<score>5", "rv", None),
        ("I give it a 5.", "rv", None),
        ("<score></score>", "rv", None),
        ("<score>1</score>", "correct", 1),
        ("<score>2</score>", "correct", None),
        ("<score>\u0665</score>", "rv", None),
    ],
)
def test_a_score_is_read_strictly_and_never_guessed(reply: str, metric: Metric, score: int | None) -> None:
    assert parse_score(reply, metric) == score


@pytest.mark.parametrize("metric", METRICS)
def test_a_judge_is_told_the_scale_and_shown_the_chain(metric: Metric) -> None:
    prompt = judge_prompt(metric, "1 and 1?", "Add them: 2")
    assert f"from 0 to {HIGHEST_SCORE[metric]}" in prompt and "<score></score>" in prompt
    assert prompt.endswith("Problem:\n1 and 1?\n\nSolution:\nAdd them: 2")


def test_chains_get_the_levels_that_the_judge_gives(lab: Lab) -> None:
    with ChatServer(by_number).serving() as server:
        report = score_chains(lab, judge_at(server.url))
    assert (report.chains, report.scored, report.unscored, report.found_wrong) == (6, 6, 0, 1)
    assert report.rv == {number: 1 for number in range(6)} and report.cd == {9 - n: 1 for n in range(6)}
    rows = written(lab)
    assert [row["reasoning_verbosity"] for row in rows] == list(range(6))
    assert [row["logical_correctness"] for row in rows] == [number != 3 for number in range(6)]
    assert rows[0]["output"] == CHAINS[0]["output"]
    assert read_json(lab.score_report)["scored"] == 6 and "Reasoning Verbosity" in report.table()


def test_the_recipes_filter_works_on_the_scored_file(lab: Lab) -> None:
    with ChatServer(by_number).serving() as server:
        score_chains(lab, judge_at(server.url))
    recipe = System2Settings(source=str(lab.scored_chains), rv_min=2, cd_min=4, rows=10)
    report = prepare_system2_dataset(lab, recipe, tokenizer=WordTokenizer())
    kept = {row["instruction"]: (row["rv"], row["cd"]) for row in read_json(lab.omnithought_cot)}
    assert kept == {"Problem 2": (2, 7), "Problem 4": (4, 5), "Problem 5": (5, 4)}
    assert {step.name: step.dropped for step in report.steps}["found wrong"] == 1


def test_chains_with_levels_are_not_asked_about(lab: Lab) -> None:
    scored = [
        CHAINS[0] | {"rv": 4, "cd": 2},
        CHAINS[1] | {"rv": 4},
        {"instruction": "no chain", "output": "1"},
    ]
    write_json_atomic(lab.omnithought_cot, scored)
    with ChatServer(by_number).serving() as server:
        report = score_chains(lab, judge_at(server.url))
        assert (report.had_levels, report.scored, report.skipped) == (1, 1, 1)
        assert len(server.asked) == 3
        assert [row["reasoning_verbosity"] for row in written(lab)] == [4, 1]
        assert score_chains(lab, judge_at(server.url), everything=True).had_levels == 0


def test_a_chain_that_no_file_could_hold_is_skipped_before_anything_is_asked(
    lab: Lab, tmp_path: Path
) -> None:
    broken = {"instruction": "half", "output": "<think>\na \ud800\n</think>\n1"}
    source = tmp_path / "chains.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in [*CHAINS, broken]))
    with ChatServer(by_number).serving() as server:
        report = score_chains(lab, judge_at(server.url), source=source)
        assert (report.chains, report.skipped) == (len(CHAINS), 1)
    assert len(written(lab)) == len(CHAINS)


def test_what_the_judge_does_not_say_stays_unscored(lab: Lab) -> None:
    def unsure(messages: list[dict[str, str]]) -> str:
        wordy = "Verbosity" in question_of(messages) and "Problem 1" in question_of(messages)
        return "Perhaps 5?" if wordy else by_number(messages)

    with ChatServer(unsure).serving() as server:
        report = score_chains(lab, judge_at(server.url))
    assert (report.scored, report.unscored) == (5, 1) and report.examples == ["Perhaps 5?"]
    assert written(lab)[1]["reasoning_verbosity"] is None


def test_a_row_is_asked_once_through_an_interruption(lab: Lab) -> None:
    limit = 7

    def failing(messages: list[dict[str, str]]) -> str | int:
        return by_number(messages) if len(server.asked) <= limit else 400

    server = ChatServer(failing)
    with server.serving():
        settings = judge_at(server.url)
        first = score_chains(lab, settings)
        assert first.asked == 18 and first.scored < 6
        limit = 10_000
        second = score_chains(lab, settings)
    assert (second.reused, second.asked, second.scored) == (7, 11, 6)


@pytest.mark.parametrize("answer", [lambda messages: "no idea", lambda messages: 400])
def test_a_judge_that_gives_no_score_is_an_error(lab: Lab, answer: Answer) -> None:
    with ChatServer(answer).serving() as server, pytest.raises(DataError, match="no score that can be read"):
        score_chains(lab, judge_at(server.url))
    assert not lab.scored_chains.exists()


def test_nothing_to_score_is_said(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="prepare system2"):
        score_chains(lab, LabSettings(), source=tmp_path / "none.json")
    write_json_atomic(lab.omnithought_cot, [{"instruction": "a", "output": "b"}])
    with pytest.raises(DataError, match="No chains to score"):
        score_chains(lab, LabSettings())


def test_the_command_scores_and_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "lab")]) == 0
    lab = Lab.at(tmp_path / "lab")
    write_json_atomic(lab.omnithought_cot, CHAINS)
    capsys.readouterr()
    with ChatServer(by_number).serving() as server:
        words = ["--set", "teacher.kind=server", "--set", f"teacher.url={server.url}"]
        words += ["--set", "teacher.model=", "--set", "teacher.price_out=1000"]
        assert main(["--lab", str(lab.root), "score", *words]) == 0
        told = capsys.readouterr()
        assert "system2.source=data/scored_chains.jsonl" in told.out
        assert f"{'cost':<20}{'0.0900':>12}" in told.out and "cost 0.0900" in told.err
        assert main(["--lab", str(lab.root), "score", *words, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["reused"], again["cost"]) == (18, 0.09)


def test_a_run_says_at_its_end_how_many_were_scored(lab: Lab) -> None:
    with ChatServer(by_number).serving() as server:
        save_settings(lab, judge_at(server.url))
        assert main(["--lab", str(lab.root), "score", "--detach"]) == 0
        (run,) = list_runs(lab)
        run = wait_for(run, poll=0.02)
    assert (run.state, run.message) == ("done", "Scored 6 of 6 chains that lacked a level; 1 found wrong")


@pytest.mark.slow
def test_the_demo_teacher_is_no_judge_but_is_asked_once(lab: Lab) -> None:
    settings = LabSettings.model_validate(
        {"teacher": {"model": str(ASSETS / "teacher"), "quantization": "none", "max_new_tokens": 8}}
    )
    for _ in range(2):
        with pytest.raises(DataError, match="no score that can be read"):
            score_chains(lab, settings)
    keys = [json.loads(line)["key"] for line in lab.label_cache.read_bytes().splitlines()]
    assert len(keys) == len(set(keys)) == 18
