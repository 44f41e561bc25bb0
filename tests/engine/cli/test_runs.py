"""`qdl runs`, `rename`, `note`, `delete`: the list of runs and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.events import Metrics, append_event
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.runs.store import Run, create_run, list_runs, save_run
from tests.engine.cli.conftest import Capture, Qdl


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "a lab")
    lab.create_directories()
    lab.settings_file.write_text("", encoding="utf-8")
    return lab


@pytest.fixture
def training(lab: Lab) -> Run:
    config = lab.configs / "kd.json"
    write_json_atomic(config, {"models": {"student": "Qwen/Qwen2.5-0.5B"}})
    run = create_run(lab, "train", system="system1", argv=["x"], config=config)
    append_event(run.events_file, Metrics(step=1, total_steps=2, loss=1.5))
    run = replace(run, state="stopped", started=10.0, ended=20.0, message="Stopped on request.")
    save_run(run)
    return run


def as_json(qdl: Qdl, capture: Capture, *words: str) -> Any:
    assert qdl(*words, "--json") == 0
    return json.loads(capture.readouterr().out)


def test_the_list_and_its_filter(
    qdl: Qdl, lab: Lab, training: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_run(lab, "label", argv=["x"])
    assert qdl("runs") == 0
    heads, _label, row = capsys.readouterr().out.splitlines()
    assert heads.split() == ["run", "state", "when", "took", "progress", "loss", "name,", "message"]
    assert row.startswith(f"{training.id}  stopped") and row.endswith("50%       1.500  Stopped on request.")
    save_run(replace(training, message="It said " + "so much " * 20))
    assert qdl("runs") == 0
    assert ("so much " * 20).rstrip() in capsys.readouterr().out, "a pipe gets it whole"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert qdl("runs") == 0
    assert capsys.readouterr().out.endswith("so much so …\n")
    found = as_json(qdl, capsys, "runs", "--filter", "QWEN2.5 stopped")["runs"]
    assert [(run["id"], run["student"]) for run in found] == [(training.id, "Qwen/Qwen2.5-0.5B")]
    assert qdl("runs", "--filter", "nope") == 0
    assert "None of the 2 runs has all of: nope" in capsys.readouterr().out


def test_rename_and_note(qdl: Qdl, training: Run, capsys: Capture) -> None:
    assert as_json(qdl, capsys, "rename", "1", "small batch")["name"] == "small batch"
    assert qdl("note", "small batch", "half the rows") == 0
    capsys.readouterr()
    assert as_json(qdl, capsys, "note", "1")["note"] == "half the rows"
    assert qdl("note", "1") == 0
    assert capsys.readouterr().out == "half the rows\n"
    assert qdl("rename", "1", "x" * 99) == 1
    assert "A name is one line" in capsys.readouterr().err


def test_deleting_asks_and_says_what_goes(
    qdl: Qdl, lab: Lab, training: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert qdl("delete", "1") == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdin.readline", lambda: "n\n")
    assert qdl("delete", "1") == 1
    assert "Deletes its log and its figures" in capsys.readouterr().err
    assert len(list_runs(lab)) == 1
    assert as_json(qdl, capsys, "delete", "1", "--yes")["deleted"] == training.id
    assert list_runs(lab) == []


def test_an_active_run_is_not_deleted(qdl: Qdl, lab: Lab, training: Run, capsys: Capture) -> None:
    import os

    from qdl_engine.runs.process import identity_of

    alive = replace(training, state="running", pid=os.getpid(), identity=identity_of(os.getpid()))
    save_run(alive)
    assert qdl("delete", "1", "--yes") == 1
    assert f"qdl --lab '{lab.root}' stop {training.id}" in capsys.readouterr().err
    other = replace(create_run(lab, "label", argv=["x"]), state="running", pid=alive.pid)
    save_run(replace(other, identity=alive.identity))
    assert qdl("stop") == 1
    ways = [f"qdl --lab '{lab.root}' stop {run_id}" for run_id in (other.id, training.id)]
    assert capsys.readouterr().err.splitlines()[-2:] == ways
    save_run(training)
    save_run(replace(other, state="done"))


def test_export(qdl: Qdl, training: Run, capsys: Capture, tmp_path: Path) -> None:
    assert qdl("runs", "export", "1", "--csv") == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("step,time,epoch,loss,")
    assert as_json(qdl, capsys, "runs", "export", "1")["metrics"][0]["loss"] == 1.5
    target = tmp_path / "figures.json"
    assert as_json(qdl, capsys, "runs", "export", "1", "--output", str(target))["rows"] == 1
    assert json.loads(target.read_text(encoding="utf-8"))["run"]["id"] == training.id
    assert qdl("runs", "export", "1", "--csv", "--json") == 2


def test_resume_passes_over_a_record_that_cannot_be_read(
    qdl: Qdl, lab: Lab, capsys: Capture, training: Run
) -> None:
    training.record_file.write_text("{", encoding="utf-8")
    assert qdl("resume") == 1
    assert "No run can be resumed" in capsys.readouterr().err
    assert qdl("resume", "1") == 1
    assert str(training.record_file) in capsys.readouterr().err
