"""EasyDistill 2.x started by us: configs it takes, shards that survive, rows counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.data.fields import chains_of, choose_schema
from qdl_engine.easydistill.version2.configs import JOBS, Job, ShardFiles, Wish, shard_config
from qdl_engine.easydistill.version2.find import (
    CHECKOUT_VARIABLE,
    PYTHON_VARIABLE,
    STEPS,
    Version2,
    find_version2,
)
from qdl_engine.easydistill.version2.harvest import harvest
from qdl_engine.easydistill.version2.questions import read_questions
from qdl_engine.easydistill.version2.shards import ShardReport, run_shards
from qdl_engine.errors import DataError, RunError, SettingsError
from qdl_engine.events import Event
from qdl_engine.lab import Lab
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.store import get_run
from qdl_engine.teachers.address import Secret
from tests.engine.easydistill.chat_server import ChatServer, number_of, question_of
from tests.engine.easydistill.version1.stand_in import behave, make_stand_in, starts
from tests.engine.runs.conftest import until

QUESTIONS = [(f"What costs $100 and {number}?", "") for number in range(7)]


def wish(job: Job = "instruct_distill", **values: Any) -> Wish:
    given = {
        "url": "http://127.0.0.1:9/v1",
        "model": "",
        "system_prompt": "Pay in $USD.",
        "temperature": 0.7,
        "max_tokens": 64,
        "workers": 2,
        "timeout": 30.0,
        "by_reference": False,
    }
    return Wish(job, **given | values)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "a $HOME lab")
    lab.create_directories()
    return lab


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_stand_in(tmp_path / "checkout")


def run(lab: Lab, checkout: Path, events: list[Event] | None = None, **values: Any) -> ShardReport:
    return run_shards(
        lab,
        Version2(checkout, sys.executable),
        wish(**values),
        QUESTIONS,
        key=Secret("sk-secret"),
        output=lab.data / "made.jsonl",
        shard_rows=3,
        on_event=(events if events is not None else []).append,
    )


def made(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (lab.data / "made.jsonl").read_text(encoding="utf-8").splitlines()]


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
    assert [event["done"] for event in events if event["event"] == "progress"] == [3, 6, 7]
    _, schema = choose_schema("auto", {}, rows, source="x")
    chains = chains_of(rows[0], schema)
    assert [chain.answer for chain in chains] == ["It is What costs $100 and 0?"]  # type: ignore[union-attr]


def test_the_key_reaches_the_environment_and_nothing_on_disk(lab: Lab, checkout: Path) -> None:
    run(lab, checkout)
    written = [path.read_bytes() for path in lab.root.rglob("*") if path.is_file()]
    assert not any(b"sk-secret" in data for data in written)
    assert any(b"key ***" in data for data in written)


def test_a_row_that_is_lost_is_asked_again_counted_and_named(lab: Lab, checkout: Path) -> None:
    behave(checkout, lose=["1", "5"])
    events: list[Event] = []
    report = run(lab, checkout, events)
    assert (report.answered, report.written, report.recovered) == (5, 5, 0)
    assert [(lost.row, lost.question) for lost in report.lost] == [(2, QUESTIONS[1][0]), (6, QUESTIONS[5][0])]
    assert starts(checkout) == ["0", "3", "6", "1"]
    notes = [event["message"] for event in events if event["event"] == "note"]
    assert any("1 of 3 rows have no answer" in note for note in notes)
    assert any(note.startswith("Asking again for 2 rows") for note in notes)
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
        "from tests.engine.easydistill.version2.test_version2 import run\n"
        "from qdl_engine.lab import Lab\nfrom pathlib import Path\nimport sys\n"
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


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_scores_off_the_scale_are_no_scores(tmp_path: Path) -> None:
    files = ShardFiles(tmp_path)
    write_lines(files.input, [{"id": str(number), "problem": "same"} for number in range(4)])
    whole = "<|begin_of_thought|>t<|end_of_thought|> <|begin_of_solution|>s"
    scores: list[dict[str, Any]] = [
        {"reasoning_verbosity": 9, "cognitive_difficulty": 0, "logical_correctness": True},
        {"reasoning_verbosity": 12, "cognitive_difficulty": 3, "logical_correctness": False},
        {"reasoning_verbosity": None, "cognitive_difficulty": True},
    ]
    responses = [whole, "no tags", whole]
    write_lines(
        files.scored,
        [
            {"instruction": "same", "response": response} | score
            for response, score in zip(responses, scores, strict=True)
        ],
    )
    result = harvest(wish("advanced_cot_distill"), files)
    assert (result.requested, result.answered) == (4, 3)
    assert result.counts == {"without reasoning": 1, "unscored": 2}
    name, schema = choose_schema("auto", {}, result.rows, source="x")
    first, second, third = (chain for row in result.rows for chain in chains_of(row, schema))
    assert name == "omnithought"
    assert (first.thought, first.answer, first.rv, first.cd, first.verified) == ("t", "s", 9, 0, True)  # type: ignore[union-attr]
    assert (second.answer, second.rv, second.cd, second.verified) == ("no tags", None, 3, False)  # type: ignore[union-attr]
    assert (third.rv, third.cd, third.verified) == (None, None, None)  # type: ignore[union-attr]


def test_pairs_of_equal_answers_are_no_pairs(tmp_path: Path) -> None:
    files = ShardFiles(tmp_path)
    write_lines(files.input, [{"id": "4", "instruction": "q"}, {"id": "5", "instruction": "r"}])
    write_lines(files.answered, [{"candidates": ["a", "b"]}, {"candidates": ["a", "a "]}])
    pair = {"chosen_score": 2.0, "rejected_score": 1.0}
    write_lines(
        files.scored,
        [
            pair | {"id": "4", "instruction": "q", "chosen": "a", "rejected": "b"},
            pair | {"id": "5", "instruction": "r", "chosen": "a", "rejected": "a "},
        ],
    )
    result = harvest(wish("dpo_data_build", system_prompt=""), files)
    assert [row["id"] for row in result.rows] == ["4"] and result.counts == {"no pair": 1}
    assert result.rows[0]["prompt"] == [{"role": "user", "content": "q"}]


def scripted(messages: list[dict[str, str]]) -> str:
    """A teacher and a judge in one, by what the prompts of 2.0 ask for."""
    question = question_of(messages)
    if "<score>" in question:
        return f"In 3 steps: <score>{number_of(question) % 10 if 'Scoring' in question else 1}</score>"
    if "begin_of_thought" in question:
        bare = question.rpartition("\n")[2]
        return (
            f"<|begin_of_thought|>On {bare}<|end_of_thought|>"
            f"<|begin_of_solution|>{number_of(bare)}<|end_of_solution|>"
        )
    return f"{os.urandom(4).hex()} on {question}"


@pytest.fixture
def installation() -> Version2:
    if not os.environ.get(CHECKOUT_VARIABLE):
        pytest.skip(f"needs EasyDistill 2.x: {STEPS} Then export {CHECKOUT_VARIABLE} and {PYTHON_VARIABLE}")
    return find_version2()


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_the_real_one_does_all_four_jobs(lab: Lab, installation: Version2, job: Job) -> None:
    with ChatServer(scripted).serving() as server:
        asked = wish(job, url=server.url)
        output = lab.data / f"{job}.jsonl"

        def start() -> ShardReport:
            return run_shards(
                lab, installation, asked, QUESTIONS, key=Secret("sk-secret"), output=output, shard_rows=3
            )

        report = start()
        assert (report.requested, report.answered, report.shards) == (7, 7, 3)
        assert set(server.keys) == {"Bearer sk-secret"}
        count = len(server.asked)
        assert start().reused == 3 and len(server.asked) == count
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    if job == "dpo_data_build":
        assert all(row["chosen"] != row["rejected"] for row in rows) and rows
        return
    assert [row["id"] for row in rows] == [str(number) for number in range(7)]
    name, schema = choose_schema("auto", {}, rows, source="x")
    chains = [chain for row in rows for chain in chains_of(row, schema)]
    assert [chain.instruction for chain in chains] == [question for question, _ in QUESTIONS]  # type: ignore[union-attr]
    assert name == ("messages" if job == "instruct_distill" else "omnithought")
    if job == "advanced_cot_distill":
        assert all(chain.rv is not None and chain.verified for chain in chains)  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_real_one_killed_in_the_second_shard_loses_only_that(lab: Lab, installation: Version2) -> None:
    killed = threading.Event()

    def answer(messages: list[dict[str, str]]) -> str:
        if "and 4?" in question_of(messages):
            killed.wait(60)
        return scripted(messages)

    code = (
        "from tests.engine.easydistill.version2.test_version2 import *\n"
        "lab, url = Lab(Path(sys.argv[1])), sys.argv[2]\n"
        "run_shards(lab, find_version2(), wish(url=url), QUESTIONS, key=Secret(),"
        " output=lab.data / 'made.jsonl', shard_rows=3)"
    )
    with ChatServer(answer).serving() as server:
        command = [sys.executable, "-c", code, str(lab.root), server.url]
        root = Path(__file__).parents[4]
        worker = subprocess.Popen(command, cwd=root, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            until(lambda: any("and 4?" in question_of(asked) for asked in server.asked), seconds=120)
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            killed.set()
        subprocess.run(command, cwd=root, check=True, stderr=subprocess.DEVNULL)
        times = Counter(question_of(asked) for asked in server.asked)
    assert [times[question] for question, _ in QUESTIONS[:3]] == [1, 1, 1]
    assert [row["id"] for row in made(lab)] == [str(number) for number in range(7)]


@pytest.mark.slow
def test_the_real_one_without_a_server_fails(lab: Lab, installation: Version2) -> None:
    with pytest.raises((RunError, DataError)):
        run_shards(
            lab, installation, wish(), QUESTIONS[:1], key=Secret(), output=lab.data / "x", shard_rows=3
        )


def test_questions_are_read_by_the_names_people_give_them(tmp_path: Path) -> None:
    rows = [
        {"problem": "1 and 1?", "answer": "2"},
        {"instruction": "Add.", "input": "1 and 2", "output": ""},
        {"problem": "1 and 1?", "answer": "again"},
        {"text": "nothing"},
    ]
    path = tmp_path / "questions.jsonl"
    write_lines(path, rows)
    assert read_questions(path) == [("1 and 1?", "2"), ("Add.\n\n1 and 2", "")]
    write_lines(path, rows[3:])
    with pytest.raises(DataError, match="its columns: text"):
        read_questions(path)
    with pytest.raises(DataError, match="not found"):
        read_questions(tmp_path / "none.jsonl")


def test_the_command_runs_a_job_and_remembers_the_checkout(
    tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(CHECKOUT_VARIABLE, raising=False)
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    assert main(["init", str(tmp_path / "lab")]) == 0
    questions = tmp_path / "questions.jsonl"
    write_lines(questions, [{"instruction": question} for question, _ in QUESTIONS])
    words = ["--lab", str(tmp_path / "lab"), "easydistill", "run", "instruct_distill", str(questions)]
    named = ["--checkout", str(checkout), "--python", sys.executable]
    assert main([*words, *named]) == 2
    assert "teacher.kind is hf" in capsys.readouterr().err
    words += ["--set", "teacher.kind=server", "--set", "teacher.url=http://127.0.0.1:9/v1", "--json"]
    assert main(words) == 2
    assert "pip install" in capsys.readouterr().out
    behave(checkout, crash="0")
    assert main([*words, *named]) == 1
    assert "no such model" in json.loads(capsys.readouterr().out)["message"]
    behave(checkout)
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["state"]) == ("easydistill", "done")
    assert told["summary"]["note"].startswith("Wrote 7 rows") and told["summary"]["done"] == 7
    assert len((tmp_path / "lab" / "data" / "instruct_distill.jsonl").read_text().splitlines()) == 7


def test_a_dry_run_shows_the_config_and_starts_nothing(
    tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "lab"
    assert main(["init", str(home)]) == 0
    questions = tmp_path / "questions.jsonl"
    write_lines(questions, [{"instruction": question} for question, _ in QUESTIONS])
    words = ["--lab", str(home), "easydistill", "run", "instruct_distill", str(questions), "--dry-run"]
    words += ["--checkout", str(checkout), "--python", sys.executable, "--shard-rows", "3"]
    words += ["--set", "teacher.kind=server", "--set", "teacher.url=http://127.0.0.1:9/v1"]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["shards"], told["done"]) == (7, 3, 0)
    assert told["config"]["backend"]["base_url"] == "http://127.0.0.1:9/v1"
    assert "-m easydistill.cli --config" in told["command"]
    assert main(words) == 0
    assert '"job_type": "instruct_distill"' in capsys.readouterr().out
    assert not (checkout / "starts.txt").exists() and not list((home / "runs").glob("0*"))


def test_a_detached_job_is_stopped_and_resumed_at_the_shard(
    tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    home = tmp_path / "lab"
    assert main(["init", str(home)]) == 0
    questions = tmp_path / "questions.jsonl"
    write_lines(questions, [{"instruction": question} for question, _ in QUESTIONS])
    words = [
        "--lab",
        str(home),
        "easydistill",
        "run",
        "instruct_distill",
        str(questions),
        "--shard-rows",
        "3",
    ]
    words += ["--set", "teacher.kind=server", "--set", "teacher.url=http://127.0.0.1:9/v1"]
    words += ["--set", "teacher.temperature=0.4", "--checkout", str(checkout), "--python", sys.executable]
    behave(checkout, hang="3")
    capsys.readouterr()
    assert main([*words, "--detach", "--name", "mine", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["id"]
    until(lambda: (checkout / "hanging").exists())
    assert main(["--lab", str(home), "stop", run_id]) == 0
    stopped = wait_for(get_run(Lab.at(home), run_id))
    assert (stopped.state, stopped.name, stopped.resumable) == ("stopped", "mine", True)
    behave(checkout)
    assert main(["--lab", str(home), "resume", run_id, "--detach"]) == 0
    assert wait_for(get_run(Lab.at(home), run_id)).state == "done"
    assert starts(checkout) == ["0", "3", "3", "6"]
    log = (home / "runs" / run_id / "output.log").read_text(encoding="utf-8")
    assert "requested" in log and "- openai - INFO - key EMPTY" in log
    assert len((home / "data" / "instruct_distill.jsonl").read_text(encoding="utf-8").splitlines()) == 7
