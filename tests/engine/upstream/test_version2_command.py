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
from tests.engine.runs.conftest import until
from tests.engine.upstream.version2_stand_in import QUESTIONS, behave, make_stand_in, starts, write_lines

SERVER = ["--set", "teacher.kind=server", "--set", "teacher.url=http://127.0.0.1:9/v1"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that nothing names yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return make_stand_in(tmp_path / "checkout")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command on seven questions, in a new lab, without a teacher and a checkout."""
    assert main(["init", str(tmp_path / "lab")]) == 0
    questions = tmp_path / "questions.jsonl"
    write_lines(questions, [{"instruction": question} for question in QUESTIONS])
    return ["--lab", str(tmp_path / "lab"), "easydistill", "run", "instruct_distill", str(questions)]


def named(checkout: Path) -> list[str]:
    return ["--checkout", str(checkout), "--python", sys.executable]


def test_the_command_runs_a_job_and_remembers_the_checkout(
    tmp_path: Path, checkout: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main([*words, *named(checkout)]) == 2
    assert "teacher.kind is hf" in capsys.readouterr().err
    words = [*words, *SERVER, "--json"]
    assert main(words) == 2
    assert "pip install" in capsys.readouterr().out
    behave(checkout, crash=True)
    assert main([*words, *named(checkout)]) == 1
    assert "no such model" in json.loads(capsys.readouterr().out)["message"]
    behave(checkout)
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["state"]) == ("easydistill", "done")
    assert told["summary"]["note"].startswith("Wrote 7 rows") and told["summary"]["done"] == 7
    assert len((tmp_path / "lab" / "data" / "instruct_distill.jsonl").read_text().splitlines()) == 7


def test_a_dry_run_shows_the_config_and_starts_nothing(
    tmp_path: Path, checkout: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*words, "--dry-run", *named(checkout), *SERVER]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["answered"]) == (7, 0)
    assert told["config"]["backend"]["base_url"] == "http://127.0.0.1:9/v1"
    assert "-m easydistill.cli --config" in told["command"]
    assert main(words) == 0
    assert '"job_type": "instruct_distill"' in capsys.readouterr().out
    assert not (checkout / "starts.txt").exists() and not list((tmp_path / "lab" / "runs").glob("0*"))


def test_a_detached_job_is_stopped_and_resumed_at_what_lacks_an_answer(
    tmp_path: Path, checkout: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "lab"
    words = [*words, *SERVER, "--set", "teacher.temperature=0.4", *named(checkout)]
    behave(checkout, lose=["2", "3"])
    assert main(words) == 0
    behave(checkout, hang=True)
    capsys.readouterr()
    assert main([*words, "--detach", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["id"]
    until(lambda: (checkout / "hanging").exists())
    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answered"] == 5
    assert main(["--lab", str(home), "stop", run_id]) == 0
    stopped = wait_for(get_run(Lab.at(home), run_id))
    assert (stopped.state, stopped.name, stopped.resumable) == ("stopped", "instruct_distill", True)
    behave(checkout)
    assert main(["--lab", str(home), "resume", run_id, "--detach"]) == 0
    assert wait_for(get_run(Lab.at(home), run_id)).state == "done"
    assert starts(checkout) == ["0123456", "23", "23"]
    log = (home / "runs" / run_id / "output.log").read_text(encoding="utf-8")
    assert "requested" in log and "- openai - INFO - key EMPTY" in log
    assert len((home / "data" / "instruct_distill.jsonl").read_text(encoding="utf-8").splitlines()) == 7


def test_an_output_that_a_person_made_stays(
    tmp_path: Path, checkout: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("mine", encoding="utf-8")
    for output in (mine, tmp_path / "questions.jsonl", tmp_path / "lab" / "qdl.toml"):
        assert main([*words, *named(checkout), *SERVER, "--output", str(output)]) == 2
        assert str(output) in capsys.readouterr().err
    assert mine.read_text(encoding="utf-8") == "mine" and not (checkout / "starts.txt").exists()


def test_a_job_that_the_lab_does_not_start_is_refused_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--lab", str(tmp_path), "easydistill", "run", "cot_eval", "x.jsonl"]) == 2
    assert "qdl score" in capsys.readouterr().err
