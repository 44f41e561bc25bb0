"""`qdl easydistill run` as a person starts it: shown first, detached, stopped, resumed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from qdl_engine.cli import main
from qdl_engine.core.lab import Lab
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.store import get_run
from qdl_engine.upstream.version2.find import (
    CHECKOUT_VARIABLE,
    PYTHON_VARIABLE,
)
from tests.engine.runs.conftest import until
from tests.engine.upstream.version1.stand_in import behave, starts
from tests.engine.upstream.version2.conftest import QUESTIONS, write_lines


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
    assert main([*words, "--detach", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["id"]
    until(lambda: (checkout / "hanging").exists())
    assert main(["--lab", str(home), "stop", run_id]) == 0
    stopped = wait_for(get_run(Lab.at(home), run_id))
    assert (stopped.state, stopped.name, stopped.resumable) == ("stopped", "instruct_distill", True)
    behave(checkout)
    assert main(["--lab", str(home), "resume", run_id, "--detach"]) == 0
    assert wait_for(get_run(Lab.at(home), run_id)).state == "done"
    assert starts(checkout) == ["0", "3", "3", "6"]
    log = (home / "runs" / run_id / "output.log").read_text(encoding="utf-8")
    assert "requested" in log and "- openai - INFO - key EMPTY" in log
    assert len((home / "data" / "instruct_distill.jsonl").read_text(encoding="utf-8").splitlines()) == 7


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("cot_long2short", "job_type cot_long2short_api"),
        ("instruction_expansion", "job_type instruction_expansion_api"),
        ("cot_eval", "qdl score"),
        ("instruct_eval", "qdl compare"),
        ("balanced_instruct_distill", "instruct_distill answers them"),
        ("pe_rewrite_distill", "rewrites prompts"),
        ("advanced_t2v_distill", "images or videos"),
        ("mm_cot_distill", "images or videos"),
        ("prompt_optimize", "images or videos"),
        ("search_agent_distill", "agents"),
        ("instruct_distil", "Did you mean instruct_distill?"),
        ("kd_white_box", "qdl run CONFIG.json"),
    ],
)
def test_a_job_that_the_lab_does_not_start_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], job: str, said: str
) -> None:
    assert main(["--lab", str(tmp_path), "easydistill", "run", job, "x.jsonl"]) == 2
    error = capsys.readouterr().err
    assert job in error and said in " ".join(error.split())
