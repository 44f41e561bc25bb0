"""EasyDistill 2.x started by the lab: rows counted, keys hidden, and what lacks an answer asked again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.errors import DataError, RunError
from qdl_engine.core.events import Event, Progress
from qdl_engine.core.lab import Lab
from qdl_engine.data.schemas import chains_of, choose_schema
from qdl_engine.settings.address import Secret
from qdl_engine.upstream.version2 import ANSWERED, INPUT, OUTPUT, SCORED, Request, Version2
from qdl_engine.upstream.version2_run import Report, calls_home, make_data, read_questions
from tests.engine.runs.conftest import until
from tests.engine.upstream.version2_stand_in import (
    KEY,
    QUESTIONS,
    behave,
    made,
    make_lab,
    make_stand_in,
    request,
    run,
    starts,
    write_lines,
)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_stand_in(tmp_path / "checkout")


def written(lab: Lab) -> bytes:
    return b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())


def test_rows_come_out_in_the_order_they_went_in(lab: Lab, checkout: Path) -> None:
    events: list[Event] = []
    report = run(lab, checkout, events)
    assert (report.requested, report.answered, report.earlier, report.written) == (7, 7, 0, 7)
    rows = made(lab)
    assert [row["messages"][1]["content"] for row in rows] == QUESTIONS
    assert rows[0]["messages"][0]["content"] == "Pay in $USD."
    assert [row["id"] for row in rows] == [str(number) for number in range(7)]
    _, schema = choose_schema("auto", {}, rows, source="x")
    chains = chains_of(rows[0], schema)
    assert [chain.answer for chain in chains] == ["It is What costs $100 and 0?"]  # type: ignore[union-attr]


def test_progress_is_read_from_the_bar_and_ends_at_what_was_answered(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1"])
    events: list[Event] = []
    run(lab, checkout, events)
    told = [(event.done, event.total) for event in events if isinstance(event, Progress)]
    assert told[-2:] == [(7, 7), (6, 7)]


# Secrets and characters ----------------------------------------------------------------------------------


def test_the_key_reaches_the_environment_and_nothing_on_disk(
    lab: Lab, checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(lab, checkout)
    assert b"sk-secret" not in written(lab)
    assert "key ***" in capfd.readouterr().err


def test_a_key_said_in_two_pieces_is_hidden(
    lab: Lab, checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each piece is read before the next is said, and one splits a character too."""
    behave(checkout, halves=True)
    run(lab, checkout)
    shown = capfd.readouterr().err
    assert "é ***" in shown and KEY[5:] not in shown and "\ufffd" not in shown


def test_an_answer_that_quotes_the_key_is_written_without_it(lab: Lab, checkout: Path) -> None:
    behave(checkout, quote=["1"])
    run(lab, checkout)
    assert made(lab)[1]["messages"][2]["content"] == "Your key: ***"
    assert KEY.encode() not in written(lab)


def test_an_answer_that_is_not_unicode_is_lost_and_named(lab: Lab, checkout: Path) -> None:
    behave(checkout, half=["1"])
    report = run(lab, checkout)
    assert (report.written, list(report.lost)) == (6, [2])
    assert len(made(lab)) == 6


def test_an_answer_that_2_cannot_write_costs_its_own_row_only(lab: Lab, checkout: Path) -> None:
    behave(checkout, spoil=["4"])
    report = run(lab, checkout)
    assert (report.written, list(report.lost)) == (6, [5])
    assert starts(checkout) == ["0123456", "012", "34", "3", "4"]
    assert [row["id"] for row in made(lab)] == ["0", "1", "2", "3", "5", "6"]


def test_a_question_that_is_not_unicode_is_not_asked_and_named(lab: Lab, checkout: Path) -> None:
    report = run(lab, checkout, questions=["1", "half \ud800", "3"])
    assert (report.requested, report.written, starts(checkout)) == (3, 2, ["13"])
    assert "2 (half \\ud800)" in report.lost_text


# What lacks an answer ------------------------------------------------------------------------------------


def test_lost_rows_are_counted_named_and_asked_by_the_next_call_alone(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1", "5"])
    report = run(lab, checkout)
    assert (report.answered, report.written, report.earlier) == (5, 5, 0)
    assert report.lost == {2: QUESTIONS[1], 6: QUESTIONS[5]}
    assert "2 (What costs $100 and 1?), 6 (" in report.table()
    beside = json.loads((lab.data / "made_report.json").read_text(encoding="utf-8"))
    assert list(beside["lost"]) == ["2", "6"]
    behave(checkout, lose=["5"])
    report = run(lab, checkout)
    assert (report.answered, report.earlier, list(report.lost)) == (6, 5, [6])
    behave(checkout)
    report = run(lab, checkout)
    assert (report.answered, report.written, report.earlier, report.lost) == (7, 7, 6, {})
    assert [row["id"] for row in made(lab)] == [str(number) for number in range(7)]
    assert run(lab, checkout).written == 7
    assert starts(checkout) == ["0123456", "15", "5"]


def test_more_questions_are_asked_alone(lab: Lab, checkout: Path) -> None:
    run(lab, checkout, questions=QUESTIONS[:5])
    report = run(lab, checkout, questions=QUESTIONS[3:])
    assert (report.requested, report.earlier, report.written) == (4, 2, 4)
    assert starts(checkout) == ["01234", "56"]
    assert [row["messages"][1]["content"] for row in made(lab)] == QUESTIONS[3:]


def test_other_settings_begin_from_nothing(lab: Lab, checkout: Path) -> None:
    run(lab, checkout)
    assert run(lab, checkout, concurrency=8).earlier == 7
    assert run(lab, checkout, temperature=0.1).earlier == 0


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"lose": list("0123456")}, "exit code 0, and no answer at all.*after 4 attempts: 500"),
        ({"crash": True}, "exit code 1.*ValueError: no such model"),
    ],
)
def test_a_call_without_answers_fails_whatever_its_exit_code(
    lab: Lab, checkout: Path, behaviour: dict[str, Any], said: str
) -> None:
    behave(checkout, **behaviour)
    with pytest.raises(RunError, match=said):
        run(lab, checkout)
    assert not (lab.data / "made.jsonl").exists()
    behave(checkout)
    assert run(lab, checkout).written == 7


