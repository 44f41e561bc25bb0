"""EasyDistill 2.x started by us: configs it takes, shards that survive, rows counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qdl_engine.core.errors import RunError, SettingsError
from qdl_engine.core.events import Event, Note, Progress
from qdl_engine.core.lab import Lab
from qdl_engine.data.schemas import chains_of, choose_schema
from qdl_engine.upstream.version2.configs import JOBS, Job, ShardFiles, shard_config
from qdl_engine.upstream.version2.find import (
    CHECKOUT_VARIABLE,
    find_version2,
)
from tests.engine.runs.conftest import until
from tests.engine.upstream.version1.stand_in import behave, starts
from tests.engine.upstream.version2.conftest import KEY, QUESTIONS, made, run, wish


@pytest.mark.parametrize("job", JOBS)
def test_no_text_of_a_config_is_expanded_and_no_metric_is_left_out(tmp_path: Path, job: Job) -> None:
    config = shard_config(wish(job, model="a$b"), ShardFiles(tmp_path / "$x"))
    text = json.dumps(config)
    assert text.count("$") == text.count("${QDL_DOLLAR}") > 0
    assert "api_key" not in text
    if job == "advanced_cot_distill":
        assert config["eval"]["metrics"] and config["pipeline"][-1]["stage"] == "build_sft"
    if job == "dpo_data_build":
        pairs = next(part for part in config["pipeline"] if part["stage"] == "build_preference_pairs")
        assert pairs["config"]["min_margin"] > 0 and config["preference"]["metrics"]


def test_wishes_that_2_would_answer_with_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"teacher\.url"):
        wish(url="http://$HOST/v1").check()
    with pytest.raises(SettingsError, match="two different answers"):
        wish("dpo_data_build", temperature=0.0).check()


def test_rows_come_out_in_the_order_they_went_in(lab: Lab, checkout: Path) -> None:
    events: list[Event] = []
    report = run(lab, checkout, events)
    assert (report.requested, report.answered, report.written, report.shards) == (7, 7, 7, 3)
    rows = made(lab)
    assert [row["messages"][1]["content"] for row in rows] == [question for question, _ in QUESTIONS]
    assert rows[0]["messages"][0]["content"] == "Pay in $USD."
    assert [event.done for event in events if isinstance(event, Progress)] == [3, 6, 7]
    _, schema = choose_schema("auto", {}, rows, source="x")
    chains = chains_of(rows[0], schema)
    assert [chain.answer for chain in chains] == ["It is What costs $100 and 0?"]  # type: ignore[union-attr]


def test_the_key_reaches_the_environment_and_nothing_on_disk(lab: Lab, checkout: Path) -> None:
    run(lab, checkout)
    written = _written(lab)
    assert b"sk-secret" not in written
    assert b"key ***" in written


def _written(lab: Lab) -> bytes:
    return b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())


def test_a_key_said_in_two_pieces_is_in_no_log(
    lab: Lab, checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each piece is read before the next is said, and one splits a character too."""
    behave(checkout, halves=True)
    run(lab, checkout)
    shown = capfd.readouterr().err
    assert "é ***" in shown and KEY[5:] not in shown and "\ufffd" not in shown
    assert KEY[5:].encode() not in _written(lab)


def test_an_answer_that_quotes_the_key_is_written_without_it(lab: Lab, checkout: Path) -> None:
    behave(checkout, quote=["1"])
    run(lab, checkout)
    assert made(lab)[1]["messages"][2]["content"] == "Your key: ***"
    assert KEY.encode() not in _written(lab)


def test_an_answer_that_is_no_unicode_is_lost_and_named(lab: Lab, checkout: Path) -> None:
    behave(checkout, half=["1"])
    report = run(lab, checkout)
    assert (report.written, [lost.row for lost in report.lost]) == (6, [2])
    assert len(made(lab)) == 6


def test_an_answer_that_2_cannot_write_costs_its_own_row_only(lab: Lab, checkout: Path) -> None:
    behave(checkout, spoil=["4"])
    report = run(lab, checkout)
    assert (report.written, [lost.row for lost in report.lost]) == (6, [5])
    assert starts(checkout) == ["0", "3", "6", "3", "3", "4", "4", "5"]
    assert [row["id"] for row in made(lab)] == ["0", "1", "2", "3", "5", "6"]


