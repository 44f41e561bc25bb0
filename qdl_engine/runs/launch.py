"""Start, resume, stop and wait for runs. A run outlives the process that started it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from qdl_engine.core.errors import LabBusyError, RunError
from qdl_engine.core.events import EventSink, no_sink
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.core.systems import SYSTEMS
from qdl_engine.models.checkpoint import check_place
from qdl_engine.runs.edit import delete_run
from qdl_engine.runs.process import (
    RUN_DIRECTORY,
    identity_of,
    is_alive,
    kill_run,
    kill_workers,
    run_alive,
    signal_group,
)
from qdl_engine.runs.reader import EventTail
from qdl_engine.runs.record import (
    RESUME_FLAG,
    STOP_GRACE_SECONDS,
    UPSTREAM_DIRECTORY,
    UPSTREAM_OUTPUT,
    clear_stop,
    last_weights,
)
from qdl_engine.runs.store import Run, create_run, list_runs, refresh_run, save_run, store_lock

CHILD_ENVIRONMENT: Mapping[str, str] = {
    # The log must show output while the run works, in UTF-8 under any locale.
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    # Forked tokenizers warn and may deadlock; spinning OpenMP threads starve the others on a small machine.
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules. `-P` keeps the current directory off the path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def start_run(run: Run) -> Run:
    """Start a queued run, detached from this process, and return its record once its program has started.

    Raises:
        LabBusyError: when another run writes to the same output directory; the message names that run.
        RunError: when the run was started before, or its supervisor fails to start.
    """
    with store_lock(run.lab):
        current = refresh_run(run)
        if current.state != "queued":
            raise RunError(
                f"Run {run.id} is {current.state}, not queued",
                f"Resume it: qdl --lab {run.lab.word} resume {run.id}",
            )
        return _launch(current)


def resume_run(run: Run) -> Run:
    """Start an ended run again in the same directory, from its last checkpoint.

    Raises:
        RunError: when the run is running or done, when its program cannot resume, or when it would write into
            the lab that this one was copied from.
    """
    with store_lock(run.lab):
        current = refresh_run(run)
        if current.ended_early and current.cannot_go_on:
            raise RunError(f"Cannot resume run {run.id}: {current.cannot_go_on}", _retraining(current))
        if current.state != "queued" and not current.resumable:
            raise RunError(
                f"Cannot resume run {run.id}: it is {current.state}",
                "Only stopped, failed and lost runs can resume.",
            )
        _refuse_other_lab(current)
        return _launch(replace(current, argv=tuple(_resuming(current))))


def _refuse_other_lab(run: Run) -> None:
    if run.writes_elsewhere:
        raise RunError(
            f"Run {run.id} writes into another lab: {run.output_dir}",
            f"This lab is a copy of that one. Train here: qdl --lab {run.lab.word} train {run.system}",
        )


def _resuming(run: Run) -> list[str]:
    if run.state == "queued" or RESUME_FLAG in run.argv or run.kind != "train":
        return list(run.argv)
    return [*run.argv, RESUME_FLAG]


def _retraining(run: Run) -> str:
    if "run" in run.argv:
        foreign = run.argv[run.argv.index("run") + 1]
        return f"Run it again: qdl --lab {run.lab.word} run {shlex.quote(foreign)}"
    train = f"qdl --lab {run.lab.word} train {run.system or 'system1'}"
    weights = last_weights(run.directory / UPSTREAM_DIRECTORY / UPSTREAM_OUTPUT)
    if weights is None:
        return f"Train again: {train}"
    begin = shlex.quote(f"{run.system or 'system1'}.student={weights}")
    last = f"Or start from its last weights, with a fresh optimizer: {train} --set {begin}"
    return f"Train again: {train}\n{last}"


def _launch(run: Run) -> Run:
    if run.output_dir is not None:
        _refuse_shared_output(run.lab, run.output_dir, run.id)
    # Workers of an earlier attempt, left when its launcher and supervisor were killed, would write here too.
    kill_workers(run.directory)
    clear_stop(run)
    # Until the supervisor has started, this process stands in for it: the run must not read as lost.
    run = replace(
        run,
        state="starting",
        env={**CHILD_ENVIRONMENT, **run.env},
        pid=None,
        identity=None,
        exit_code=None,
        supervisor_pid=os.getpid(),
        supervisor_identity=identity_of(os.getpid()),
        started=time.time(),
        ended=None,
        legs=run.legs if run.started is None else (*run.legs, (run.started, run.ended or run.started)),
        message="",
        hint="",
        attempt=run.attempt + 1,
    )
    with open(run.supervisor_log, "ab") as log:
        save_run(run)
        supervisor = subprocess.run(
            python_command("qdl_engine.runs.supervise", str(run.directory)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_supervisor_environment(os.environ),
            start_new_session=True,
            check=False,
        )
    if supervisor.returncode != 0:
        failed = replace(
            run, state="failed", ended=time.time(), message="The run's supervisor did not start."
        )
        save_run(failed)
        raise RunError(f"Run {run.id} did not start", f"See {run.supervisor_log}")
    return refresh_run(run)


def _supervisor_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the supervisor imports this very package, even from a source checkout.

    A run that starts another run must not pass on `RUN_DIRECTORY`, which would make the other a part of it.
    """
    environment = {key: value for key, value in environment.items() if key != RUN_DIRECTORY}
    here = str(Path(__file__).resolve().parents[2])
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if here in paths or Path(here).name == "site-packages":
        return environment
    return {**environment, "PYTHONPATH": os.pathsep.join([*paths, here])}


