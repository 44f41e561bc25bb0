"""The runtime as a process of its own, under both launchers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from qdl_engine.core.events import Evaluated, Event, Metrics, Stopped, from_json
from qdl_engine.runs.evidence import checkpoint_problem
from qdl_engine.settings import RuntimeSettings
from qdl_engine.training.command import build_command
from tests.engine.trainer.conftest import TinyLab

pytestmark = pytest.mark.slow

MakeLab = Callable[..., TinyLab]


def read_events(path: Path) -> list[Event]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [event for line in lines if (event := from_json(line)) is not None]


@pytest.mark.parametrize("launcher", ["python", "accelerate"])
def test_it_trains_stops_and_resumes(make_lab: MakeLab, launcher: Literal["python", "accelerate"]) -> None:
    tiny = make_lab(epochs=1000.0, save_steps=100000, eval_steps=100000)
    runtime = RuntimeSettings(launcher=launcher, threads=1)
    command = build_command(tiny.config, runtime)
    events = tiny.lab.root / "events.jsonl"
    environment = os.environ | command.env | {"QDL_EVENTS": str(events)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(command.argv, env=environment, cwd=command.cwd, start_new_session=True)
    deadline = time.monotonic() + 180
    while not any(isinstance(event, Metrics) for event in read_events(events)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    # Whoever started it waits for the first process only: when that ends, the checkpoint must be there.
    assert process.wait(120) == 3
    assert isinstance(read_events(events)[-1], Stopped)
    step = read_events(events)[-1].step

    # The same steps, but an end in sight: a person would not wait for 1,000 epochs.
    checkpoint = tiny.checkpoints / f"checkpoint-{step}"
    assert (checkpoint / "trainer_state.json").is_file()
    short = make_lab(name="short", max_steps=6)
    done = build_command(short.config, runtime)
    log = short.lab.root / "events.jsonl"
    argv = done.argv
    if launcher == "accelerate":
        plain = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--module"]
        argv = [sys.executable, *plain, *done.argv[done.argv.index("--module") + 1 :]]
    ended = subprocess.run(argv, env=environment | {"QDL_EVENTS": str(log)}, cwd=done.cwd, check=False)
    assert ended.returncode == 0
    assert [event.kind for event in read_events(log)].count("finished") == 1
    assert checkpoint_problem(short.output) == ""


def test_two_processes_train_as_one(make_lab: MakeLab) -> None:
    tiny = make_lab(held_out=0.2)
    events = tiny.lab.root / "events.jsonl"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = ["-m", "qdl_engine.trainer", "--config", str(tiny.config), "--events", str(events)]
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *program]
    assert subprocess.run(argv, env=environment, check=False).returncode == 0
    seen = read_events(events)
    assert [event.kind for event in seen].count("finished") == 1, "only one process writes"
    assert seen[-1].metrics["steps"] == 2 * (48 // 8)
    held_out = [event.held_out_loss for event in seen if isinstance(event, Evaluated)]
    assert held_out[-1] < held_out[0] - 0.1
    assert checkpoint_problem(tiny.output) == ""
