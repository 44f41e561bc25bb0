"""`python -m qdl_engine.upstream.version1.session --config X --checkout DIR --python EXE`: 1.0 trains.

A process around the unmodified EasyDistill 1.0: it writes what 1.0 reads, starts it, turns its output into
events, judges how it ended, and moves its checkpoint into the lab. The exit codes are those of the built-in
runtime.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qdl_engine.config.model import TrainConfig, read_config
from qdl_engine.core.errors import LabError, RunError, SettingsError
from qdl_engine.core.events import (
    Event,
    EventSink,
    Failed,
    Finished,
    Metrics,
    Note,
    Progress,
    Started,
    Stopped,
    append_event,
    no_sink,
)
from qdl_engine.core.stop import StopRequest
from qdl_engine.runs.reader import FileTail
from qdl_engine.runs.record import UPSTREAM_DIRECTORY, last_weights
from qdl_engine.upstream.find import TRAIN_SCRIPT, Interpreter, commit_of, probe
from qdl_engine.upstream.version1.inputs import Inputs, plain_path, student_directory, write_inputs
from qdl_engine.upstream.version1.outcome import ConsoleParser, judge_training

DONE, FAILED, STOPPED = 0, 1, 3
_POLL_SECONDS = 0.2
_NO_HELD_OUT = "EasyDistill 1.0 holds no rows out: it trains all, and reports no held-out loss."
_NO_CHECKPOINT = "EasyDistill 1.0 cannot resume."
# These come from another launcher, interpreter or environment, and would override the files written here.
_FOREIGN_PREFIXES = ("ACCELERATE_", "FSDP_")
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
_SHORTEST_SECONDS = 0.1
"""Lines that are read at once have no time between them."""


@dataclass(frozen=True)
class Installed:
    """An EasyDistill 1.0, and an interpreter with the packages that it needs."""

    checkout: Path
    interpreter: Interpreter


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what the command line names; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m qdl_engine.upstream.version1.session",
        description="Train a config by EasyDistill 1.0.",
    )
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--checkout", required=True, type=Path)
    parser.add_argument("--python", required=True)
    given = parser.parse_args(arguments)
    # It reports a missing 4-bit kernel as a failure, although no training uses it.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    events = os.environ.get("QDL_EVENTS")
    sink = _file_sink(Path(events)) if events else no_sink
    with StopRequest().installed() as stop:
        try:
            config = read_config(given.config)
            sink(Progress(stage="load", done=0, unit="rows"))
            installed = Installed(given.checkout, usable_interpreter(given.python))
            return train(config, installed, work_directory(config), sink=sink, stop=stop)
        except LabError as error:
            return _fail(sink, error)
        except Exception as error:  # noqa: BLE001 - the outermost frame: all goes to the log
            traceback.print_exc()
            return _fail(sink, RunError(f"Training failed: {type(error).__name__}: {error}"))


def _file_sink(path: Path) -> EventSink:
    def write(event: Event) -> None:
        append_event(path, event)

    return write


def _fail(sink: EventSink, error: LabError) -> int:
    sink(Failed(error.message, error.hint))
    print(error, file=sys.stderr, flush=True)
    return error.exit_code


def usable_interpreter(python: str) -> Interpreter:
    """Examine the interpreter.

    Raises:
        SettingsError: when it lacks something, with the command to type.
    """
    found = probe(python)
    if found.missing:
        names = ", ".join(found.missing)
        raise SettingsError(f"{python} lacks {names}, which EasyDistill 1.0 imports", found.install_command())
    if found.problem:
        raise SettingsError(
            f"EasyDistill 1.0 cannot run in {python}: {found.problem}", "See: qdl easydistill check"
        )
    return found


def work_directory(config: TrainConfig) -> Path:
    """The directory for 1.0's files: in the run's directory, or without a run beside the output."""
    run = os.environ.get("QDL_RUN_DIR")
    return (
        Path(run) / UPSTREAM_DIRECTORY
        if run
        else config.output_dir.with_name(f"{config.output_dir.name}.easydistill")
    )


def train(
    config: TrainConfig,
    installed: Installed,
    work: Path,
    *,
    sink: EventSink = no_sink,
    stop: StopRequest | None = None,
) -> int:
    """Train, and move the checkpoint into the lab.

    Args:
        config: What to train.
        installed: What trains it.
        work: A directory for this training only; it is emptied first.
        sink: Takes the same events as the built-in runtime's.
        stop: Set by a signal; the signal reaches 1.0 too, which cannot end cleanly.

    Returns:
        `DONE` or `STOPPED`.

    Raises:
        LabError: when the training failed, with what to do.
    """
    stop = stop or StopRequest()
    began = time.monotonic()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with plain_path(work) as place:
        inputs = write_inputs(config, installed.interpreter, place)
        held_out = _NO_HELD_OUT if config.extras.held_out else ""
        for text in filter(None, (held_out, *inputs.notes)):
            sink(Note(text))
            print(text, flush=True)
        started = time.time()
        watch = Watch(work / "easydistill.log", sink, _started(config, installed, inputs))
        exit_code = _run(launch_command(installed, inputs), place, watch, config, installed)
    output_dir = work / inputs.output_dir.name
    outcome = judge_training(watch.log, exit_code, output_dir, since=started)
    if outcome.problem and stop.requested:
        return _stopped(sink, watch.parser.step, output_dir)
    if outcome.problem:
        raise RunError(outcome.problem, outcome.hint)
    metrics = watch.metrics(time.monotonic() - began)
    sink(Progress(stage="save", done=watch.parser.step, total=watch.parser.step, unit="steps"))
    _adopt(config, installed, inputs, output_dir, metrics)
    shutil.rmtree(output_dir)
    shutil.rmtree(work / "cache", ignore_errors=True)
    for warning in outcome.warnings:
        sink(Note(warning))
    seconds = time.monotonic() - began
    sink(
        Finished(
            path=str(config.output_dir),
            seconds=seconds,
            metrics=metrics,
            warnings=outcome.warnings,
        )
    )
    print(f"Student written to {config.output_dir} after {seconds:,.0f} s", flush=True)
    return DONE


def launch_command(installed: Installed, inputs: Inputs) -> list[str]:
    """`accelerate launch` of 1.0's own script.

    Its command line will not do: it uses a shell, asks for eight GPUs and exits with 0 on a failure.
    """
    return [
        installed.interpreter.python, "-m", "accelerate.commands.launch", "--config_file", str(inputs.launch),
        str(installed.checkout / TRAIN_SCRIPT), "--config", str(inputs.config),
    ]  # fmt: skip


def launch_environment(
    environment: Mapping[str, str], python: str, place: Path, *, threads: int = 0
) -> dict[str, str]:
    """The environment of 1.0, made from this process's."""
    kept = {
        key: value
        for key, value in environment.items()
        if not key.startswith(_FOREIGN_PREFIXES) and key not in _FOREIGN
    }
    binaries = str(Path(python).absolute().parent)
    kept |= {
        "PATH": os.pathsep.join([binaries, kept.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # The student is a directory by now; without a network, asking the hub costs minutes of retries.
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(place / "cache"),
    }
    if threads:
        kept["OMP_NUM_THREADS"] = str(threads)
    return kept


def _run(command: list[str], place: Path, watch: Watch, config: TrainConfig, installed: Installed) -> int:
    """Run to the end; the exit code. The output goes to a file, so that it survives this process."""
    print("+", " ".join(command), flush=True)
    environment = launch_environment(
        os.environ, installed.interpreter.python, place, threads=config.extras.threads
    )
    with open(watch.log, "wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=place,
            env=environment,
        )
    while True:
        try:
            code = child.wait(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            watch.read()
            continue
        with open(watch.log, "ab") as log:
            # Its last line may lack the newline that the reader waits for.
            log.write(b"\n")
        watch.read()
        watch.close()
        return code


class Watch:
    """Follows the output: passes it on, and writes events."""

    def __init__(self, log: Path, sink: EventSink, started: dict[str, Any]) -> None:
        self.log = log
        self.parser = ConsoleParser()
        self.last = Metrics()
        """The last metrics that had a loss."""
        self._tail = FileTail(log)
        self._sink = sink
        self._started = started
        self._counted: tuple[float, float] | None = None
        """Tokens so far, and when they were counted."""
        self._rate: float | None = None

    def read(self) -> None:
        """Take what was printed since the last call."""
        output = self._tail.read()
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()
        for event in self.parser.feed(output):
            self._take(event)

    def close(self) -> None:
        """Take the last loss, which no bar followed."""
        for event in self.parser.close():
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Started):
            event = replace(event, step=0, **self._started)
        elif isinstance(event, Metrics) and event.loss is not None:
            event = self.last = replace(event, tokens_per_second=self._tokens_per_second(event.num_tokens))
        self._sink(event)

    def _tokens_per_second(self, tokens: float | None) -> float | None:
        now = time.monotonic()
        before, self._counted = self._counted, None if tokens is None else (tokens, now)
        if tokens is None or before is None:
            return None
        if now - before[1] < _SHORTEST_SECONDS:
            self._counted = before
            return self._rate
        self._rate = (tokens - before[0]) / (now - before[1])
        return self._rate

    def metrics(self, seconds: float) -> dict[str, Any]:
        """The final metrics, by the built-in runtime's names."""
        return {
            "steps": self.parser.step,
            "loss": self.last.loss,
            "held_out_loss": None,
            "tokens_per_second": self.last.tokens_per_second,
            "seconds": seconds,
        }


def _started(config: TrainConfig, installed: Installed, inputs: Inputs) -> dict[str, Any]:
    gpus = installed.interpreter.gpus
    return {
        "epochs": config.training.get("num_train_epochs", 3.0),
        "rows": inputs.counts.kept,
        "held_out_rows": 0,
        "dropped_rows": inputs.counts.read - inputs.counts.kept,
        "device": f"{len(gpus)} x {gpus[0]}" if len(gpus) > 1 else gpus[0] if gpus else "CPU",
        "precision": inputs.precision,
        "runtime": "easydistill",
    }


def _stopped(sink: EventSink, step: int, output_dir: Path) -> int:
    last = last_weights(output_dir)
    weights = "" if last is None else f" To start a new training from its last weights: {last}"
    sink(Note(_NO_CHECKPOINT + weights))
    sink(Stopped(step=step, path=None))
    print(f"Stopped at step {step:,}. {_NO_CHECKPOINT}{weights}", flush=True)
    return STOPPED


def _adopt(
    config: TrainConfig, installed: Installed, inputs: Inputs, output_dir: Path, metrics: dict[str, Any]
) -> None:
    from qdl_engine.trainer.session import adopt_checkpoint

    record = {
        "format": 1,
        "system": config.extras.system,
        "system_prompt": config.template.system_prompt,
        "prompt": {"prefix": config.template.prefix, "suffix": config.template.suffix},
        "template_sha256": config.template.sha256,
        "student": config.student,
        "config": config.raw,
        "data": {
            **config.extras.data,
            "path": str(config.labeled_path),
            "rows": inputs.counts.kept,
            "held_out_rows": 0,
        },
        "metrics": metrics,
        "precision": inputs.precision,
        "versions": {**installed.interpreter.versions, "easydistill": commit_of(installed.checkout)},
    }  # fmt: skip
    adopt_checkpoint(output_dir, student_directory(config.student), config, record)


if __name__ == "__main__":
    sys.exit(main())