def _refuse_shared_output(lab: Lab, output_dir: Path, own_id: str = "") -> None:
    for other in list_runs(lab):
        if other.id != own_id and other.active and other.writes_to(output_dir):
            raise LabBusyError(
                f"Run {other.id} (process {other.pid}) is writing to {output_dir}",
                f"Wait for it, or stop it: qdl --lab {lab.word} stop {other.id}",
            )


def stop_run(run: Run, *, force: bool = False, grace: float = STOP_GRACE_SECONDS) -> Run:
    """Stop a run: SIGTERM to its process group now, SIGKILL after `grace` seconds.

    The supervisor enforces the deadline. If the supervisor is dead, this call waits and enforces it.

    Args:
        run: The run to stop.
        force: Kill the run at once, without a checkpoint.
        grace: Seconds that the program has to save its checkpoint.

    Raises:
        RunError: when the run is not running.
    """
    with store_lock(run.lab):
        # A starting run has no process to signal yet; its starter holds the lock.
        current = refresh_run(run)
    if current.state == "queued":
        stopped = replace(current, state="stopped", ended=time.time(), message="Stopped before it started.")
        save_run(stopped)
        return stopped
    if not current.active:
        raise RunError(f"Run {run.id} is not running: it is {current.state}")
    deadline = time.time() + (0.0 if force else grace)
    if current.stop_file.is_dir():
        clear_stop(current)
    write_json_atomic(current.stop_file, {"asked": time.time(), "deadline": deadline})
    if current.pid is not None and is_alive(current.pid, current.identity):
        signal_group(current.pid, signal.SIGKILL if force else signal.SIGTERM)
        if not is_alive(current.supervisor_pid, current.supervisor_identity):
            _end_by(current, deadline)
    return refresh_run(current)


def _end_by(run: Run, deadline: float) -> None:
    while run.pid is not None and run_alive(run.pid, run.directory):
        if time.time() >= deadline:
            kill_run(run.pid, run.directory)
        time.sleep(0.05)


def wait_for(
    run: Run, on_event: EventSink = no_sink, poll: float = 0.2, *, timeout: float | None = None
) -> Run:
    """Pass every event of a run, past ones first, to `on_event` until the run ends.

    Interrupting the wait does not stop the run.

    Raises:
        RunError: when the run is not over after `timeout` seconds.
    """
    tail = EventTail(run.events_file)
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        # Read the state before the events: then no event written before the end is missed.
        current = refresh_run(run)
        for event in tail.read():
            on_event(event)
        if current.final:
            return current
        if deadline is not None and time.monotonic() >= deadline:
            raise RunError(f"Run {run.id} is still {current.state} after {timeout:g} s")
        time.sleep(poll)


def start_job(lab: Lab, arguments: Sequence[str], *, name: str = "", note: str = "") -> Run:
    """Start a `qdl` subcommand (`["train", "system1"]`, `["prepare", "system2"]`, `["label"]`) as a run.

    A `train` run prepares missing data and then becomes the training itself: one run, one process, one log.

    Raises:
        LabBusyError: when another run trains the same student. No run is created.
        ModelError: when the student looks like a path but is not a directory. No run is created.
    """
    kind = arguments[0]
    system = next((argument for argument in arguments[1:] if argument in SYSTEMS), None)
    trains = kind == "train" and system is not None
    if trains and system:
        _refuse_student(lab, system, arguments)
        # `start_run` checks again under the lock; a refusal here uses up no run number.
        _refuse_shared_output(lab, lab.checkpoint(system))
    run = create_run(
        lab,
        kind,
        system=system,
        name=name,
        note=note,
        argv=python_command("qdl_engine.cli", "--lab", str(lab.root), *arguments, "--in-run"),
        output_dir=lab.checkpoint(system) if trains and system else None,
    )
    try:
        if trains and system:
            run = replace(run, config=lab.config_file(system, run.id))
            save_run(run)
        return start_run(run)
    except (LabBusyError, OSError):
        # A refused job, or one that found the disk full, must not stay in the list of runs.
        delete_run(run)
        raise


def _refuse_student(lab: Lab, system: str, arguments: Sequence[str]) -> None:
    """Refuse now what the run would refuse minutes later. Relative paths start at the lab, as in the run."""
    from qdl_engine.settings.toml import apply_overrides, load_settings

    overrides = [word for before, word in pairwise(arguments) if before == "--set"]
    settings = apply_overrides(load_settings(lab), overrides)
    recipe = settings.system1 if system == "system1" else settings.system2
    check_place(recipe.student, "student", lab.root)
