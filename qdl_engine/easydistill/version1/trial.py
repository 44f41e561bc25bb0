"""Ten steps by EasyDistill 1.0 on the demo's tiny student: the very way that a run of the lab takes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qdl_engine.easydistill.version1.probe import Interpreter
from qdl_engine.easydistill.version1.work import SESSION
from qdl_engine.events import Event, EventSink, as_number, make_event, no_sink
from qdl_engine.runs.process import signal_group

STEPS = 10
_ROWS = 40
_SECONDS = 900
_KEPT_OUT = ("QDL_RUN_DIR", "QDL_EVENTS")


@dataclass(frozen=True)
class Trial:
    """How it went."""

    losses: tuple[float, ...] = ()
    seconds: float = 0.0
    problem: str = ""
    """Empty for a trial that left a checkpoint that loads."""
    hint: str = ""

    def text(self) -> str:
        """One line for a person."""
        if self.problem:
            return f"failed after {len(self.losses)} steps"
        return f"{len(self.losses)} steps in {self.seconds:.0f} s, and a checkpoint that loads"


def run_trial(checkout: Path, interpreter: Interpreter, *, on_event: EventSink = no_sink) -> Trial:
    """Train ten steps in a directory of their own, which stays only when something goes wrong."""
    on_event(make_event("progress", stage="trial", done=0, total=STEPS, unit="steps"))
    directory = Path(tempfile.mkdtemp(prefix="qdl-trial-"))
    config = _write_config(directory)
    events = directory / "events.jsonl"
    command = [sys.executable, "-P", "-m", SESSION, "--config", str(config)]
    command += ["--checkout", str(checkout), "--python", interpreter.python]
    environment = {key: value for key, value in os.environ.items() if key not in _KEPT_OUT}
    with open(directory / "output.log", "wb") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
            env={**environment, "QDL_EVENTS": str(events)}, start_new_session=True,
        )  # fmt: skip
        try:
            child.wait(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return Trial(problem=f"the trial did not end within {_SECONDS} s", hint=f"Its output: {log.name}")
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            # The launcher and the training that it started live in the same group.
            signal_group(child.pid, signal.SIGKILL)
            child.wait()
    trial = _judge(_read(events), Path(log.name))
    if not trial.problem:
        shutil.rmtree(directory, ignore_errors=True)
    return trial


def _write_config(directory: Path) -> Path:
    from qdl_engine.demo.lab import BASE_STUDENT
    from qdl_engine.demo.sources import distilqwen_rows, system1_samples, write_jsonl
    from qdl_engine.easydistill.config import write_system1_config
    from qdl_engine.lab import Lab
    from qdl_engine.settings import LabSettings, System1Settings

    lab = Lab.at(directory)
    lab.create_directories()
    write_jsonl(lab.train_labeled, distilqwen_rows(system1_samples(_ROWS, 0)))
    recipe = System1Settings(
        student=str(BASE_STUDENT), max_steps=STEPS, batch_size=4, gradient_accumulation=1, learning_rate=1e-3,
        max_length=256, logging_steps=1, held_out=0.0,
    )  # fmt: skip
    return write_system1_config(lab, LabSettings(system1=recipe))


def _read(events: Path) -> list[Event]:
    from qdl_engine.events import parse_event

    lines = events.read_bytes().splitlines() if events.is_file() else []
    return [event for line in lines if (event := parse_event(line)) is not None]


def _judge(events: list[Event], log: Path) -> Trial:
    losses = tuple(
        loss for event in events if (loss := as_number(event.get("loss"))) is not None and event.get("step")
    )
    last = events[-1] if events else {}
    if last.get("event") == "finished" and losses:
        return Trial(losses, float(last["seconds"]))
    problem = str(last.get("message") or "the trial ended without a word")
    # What the message points to lies in the directory that stays.
    return Trial(losses, 0.0, problem, str(last.get("hint") or f"Its output: {log}"))
