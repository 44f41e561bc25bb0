"""`python -m qdl_engine.runs.supervise RUNDIR`: start a run's program, wait for it, record how it ended.

The supervisor is a daemon in a session of its own, and its program has another session. The program writes
directly to `output.log`, so a killed supervisor, or a killed starter, costs the run only its exit code.
While the program runs, a thread samples the GPUs with `nvidia-smi`.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from qdl_engine.core.errors import LabError
from qdl_engine.core.events import Machine, append_event
from qdl_engine.core.gpus import Gpu, ask, read_gpus, visible
from qdl_engine.core.lab import read_json
from qdl_engine.models.checkpoint import sign
from qdl_engine.runs.process import RUN_DIRECTORY, belongs, identity_of, kill_run, run_alive, signal_group
from qdl_engine.runs.record import STOP_GRACE_SECONDS, is_time
from qdl_engine.runs.store import Run, load_record, save_run, settle

EVERY_SECONDS = 10.0
FIRST_SECONDS = 1.0
"""The wait for the first sample, so that a run of a few seconds gets one."""
_POLL_SECONDS = 0.5
_LEFT_BEHIND_SECONDS = 5.0


def main(arguments: list[str]) -> int:
    """Fork into the background. The foreground process exits once the program has started or failed to."""
    directory = Path(arguments[0]).absolute()
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        return 0 if os.read(reading, 1) else 1
    os.close(reading)
    return supervise(load_record(directory), writing)


def supervise(run: Run, started: int) -> int:
    """Run the program to its end. Writes one byte to the pipe `started` once `run.json` records the start."""
    run = replace(run, supervisor_pid=os.getpid(), supervisor_identity=identity_of(os.getpid()))
    try:
        child = _spawn(run)
    except OSError as error:
        run = replace(
            run,
            state="failed",
            ended=time.time(),
            message=f"Cannot start {run.argv[0]}: {error.strerror}",
            hint="Check that the program exists and is executable.",
        )
        save_run(run)
        os.write(started, b"1")
        return 1
    # Nobody else can get this pid before we reap the child, so the start time is the child's.
    run = replace(run, state="running", pid=child.pid, identity=identity_of(child.pid))
    save_run(run)
    os.write(started, b"1")
    os.close(started)
    ended = threading.Event()
    watch = (run.directory, run.events_file, child.pid, ended)
    threading.Thread(target=watch_gpus, args=watch, daemon=True).start()
    exit_code = _wait(run, child)
    ended.set()
    _end_rest(run, child.pid)
    run = settle(run, exit_code)
    if run.state == "done" and run.output_dir is not None:
        sign(run.output_dir, run.id)
    save_run(run)
    return 0


def _spawn(run: Run) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        **run.env,
        "QDL_EVENTS": str(run.events_file),
        RUN_DIRECTORY: str(run.directory),
    }
    with open(run.log_file, "ab") as log:
        return subprocess.Popen(
            run.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=run.cwd,
            env=environment,
            start_new_session=True,
        )


def _wait(run: Run, child: subprocess.Popen[bytes]) -> int:
    """Wait for the program to exit; kill it when a request to stop has passed its deadline."""
    warned = False
    while True:
        try:
            return child.wait(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if not warned and run.stop_file.exists() and _deadline_in(run.stop_file) is None:
                # Whoever wrote the file may not have sent SIGTERM; a second one does no harm.
                warned = True
                print(f"Cannot read {run.stop_file}; stopping the run", file=sys.stderr, flush=True)
                signal_group(child.pid, signal.SIGTERM)
            if time.time() >= stop_deadline(run, default=math.inf):
                kill_run(child.pid, run.directory)


def _end_rest(run: Run, leader: int) -> None:
    """Kill what the program left behind, because it still holds memory, on the GPU too.

    A launcher dies of the SIGTERM on which its workers save their checkpoint, so they get their grace first.
    """
    limit = stop_deadline(run, default=time.time() + _LEFT_BEHIND_SECONDS)
    while run_alive(leader, run.directory) and time.time() < limit:
        time.sleep(_POLL_SECONDS / 5)
    kill_run(leader, run.directory)


def stop_deadline(run: Run, *, default: float) -> float:
    """The time at which a stopping run must have ended; `default` when nobody stopped it.

    The file's existence is the request. An unreadable file gives the usual grace, counted from its own time.
    """
    try:
        written = run.stop_file.stat().st_mtime
    except OSError:  # Missing, or a dangling link, which `exists()` reports as missing everywhere else.
        return default
    deadline = _deadline_in(run.stop_file)
    return written + STOP_GRACE_SECONDS if deadline is None else deadline


def _deadline_in(stop_file: Path) -> float | None:
    """The deadline from `stop_run`; None for any other content: no damaged file may kill the supervisor."""
    try:
        request = read_json(stop_file)
    except (LabError, OSError):
        return None
    deadline = request.get("deadline") if isinstance(request, dict) else None
    return float(deadline) if is_time(deadline) and not isinstance(deadline, bool) else None


def watch_gpus(
    directory: Path, events_file: Path, leader: int, ended: threading.Event, *, every: float = EVERY_SECONDS
) -> None:
    """Append a `machine` event every `every` seconds until `ended` is set or the GPUs stop answering.

    `leader` is the pid of the run's program: its processes show which GPUs the run uses.
    """
    if shutil.which("nvidia-smi") is None:
        return
    wait = min(FIRST_SECONDS, every)
    while not ended.wait(wait):
        wait = every
        event = machine_event(directory, leader, os.environ)
        if event is None:
            return
        append_event(events_file, event)


def machine_event(directory: Path, leader: int, environment: Mapping[str, str]) -> Machine | None:
    """The state of the GPUs that the run uses; None when no GPU answers."""
    gpus = _of_run(visible(read_gpus(), environment), directory, leader)
    uses = [gpu.use for gpu in gpus if gpu.use is not None]
    memory = [gpu.memory_used for gpu in gpus if gpu.memory_used is not None]
    if not gpus:
        return None
    return Machine(
        gpu_use=sum(uses) / len(uses) if uses else None,
        gpu_memory_bytes=sum(memory) if memory else None,
        gpus=tuple(asdict(gpu) for gpu in gpus),
    )


def _of_run(gpus: list[Gpu], directory: Path, leader: int) -> list[Gpu]:
    """The GPUs on which a process of the run computes.

    In a container the driver reports other pids; then the busiest GPU stands for the run's.
    """
    if len(gpus) < 2:
        return gpus
    rows = ask("--query-compute-apps=gpu_uuid,pid")
    own = {
        row[0]
        for row in rows
        if len(row) == 2 and row[1].isdecimal() and belongs(int(row[1]), leader, directory)
    }
    found = [gpu for gpu in gpus if gpu.uuid in own]
    return found or [max(gpus, key=lambda gpu: (gpu.use or 0.0, gpu.memory_used or 0))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
