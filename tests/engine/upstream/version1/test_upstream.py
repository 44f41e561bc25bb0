"""The unmodified EasyDistill 1.0 trains our configs. Slow, and skipped where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.config.write import write_system1_config
from qdl_engine.core.errors import RunError
from qdl_engine.core.events import Event, Metrics, Note, from_json
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.demo.world import distilqwen_rows, system1_samples, write_jsonl
from qdl_engine.models.generate import infer_student
from qdl_engine.runs.launch import stop_run, wait_for
from qdl_engine.runs.process import run_alive
from qdl_engine.runs.reader import loss_history
from qdl_engine.settings import LabSettings, RuntimeSettings, System1Settings
from qdl_engine.training.command import run_easy_distill
from tests.engine.runs.conftest import until
from tests.engine.upstream.version1.upstream import CHECKOUT, PYTHON, STUDENT, needs_upstream

pytestmark = [pytest.mark.slow, needs_upstream]

BUILTIN = RuntimeSettings(threads=1)
UPSTREAM = RuntimeSettings(kind="easydistill", checkout=CHECKOUT, python=PYTHON, threads=1)
WITHIN = 0.01


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Every letter in its path has broken something of EasyDistill, of datasets or of a shell."""
    lab = Lab.at(tmp_path / 'a lab; it\'s ["é 漢"] * ?::x error failed exception traceback')
    lab.create_directories()
    return lab


def config_of(lab: Lab, change: Callable[[dict[str, Any]], object], **recipe: Any) -> Path:
    """A config of System 1 as the lab writes it, and then changed."""
    write_jsonl(lab.train_labeled, distilqwen_rows(system1_samples(96, 3)))
    values = {"batch_size": 4, "gradient_accumulation": 2, "learning_rate": 1e-3, "max_length": 256}
    values |= {"logging_steps": 1, "held_out": 0.0, "group_by_length": False, "warmup_ratio": 0.1, "seed": 7}
    settings = LabSettings(system1=System1Settings(student=str(STUDENT), **values | recipe))
    settings.runtime.threads = 1
    path = write_system1_config(lab, settings)
    raw = read_json(path)
    change(raw)
    write_json_atomic(path, raw)
    return path


def same_order(raw: dict[str, Any]) -> None:
    raw["qdl"] |= {"order": "easydistill", "longest_first": False}


def test_the_loss_curve_is_that_of_the_built_in_runtime(lab: Lab) -> None:
    config = config_of(lab, same_order, epochs=3)
    curves = {}
    for name, runtime in (("builtin", BUILTIN), ("easydistill", UPSTREAM)):
        result = run_easy_distill(config, lab=lab, runtime=runtime)
        assert (result.state, result.message) == ("done", "")
        curves[name] = loss_history(result.run)
    ours, theirs = curves["builtin"], curves["easydistill"]
    assert [step for step, _ in ours] == [step for step, _ in theirs] == list(range(1, 37))
    apart = [abs(mine / other - 1) for (_, mine), (_, other) in zip(ours, theirs, strict=True)]
    first, last = theirs[0][1], theirs[-1][1]
    print(f"\n{len(apart)} steps, loss {first:.3f} to {last:.3f}, at most {max(apart):.5%} apart")
    assert max(apart) < WITHIN


def test_in_a_lab_with_any_path_a_student_comes_out(lab: Lab) -> None:
    events: list[Event] = []
    before = _tree(Path(CHECKOUT))
    config = config_of(lab, lambda raw: None, held_out=0.05, group_by_length=True, epochs=1)
    result = run_easy_distill(config, lab=lab, runtime=UPSTREAM, on_event=events.append)
    assert result.state == "done"
    kinds = [event.kind for event in events]
    assert kinds[-1] == "finished" and "started" in kinds
    assert any("held-out" in event.message for event in events if isinstance(event, Note))
    assert result.metrics["held_out_loss"] is None and result.metrics["steps"] == 12
    rates = [
        event.tokens_per_second for event in events if isinstance(event, Metrics) and event.tokens_per_second
    ]
    assert rates and min(rates) > 0
    student = lab.system1_checkpoint
    assert read_json(student / "qdl_checkpoint.json")["versions"]["trl"] == "0.17.0"
    assert read_json(student / "config.json")["dtype"] == read_json(STUDENT / "config.json")["dtype"]
    assert infer_student(student, "What is 2 + 3?", max_new_tokens=4) is not None
    assert [path.name for path in lab.data.iterdir()] == ["train_labeled.json"]
    assert _tree(Path(CHECKOUT)) == before
    assert not list((result.run.directory / "easydistill").glob("output"))


def _tree(root: Path) -> set[tuple[str, int]]:
    files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {(str(path), path.stat().st_mtime_ns) for path in files if ".git" not in path.parts}


def test_what_is_trained_is_asked_in_the_words_of_use_and_the_answer_ends(lab: Lab) -> None:
    from qdl_engine.core.prompts import format_completion, format_prompt

    config = config_of(lab, lambda raw: None, max_steps=1)
    result = run_easy_distill(config, lab=lab, runtime=UPSTREAM)
    lines = (result.run.directory / "easydistill/rows.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        assert row["prompt"] == format_prompt(row["instruction"])
        assert row["completion"] == format_completion(row["output"])


def test_a_failure_says_what_it_said(lab: Lab, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(STUDENT, broken)
    os.truncate(broken / "model.safetensors", 1000)
    config = config_of(lab, lambda raw: raw["models"].update(student=str(broken)))
    with pytest.raises(RunError, match=r"EasyDistill failed: .*SafetensorError"):
        run_easy_distill(config, lab=lab, runtime=UPSTREAM)
    assert not lab.system1_checkpoint.exists()


def test_a_diverged_loss_is_shown_as_what_it_is(lab: Lab) -> None:
    config = config_of(
        lab, lambda raw: raw["training"].update(learning_rate=1e30, max_grad_norm=0.0), max_steps=6
    )
    events: list[Event] = []
    with pytest.raises(RunError, match="no numbers"):
        run_easy_distill(config, lab=lab, runtime=UPSTREAM, on_event=events.append)
    assert "nan" in [event.loss for event in events if isinstance(event, Metrics) and event.loss is not None]


def test_a_stop_ends_all_of_its_processes(lab: Lab) -> None:
    config = config_of(lab, lambda raw: None, epochs=1000, save_steps=2)
    run = run_easy_distill(config, lab=lab, runtime=UPSTREAM, wait=False).run
    output = run.directory / "easydistill/output"
    until(lambda: any(output.glob("checkpoint-*/trainer_state.json")), seconds=300)
    ended = wait_for(stop_run(run, grace=30), timeout=120)
    assert ended.state == "stopped" and "Stopped on request" in ended.message
    assert ended.pid is not None and not run_alive(ended.pid, ended.directory)
    notes = [from_json(line) for line in run.events_file.read_text().splitlines()]
    assert any("checkpoint-" in event.message for event in notes if isinstance(event, Note))


def test_an_interpreter_that_lacks_something_says_what_to_type(lab: Lab, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    runtime = RuntimeSettings(kind="easydistill", checkout=CHECKOUT, python=str(bare / "bin/python"))
    with pytest.raises(RunError) as failed:
        run_easy_distill(config_of(lab, lambda raw: None), lab=lab, runtime=runtime)
    assert "lacks torch" in failed.value.message and "trl==0.17.0" in failed.value.hint
