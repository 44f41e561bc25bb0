"""Runs on disk: `run.json` is the record, and what a reader sees is judged against the living processes."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from qdl_engine.errors import LabError, RunError
from qdl_engine.lab import Lab, read_json, write_json_atomic
from qdl_engine.runs.evidence import decide
from qdl_engine.runs.process import is_alive

State = Literal["queued", "starting", "running", "stopping", "done", "failed", "stopped", "lost"]

STATES: tuple[State, ...] = ("queued", "starting", "running", "stopping", "done", "failed", "stopped", "lost")
ACTIVE_STATES = frozenset({"starting", "running", "stopping"})
FINAL_STATES = frozenset({"done", "failed", "stopped", "lost"})
SYSTEMS = ("system1", "system2")

_SECRET_NAME = re.compile(r"TOKEN(?!IZER)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
_PATHS = ("directory", "cwd", "output_dir", "config")
_TEXTS = ("id", "kind", "message", "hint", "name", "note")
_OPTIONAL_TEXTS = (*_PATHS, "system", "identity", "supervisor_identity")
_WHOLE_NUMBERS = ("pid", "supervisor_pid", "exit_code", "attempt")
_END_OF_TIME = 253_402_300_799.0
"""The last second of the year 9999: beyond it no calendar can show a time."""


@dataclass(frozen=True)
class Run:
    """One detached job. A value: ask the store again (`refresh_run`) to see what became of it."""

    id: str
    directory: Path
    kind: str
    system: str | None
    state: State
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    """Only what we add to the environment; never a secret."""
    cwd: Path = Path(".")
    pid: int | None = None
    identity: str | None = None
    """Tells the child from a later process with the same pid."""
    supervisor_pid: int | None = None
    supervisor_identity: str | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    message: str = ""
    hint: str = ""
    output_dir: Path | None = None
    config: Path | None = None
    name: str = ""
    note: str = ""
    attempt: int = 0
    """How often it was started: 2 and more after a resume."""

    @property
    def events_file(self) -> Path:
        return self.directory / "events.jsonl"

    @property
    def log_file(self) -> Path:
        return self.directory / "output.log"

    @property
    def record_file(self) -> Path:
        return self.directory / "run.json"

    @property
    def stop_file(self) -> Path:
        """Its being there is the request to stop: asking must not need a second writer of `run.json`."""
        return self.directory / "stop.json"

    @property
    def supervisor_log(self) -> Path:
        return self.directory / "supervisor.log"

    @property
    def lab(self) -> Lab:
        return Lab(self.directory.parent.parent)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE_STATES

    @property
    def final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def resumable(self) -> bool:
        return self.state in ("failed", "stopped", "lost")

    @property
    def title(self) -> str:
        return self.name or " ".join(part for part in (self.kind, self.system) if part)

    @property
    def seconds(self) -> float | None:
        """How long it has run, or ran."""
        if self.started is None:
            return None
        return max(0.0, (self.ended if self.ended is not None else time.time()) - self.started)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the way it stands in `run.json`."""
        record = asdict(self)
        record["argv"] = list(self.argv)
        for key in _PATHS:
            record[key] = None if record[key] is None else str(record[key])
        return record


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
    """Write down a run that `start_run` can start. Ids count up, so that `qdl attach 7` is enough to type.

    Raises:
        RunError: when `env` holds what looks like a secret: runs inherit those from the environment.
    """
    secrets = sorted(key for key in env or {} if _SECRET_NAME.search(key))
    if secrets:
        raise RunError(
            f"A run's record keeps no secrets: {', '.join(secrets)}",
            "Set it in the environment; every run inherits that.",
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
    save_run(run)
    return run


def _claim_directory(lab: Lab, label: str) -> Path:
    """A directory with the next free number."""
    with store_lock(lab):
        numbers = [
            int(match[1]) for entry in lab.runs.iterdir() if (match := re.match(r"(\d+)-", entry.name))
        ]
        directory = lab.runs / f"{max(numbers, default=0) + 1:04d}-{label}"
        directory.mkdir()
        return directory


def save_run(run: Run) -> None:
    """Write the record, atomically. Only the launcher and the supervisor do so, each in its turn."""
    write_json_atomic(run.record_file, run.to_dict())


def load_record(directory: Path) -> Run:
    """The record as it was last written, not judged.

    The directory is the one it is read from, so that a lab can be moved.

    Raises:
        LabError: when there is no record, or none that can be read.
    """
    record = read_json(directory / "run.json")
    known = {item.name for item in fields(Run)}
    if not isinstance(record, dict) or not _is_record(record):
        raise RunError(f"Not the record of a run: {directory / 'run.json'}", "Delete that directory.")
    values = {key: value for key, value in record.items() if key in known}
    values["id"] = directory.name
    for key in _PATHS:
        values[key] = Path(values[key]) if values.get(key) else None
    values["argv"] = tuple(values["argv"])
    values["system"] = values.get("system")
    values["cwd"] = values["cwd"] or directory
    return Run(**values | {"directory": directory})


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether a record holds what it must, each of its type: one that does not would break the whole list."""
    return (
        {"id", "kind", "state", "argv"} <= record.keys()
        and record["state"] in STATES
        and isinstance(record["argv"], list)
        and all(isinstance(word, str) for word in record["argv"])
        and isinstance(record.get("env", {}), dict)
        and all(isinstance(record.get(key, ""), str) for key in _TEXTS)
        and all(isinstance(record.get(key), str | None) for key in _OPTIONAL_TEXTS)
        and all(isinstance(record.get(key), int | None) for key in _WHOLE_NUMBERS)
        and _is_time(record.get("created", 0.0))
        and all(record.get(key) is None or _is_time(record[key]) for key in ("started", "ended"))
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _END_OF_TIME


def refresh_run(run: Run) -> Run:
    """The run as it is now."""
    return judge(load_record(run.directory))


def judge(run: Run) -> Run:
    """The state a person should see: the recorded one, unless the processes tell otherwise.

    Nothing is written: a reader on another machine that cannot see the processes does no harm.
    """
    if run.state not in ACTIVE_STATES:
        return run
    child = is_alive(run.pid, run.identity)
    if not child and not is_alive(run.supervisor_pid, run.supervisor_identity):
        # The supervisor writes the end before it goes, perhaps since we read the record.
        latest = load_record(run.directory)
        if latest.state not in ACTIVE_STATES:
            return latest
        if latest.supervisor_identity != run.supervisor_identity or latest.pid != run.pid:
            return judge(latest)
        return settle(latest, None, ended=_last_sign_of_life(latest))
    state: State = "running" if child else run.state
    return replace(run, state="stopping" if run.stop_file.exists() else state)


def settle(run: Run, exit_code: int | None, *, ended: float | None = None) -> Run:
    """The run as it ended, decided from evidence. `exit_code` None means that nobody saw it end."""
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
    """All runs, the newest first."""
    if not lab.runs.is_dir():
        return []
    directories = [entry for entry in lab.runs.iterdir() if (entry / "run.json").is_file()]
    runs = [_read_leniently(directory) for directory in directories]
    return sorted(runs, key=lambda run: (run.created, run.id), reverse=True)


def _read_leniently(directory: Path) -> Run:
    """One broken record must not hide the others."""
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
    """A run by its id, its number, the beginning of its id, or `last`.

    Raises:
        RunError: when none fits, or more than one.
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
        [run for run in runs if wanted and run.id.startswith(wanted)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise RunError(
                f"More than one run begins with {wanted!r}",
                "Which one? " + ", ".join(run.id for run in matches[:6]),
            )
    known = ", ".join(run.id for run in runs[:6]) or "there is none yet"
    raise RunError(f"No run {wanted!r} in the lab at {lab.root}", f"Runs: {known}.")


def delete_run(run: Run) -> None:
    """Remove a run's directory; its checkpoint stays.

    Raises:
        RunError: while it is running.
    """
    with store_lock(run.lab):
        if refresh_run(run).active:
            raise RunError(f"Run {run.id} is still running", f"Stop it first: qdl stop {run.id}")
        shutil.rmtree(run.directory)


@contextmanager
def store_lock(lab: Lab) -> Iterator[None]:
    """Serialise starting and deleting: two starters must not both find an output directory free."""
    import fcntl

    lab.runs.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lab.runs / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
