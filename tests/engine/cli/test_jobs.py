"""`qdl train`, `attach`, `stop`, `resume`: what a run says to whoever looks."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.runs.launch import start_run, stop_run, wait_for
from qdl_engine.runs.store import Run, create_run, get_run, list_runs
from tests.at_a_terminal import QDL_AT_A_TERMINAL
from tests.engine.cli.conftest import Capture, Qdl
from tests.engine.runs.conftest import program, until


def a_run(lab: Lab, body: str, **values: Any) -> Run:
    return create_run(lab, "train", system="system1", argv=program(body), **values)


def test_attach_follows_to_the_end(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    body = """
    event("started", total_steps=2); event("metrics", step=2, total_steps=2, loss=0.5)
    checkpoint("student"); event("finished", path="student")
    """
    start_run(a_run(lab, body, output_dir=lab.root / "student"))
    assert qdl("attach") == 0
    shown = capsys.readouterr()
    assert "Run 0001-train-system1 is done" in shown.out and str(lab.root / "student") in shown.out
    assert "train  2/2 steps  (100%)  loss 0.500" in shown.err
    assert qdl("attach", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["summary"]["loss"]) == ("done", 0.5)


def test_a_failed_run_is_exit_code_1_and_shows_no_control_characters(
    lab: Lab, qdl: Qdl, capsys: Capture
) -> None:
    run = a_run(lab, "event('failed', message='bad \\x1b[2J', hint='good'); sys.exit(1)")
    wait_for(start_run(run), poll=0.02)
    assert qdl("attach", "last") == 1
    shown = capsys.readouterr().out
    assert "bad ␛[2J" in shown and "good" in shown and "resume" not in shown
    assert qdl("runs") == 0 and "\x1b" not in capsys.readouterr().out


def test_stop_and_resume(lab: Lab, qdl: Qdl, capsys: Capture) -> None:
    body = """
    if "--resume" in sys.argv: sys.exit(0)
    Path("ready").touch(); time.sleep(600)
    """
    run = create_run(lab, "train", argv=[*program(body), "qdl_engine.trainer"])
    start_run(run)
    until((lab.root / "ready").exists)
    assert qdl("stop") == 0
    assert f"Run {run.id} is stopped" in capsys.readouterr().out
    assert qdl("stop") == 1 and "No run is active" in capsys.readouterr().err
    assert qdl("resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    assert qdl("resume") == 1 and "No run can be resumed" in capsys.readouterr().err


def test_interrupting_attach_leaves_the_run(lab: Lab) -> None:
    run = start_run(a_run(lab, "event('metrics', step=1, total_steps=9, loss=1.0); wait_for_file('enough')"))
    watcher = subprocess.Popen(
        [*QDL_AT_A_TERMINAL, "attach", "--lab", str(lab.root)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stderr is not None
    assert "Run 0001" in watcher.stderr.readline() and "1/9 steps" in watcher.stderr.readline()
    watcher.send_signal(signal.SIGINT)
    assert "is still running" in watcher.stderr.read()
    assert watcher.wait() == 130
    watcher.stderr.close()
    assert get_run(lab, run.id).state == "running"
    (lab.root / "enough").touch()
    assert wait_for(run, poll=0.02).state == "done"


def test_a_failing_job_says_why_to_whoever_attaches(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("train", "system1", "--set", "system1.source=absent.json") == 1
    shown = capsys.readouterr().out
    assert "absent.json" in shown and "is failed" in shown
    assert list_runs(ready)[0].argv[-3:] == ("--set", "system1.source=absent.json", "--in-run")


def test_training_on_data_of_other_settings_names_them(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    from qdl_engine.cli.train import ensure_data
    from qdl_engine.settings.toml import apply_overrides, load_settings

    assert qdl("prepare", "system1") == 0
    settings = apply_overrides(load_settings(ready), ["system1.rows=3"])
    events: list[Any] = []
    ensure_data(ready, settings, "system1", events.append)
    assert "rows was 4, is 3. " in events[0].message
    assert f"qdl --lab {ready.word} train system1 --prepare" in events[0].message
    assert json.loads(ready.report_file("system1").read_text(encoding="utf-8"))["kept"] == 4
    detached = ("train", "system1", "--detach", "--set", "system1.rows=3", "--json")
    capsys.readouterr()
    assert qdl(*detached) == 0
    assert json.loads(capsys.readouterr().out)["note_on_data"] == events[0].message
    stop_run(list_runs(ready)[0], force=True)
    ensure_data(ready, settings, "system1", events.append, again=True)
    assert json.loads(ready.report_file("system1").read_text(encoding="utf-8"))["kept"] == 3


@pytest.mark.slow
def test_train_prepares_and_trains_in_one_run(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    capsys.readouterr()
    assert qdl("train", "system1", "--json", "--name", "the first") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["name"], found["attempt"]) == ("done", "the first", 1)
    assert Path(found["config"]).is_file() and Path(found["config"]).name.endswith("0001-train-system1.json")
    assert (ready.system1_checkpoint / "model.safetensors").is_file()
    assert len(list_runs(ready)) == 1


def test_a_lab_without_runs_says_how_to_start_one(ready: Lab, qdl: Qdl, capsys: Capture) -> None:
    assert qdl("attach") == 1
    assert f"Start one: qdl --lab {ready.word} train system1" in capsys.readouterr().err
