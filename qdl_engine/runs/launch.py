"""Start, stop, resume and wait for runs. Nothing here keeps a process alive or dies with one."""

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
from qdl_engine.runs.record import NAME, OUTPUT, RESUME_FLAG, STOP_GRACE_SECONDS, clear_stop, last_weights
from qdl_engine.runs.store import Run, create_run, list_runs, refresh_run, save_run, store_lock

CHILD_ENVIRONMENT: Mapping[str, str] = {
    # Output must be in the log while the run goes on, and be UTF-8 whatever the locale.
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    # Forked tokenizers warn and may deadlock; spinning OpenMP threads starve everybody on a small machine.
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def python_command(module: str, *arguments: str) -> list[str]:
    """How a module of ours is started: `-P` keeps what lies in the current directory from being imported."""
    return [sys.executable, "-P", "-m", module, *arguments]


def start_run(run: Run) -> Run:
    """Start a queued run, detached from this process, and return it as it stands once its program is started.

    Raises:
        LabBusyError: when another run writes to the same output directory; the message names it.
        RunError: when it was started before, or the supervisor does not come up.
    """
    with store_lock(run.lab):
        current = refresh_run(run)
        if current.state != "queued":
            raise RunError(
                f"Run {run.id} is {current.state}, not queued",
                f"Start it again: qdl --lab {run.lab.word} resume {run.id}",
            )
        return _launch(current)


def resume_run(run: Run) -> Run:
    """Start a run that ended once more, in the same directory, going on from its last checkpoint.

    Raises:
        RunError: while it is running, when it is done, when its runtime cannot resume, or when its student
            belongs to the lab that this one was copied from.
    """
    with store_lock(run.lab):
        current = refresh_run(run)
        if current.final and current.state != "done" and current.cannot_go_on:
            raise RunError(f"Run {run.id} cannot be resumed: {current.cannot_go_on}", _anew(current))
        if current.state != "queued" and not current.resumable:
            raise RunError(
                f"Run {run.id} is {current.state}", "Only a stopped, failed or lost run can be resumed."
            )
        _refuse_other_lab(current)
        return _launch(replace(current, argv=tuple(_resuming(current))))


def _refuse_other_lab(run: Run) -> None:
    if run.writes_elsewhere:
        raise RunError(
            f"Run {run.id} writes into another lab: {run.output_dir}",
            f"This lab is a copy of it. Train here anew: qdl --lab {run.lab.word} train {run.system}",
        )


def _resuming(run: Run) -> list[str]:
    if run.state == "queued" or RESUME_FLAG in run.argv or run.kind != "train":
        return list(run.argv)
    return [*run.argv, RESUME_FLAG]


def _anew(run: Run) -> str:
    if "run" in run.argv:
        foreign = run.argv[run.argv.index("run") + 1]
        return f"Run it again: qdl --lab {run.lab.word} run {shlex.quote(foreign)}"
    train = f"qdl --lab {run.lab.word} train {run.system or 'system1'}"
    weights = last_weights(run.directory / NAME / OUTPUT)
    if weights is None:
        return f"Train again: {train}"
    begin = shlex.quote(f"{run.system or 'system1'}.student={weights}")
    return f"Train again: {train}\nOr from its last weights, without its optimizer: {train} --set {begin}"


def _launch(run: Run) -> Run:
    if run.output_dir is not None:
        _refuse_shared_output(run.lab, run.output_dir, run.id)
    # Workers whose launcher and supervisor were both killed would write into what is trained now.
    kill_workers(run.directory)
    clear_stop(run)
    # Until the supervisor is up, the run lives by the process that starts it.
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
            run, state="failed", ended=time.time(), message="The supervisor of the run did not start."
        )
        save_run(failed)
        raise RunError(f"Run {run.id} did not start", f"Why is in {run.supervisor_log}")
    return refresh_run(run)


def _supervisor_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """That of a supervisor: it finds this very package, also when it is run from a checkout.

    A run that starts another one is not left its mark: the other is no part of it.
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
                f"{output_dir} is being written by run {other.id} (process {other.pid})",
                f"Wait for it, or stop it: qdl --lab {lab.word} stop {other.id}",
            )


def stop_run(run: Run, *, force: bool = False, grace: float = STOP_GRACE_SECONDS) -> Run:
    """Ask a run to stop: SIGTERM to its whole group, SIGKILL once `grace` seconds are over.

    The supervisor keeps the deadline. When there is none any more, this call waits and keeps it itself.

    Args:
        run: What to stop.
        force: Kill at once, without a checkpoint.
        grace: Seconds the program has for its checkpoint.

    Raises:
        RunError: when it is not running.
    """
    with store_lock(run.lab):
        # A run that is being started cannot be signalled yet; its starter holds the lock.
        current = refresh_run(run)
    if current.state == "queued":
        stopped = replace(current, state="stopped", ended=time.time(), message="Stopped before it began.")
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
    """Follow a run to its end, handing on its events, those of the past first.

    Interrupting the wait leaves the run alone.

    Raises:
        RunError: when `timeout` seconds pass first.
    """
    tail = EventTail(run.events_file)
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        # The state before the events: what was written before the end is then never missed.
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

    The run of `train` prepares what is missing and then becomes the runtime itself, so that there is one run,
    one process and one log for the whole of it.

    Raises:
        LabBusyError: when another run trains the same student: no run is made.
        ModelError: when the student of a training is meant as a path and is no directory: likewise.
    """
    kind = arguments[0]
    system = next((argument for argument in arguments[1:] if argument in SYSTEMS), None)
    trains = kind == "train" and system is not None
    if trains and system:
        _refuse_student(lab, system, arguments)
        # Starting it looks again, for good; refused here, it has not used up a number.
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
        # A job that was refused, or had no room on the disk, is no run: leave no trace of it in the list.
        delete_run(run)
        raise


def _refuse_student(lab: Lab, system: str, arguments: Sequence[str]) -> None:
    """At once what the run would say minutes later; it takes relative paths from the lab, where it works."""
    from qdl_engine.settings.toml import apply_overrides, load_settings

    overrides = [word for before, word in pairwise(arguments) if before == "--set"]
    settings = apply_overrides(load_settings(lab), overrides)
    recipe = settings.system1 if system == "system1" else settings.system2
    check_place(recipe.student, "student", lab.root)