def test_a_crash_of_the_next_call_fails_and_spoils_nothing(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1"])
    run(lab, checkout)
    behave(checkout, crash=True)
    with pytest.raises(RunError, match="no such model") as failed:
        run(lab, checkout)
    assert "Answers kept: 6" in failed.value.hint and len(made(lab)) == 6


def test_a_killed_call_leaves_the_earlier_answers(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1"])
    run(lab, checkout)
    behave(checkout, hang=True)
    code = (
        "from tests.engine.upstream.version2_stand_in import run\n"
        "from qdl_engine.core.lab import Lab\nfrom pathlib import Path\nimport sys\n"
        "run(Lab(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(lab.root), str(checkout)],
        cwd=Path(__file__).parents[3],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: (checkout / "hanging").exists())
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    behave(checkout)
    report = run(lab, checkout)
    assert (report.earlier, report.written) == (6, 7)
    assert starts(checkout) == ["0123456", "1", "1"]


# What 2.x wrote, and what a person wrote -----------------------------------------------------------------


def harvest(lab: Lab, asked: Request, files: dict[str, list[dict[str, Any]]], *, count: int) -> Report:
    """The report on a call that wrote `files`; only what they do not answer would start a process."""
    folder = calls_home(lab, asked) / "call-1"
    folder.mkdir(parents=True, exist_ok=True)
    key = asked.question_key
    write_lines(folder / INPUT, [{"id": str(n), key: f"q{n}"} for n in range(count)])
    for name, rows in files.items():
        write_lines(folder / name, rows)
    questions = [f"q{number}" for number in range(count)]
    output = lab.data / "made.jsonl"
    return make_data(lab, Version2(lab.root, "/no/python"), asked, questions, key=Secret(), output=output)


def test_scores_off_the_scale_are_no_scores(lab: Lab) -> None:
    whole = "<|begin_of_thought|>t<|end_of_thought|> <|begin_of_solution|>s"
    scored: list[dict[str, Any]] = [
        {"response": whole, "reasoning_verbosity": 9, "cognitive_difficulty": 0, "logical_correctness": True},
        {
            "response": "no tags",
            "reasoning_verbosity": 12,
            "cognitive_difficulty": 3,
            "logical_correctness": False,
        },
        {"response": whole, "reasoning_verbosity": None, "cognitive_difficulty": True},
    ]
    rows = [row | {"instruction": f"q{number}"} for number, row in enumerate(scored)]
    report = harvest(lab, request("advanced_cot_distill"), {SCORED: rows}, count=3)
    assert report.counts == {"without reasoning": 1, "unscored": 2, "no pair": 0}
    name, schema = choose_schema("auto", {}, made(lab), source="x")
    first, second, third = (chain for row in made(lab) for chain in chains_of(row, schema))
    assert name == "omnithought"
    assert (first.thought, first.answer, first.rv, first.cd, first.verified) == ("t", "s", 9, 0, True)  # type: ignore[union-attr]
    assert (second.answer, second.rv, second.cd, second.verified) == ("no tags", None, 3, False)  # type: ignore[union-attr]
    assert (third.rv, third.cd, third.verified) == (None, None, None)  # type: ignore[union-attr]


def test_pairs_of_equal_answers_are_no_pairs_and_not_asked_again(lab: Lab) -> None:
    pair = {"chosen_score": 2.0, "rejected_score": 1.0, "chosen": "a"}
    files: dict[str, list[dict[str, Any]]] = {
        ANSWERED: [{"id": "0", "candidates": ["a", "b"]}, {"id": "1", "candidates": ["a", "a "]}],
        SCORED: [pair | {"id": "0", "rejected": "b"}, pair | {"id": "1", "rejected": "a "}],
    }
    asked = request("dpo_data_build", system_prompt="")
    with pytest.raises(FileNotFoundError, match="/no/python"):
        # Without its output the call was cut short: q1 may still get a pair.
        harvest(lab, asked, files, count=2)
    report = harvest(lab, asked, files | {OUTPUT: []}, count=2)
    assert (report.answered, report.written, report.counts["no pair"]) == (2, 1, 1)
    assert [row["id"] for row in made(lab)] == ["0"]
    assert made(lab)[0]["prompt"] == [{"role": "user", "content": "q0"}]


def test_questions_are_read_by_the_names_people_give_them(tmp_path: Path) -> None:
    rows = [
        {"problem": "1 and 1?", "answer": "2"},
        {"instruction": "Add.", "input": "1 and 2", "output": ""},
        {"problem": "1 and 1?", "answer": "again"},
        {"text": "nothing"},
    ]
    path = tmp_path / "questions.jsonl"
    write_lines(path, rows)
    assert read_questions(path) == ["1 and 1?", "Add.\n\n1 and 2"]
    write_lines(path, rows[3:])
    with pytest.raises(DataError, match="its columns: text"):
        read_questions(path)
    with pytest.raises(DataError, match="not found"):
        read_questions(tmp_path / "none.jsonl")
