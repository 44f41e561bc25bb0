"""Runs on disk: create, list, read and find them.

`run.json` holds the record. Readers compare it with the living processes: a killed supervisor writes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from qdl_engine.core.errors import LabError, RunError
from qdl_engine.core.lab import Lab, read_json, write_text_atomic
from qdl_engine.runs.process import is_alive
from qdl_engine.runs.record import ACTIVE_STATES, FINAL_STATES, STATES, Run, State, load_record, save_run

__all__ = [
    "ACTIVE_STATES",
    "FINAL_STATES",
    "STATES",
    "Run",
    "State",
    "create_run",
    "get_run",
    "judge",
    "list_runs",
    "load_record",
    "refresh_run",
    "save_run",
    "settle",
    "store_lock",
]

_SECRET_NAME = re.compile(r"TOKEN(?!IZER)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE)


def create_run(
    lab: Lab,
    kind: str,
    *,
    system: str | None = None,
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    config: Path | None = None,
    output_dir: Path | None = None,
    name: str = "",
    note: str = "",
) -> Run:
    """Create the record of a run for `start_run`. Ids are numbered, so `qdl attach 7` suffices.

    Raises:
        RunError: when `env` seems to contain a secret: a run inherits secrets from the environment instead.
    """
    secrets = sorted(key for key in env or {} if _SECRET_NAME.search(key))
    if secrets:
        raise RunError(
            f"A run's record must not contain secrets: {', '.join(secrets)}",
            "Set them in the environment, which every run inherits.",
        )
    lab.runs.mkdir(parents=True, exist_ok=True)
    label = "-".join(part for part in (kind, system) if part)
    directory = _claim_directory(lab, re.sub(r"[^A-Za-z0-9-]+", "-", label) or "run")
    run = Run(
        id=directory.name,
        directory=directory,
        kind=kind,
        system=system,
        state="queued",
        argv=tuple(argv),
        env=dict(env or {}),
        cwd=(cwd or lab.root).absolute(),
        created=time.time(),
        config=config,
        output_dir=None if output_dir is None else output_dir.absolute(),
        name=name,
        note=note,
    )
    try:
        save_run(run)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return run


def _claim_directory(lab: Lab, label: str) -> Path:
    """A directory with the next number. A deleted run's number stays used: a student may name that run."""
    with store_lock(lab):
        counter = lab.runs / ".last_number"
        numbers = [
            int(match[1]) for entry in lab.runs.iterdir() if (match := re.match(r"(\d+)-", entry.name))
        ]
        with suppress(OSError, ValueError):
            numbers.append(int(counter.read_text(encoding="ascii")))
        number = max(numbers, default=0) + 1
        directory = lab.runs / f"{number:04d}-{label}"
        write_text_atomic(counter, f"{number}\n")
        directory.mkdir()
        return directory


def refresh_run(run: Run) -> Run:
    """The run's present state."""
    return judge(load_record(run.directory))


def judge(run: Run) -> Run:
    """The run with its true state: the recorded one, corrected by what its processes do.

    This writes nothing, so a reader on another machine, which sees no processes, does no harm.
    """
    if run.state not in ACTIVE_STATES:
        return run
    child = is_alive(run.pid, run.identity)
    if not child and not is_alive(run.supervisor_pid, run.supervisor_identity):
        # The supervisor writes the end before it exits, perhaps after we read the record.
        latest = load_record(run.directory)
        if latest.state not in ACTIVE_STATES:
            return latest
        if latest.supervisor_identity != run.supervisor_identity or latest.pid != run.pid:
            return judge(latest)
        return settle(latest, None, ended=_last_sign_of_life(latest))
    state: State = "running" if child else run.state
    return replace(run, state="stopping" if run.stop_file.exists() else state)


def settle(run: Run, exit_code: int | None, *, ended: float | None = None) -> Run:
    """The ended run, its state decided from evidence. `exit_code` None: no supervisor saw the end."""
    # Here: the classes of events cost the app's first paint 10 ms, and it settles no run before.
    from qdl_engine.runs.evidence import decide

    verdict = decide(
        exit_code=exit_code,
        started=run.started or run.created,
        events_file=run.events_file,
        log_file=run.log_file,
        output_dir=run.output_dir,
        stop_requested=run.stop_file.exists(),
    )
    return replace(
        run,
        state=verdict.state,
        message=verdict.message,
        hint=verdict.hint,
        exit_code=exit_code,
        ended=time.time() if ended is None else ended,
    )


def _last_sign_of_life(run: Run) -> float:
    times = [path.stat().st_mtime for path in (run.events_file, run.log_file) if path.exists()]
    return max([*times, run.started or run.created])


def list_runs(lab: Lab) -> list[Run]:
    """All runs of the lab, newest first."""
    if not lab.runs.is_dir():
        return []
    directories = [entry for entry in lab.runs.iterdir() if (entry / "run.json").is_file()]
    runs = [_read_leniently(directory) for directory in directories]
    return sorted(runs, key=lambda run: (run.created, run.id), reverse=True)


def _read_leniently(directory: Path) -> Run:
    """A broken record becomes a lost run, so that it does not hide the others."""
    try:
        return judge(load_record(directory))
    except LabError as error:
        return Run(
            id=directory.name,
            directory=directory,
            kind="unknown",
            system=None,
            state="lost",
            argv=(),
            cwd=directory,
            created=directory.stat().st_mtime,
            message=error.message,
            hint=error.hint,
        )


def get_run(lab: Lab, id_or_prefix: str) -> Run:
    """Find a run by its id, its number, its name, the beginning of its id, or `last`.

    Raises:
        RunError: when no run matches, or several do.
    """
    runs = list_runs(lab)
    wanted = id_or_prefix.strip()
    if wanted == "last" and runs:
        return runs[0]
    for matches in (
        [run for run in runs if run.id == wanted],
        [
            run
            for run in runs
            if wanted.isdecimal() and run.id.split("-")[0].lstrip("0") == wanted.lstrip("0")
        ],
        [run for run in runs if wanted and run.name == wanted],
        [run for run in runs if wanted and run.id.startswith(wanted)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise RunError(
                f"{wanted!r} matches several runs", f"Choose one: {', '.join(run.id for run in matches[:6])}"
            )
    if not runs:
        raise RunError(
            f"The lab at {lab.root} has no runs yet", f"Start one: qdl --lab {lab.word} train system1"
        )
    known = ", ".join(run.id for run in runs[:6])
    raise RunError(f"No run {wanted!r} in the lab at {lab.root}", f"Runs: {known}.")


@contextmanager
def store_lock(lab: Lab) -> Iterator[None]:
    """Lock starting and deleting in the lab: two starters must not both find an output directory free."""
    import fcntl

    lab.runs.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lab.runs / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def student_of(run: Run) -> str:
    """The student model in the run's config; empty when it has no readable config."""
    if run.config is None:
        return ""
    # A copied lab holds the config under its own root.
    inside = run.lab.configs / run.config.name
    try:
        config = read_json(inside if inside.is_file() else run.config)
    except (LabError, OSError):
        return ""
    models = config.get("models") if isinstance(config, dict) else None
    student = models.get("student") if isinstance(models, dict) else None
    return student if isinstance(student, str) else ""


def fits(run: Run, wanted: str, student: str = "") -> bool:
    """Whether each word of `wanted` occurs in the run's id, texts or student, in upper or lower case."""
    known = " ".join((run.id, run.name, run.state, run.kind, run.system or "", student, run.note)).casefold()
    return all(word in known for word in wanted.casefold().split())