def test_a_question_that_is_no_unicode_is_left_out_and_named(lab: Lab, checkout: Path) -> None:
    events: list[Event] = []
    report = run(lab, checkout, events, [("one", ""), ("half \ud800", ""), ("three", "")])
    assert (report.requested, report.written) == (2, 2)
    assert report.counts["left out, not valid Unicode"] == 1
    notes = [event.message for event in events if isinstance(event, Note)]
    assert "Left out, not valid Unicode: 1: 2 (half \\ud800)" in notes


def test_a_row_that_is_lost_is_asked_again_counted_and_named(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1", "5"])
    events: list[Event] = []
    report = run(lab, checkout, events)
    assert (report.answered, report.written, report.recovered) == (5, 5, 0)
    assert [(lost.row, lost.question) for lost in report.lost] == [(2, QUESTIONS[1][0]), (6, QUESTIONS[5][0])]
    assert starts(checkout) == ["0", "3", "6", "1"]
    notes = [event.message for event in events if isinstance(event, Note)]
    assert any("1 of 3 rows have no answer" in note for note in notes)
    assert any(note.startswith("Asking again for rows without an answer: 2") for note in notes)
    assert any("Nothing more was answered: Failed to generate" in note for note in notes)
    assert "2 (What costs $100 and 1?), 6 (" in report.table()
    beside = json.loads((lab.data / "made_report.json").read_text(encoding="utf-8"))
    assert [lost["row"] for lost in beside["lost"]] == [2, 6]


def test_what_is_still_lost_is_asked_by_the_next_start_and_nothing_else(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1", "5"])
    run(lab, checkout)
    behave(checkout, lose=["5"])
    report = run(lab, checkout)
    assert (report.reused, report.recovered, [lost.row for lost in report.lost]) == (3, 1, [6])
    behave(checkout)
    report = run(lab, checkout)
    assert (report.answered, report.written, report.recovered, report.lost) == (7, 7, 2, [])
    assert starts(checkout) == ["0", "3", "6", "1", "1", "5"]
    assert [row["id"] for row in made(lab)] == [str(number) for number in range(7)]
    assert run(lab, checkout).written == 7 and len(starts(checkout)) == 6


def test_asking_again_spoils_nothing_when_it_crashes(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1"], crash="1")
    report = run(lab, checkout)
    assert (report.written, [lost.row for lost in report.lost]) == (6, [2])


def test_a_shard_without_rows_fails_whatever_its_exit_code(lab: Lab, checkout: Path) -> None:
    behave(checkout, silent="3")
    with pytest.raises(RunError, match="no answer to any row") as failed:
        run(lab, checkout)
    assert "after 4 attempts: 500" in failed.value.message
    behave(checkout)
    report = run(lab, checkout)
    assert (report.reused, report.written) == (1, 7)
    assert starts(checkout) == ["0", "3", "3", "6"]


def test_a_crash_is_told_in_its_own_words(lab: Lab, checkout: Path) -> None:
    behave(checkout, crash="0")
    with pytest.raises(RunError, match="ValueError: no such model"):
        run(lab, checkout)
    assert not (lab.data / "made.jsonl").exists()


def test_other_settings_begin_anew(lab: Lab, checkout: Path) -> None:
    run(lab, checkout)
    assert run(lab, checkout, workers=8).reused == 3
    assert run(lab, checkout, temperature=0.1).reused == 0


def test_an_interruption_loses_one_shard(lab: Lab, checkout: Path) -> None:
    behave(checkout, hang="3")
    code = (
        "from tests.engine.upstream.version2.conftest import run\n"
        "from qdl_engine.core.lab import Lab\nfrom pathlib import Path\nimport sys\n"
        "run(Lab(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(lab.root), str(checkout)],
        cwd=Path(__file__).parents[4],
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
    assert (report.reused, report.written) == (1, 7)
    assert starts(checkout) == ["0", "3", "3", "6"]


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_what_is_no_checkout_is_refused_with_the_steps(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CHECKOUT_VARIABLE, raising=False)
    with pytest.raises(SettingsError) as refused:
        find_version2(str(tmp_path / name) if name else "")
    assert "pip install ./easydistill2" in str(refused.value)


def test_an_interpreter_without_its_modules_is_refused(checkout: Path) -> None:
    (checkout / "openai.py").write_text("import no_such_module", encoding="utf-8")
    with pytest.raises(SettingsError, match="no_such_module"):
        find_version2(str(checkout), sys.executable)
