"""A run as its record, `run.json`, holds it: written whole by its one writer, read with suspicion.

The names of EasyDistill 1.0's files in a run's directory stand here too, because a run is listed and resumed
without importing the code that starts 1.0.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

from qdl_engine.core.errors import LabError, RunError
from qdl_engine.core.lab import Lab, read_json, write_json_atomic

State = Literal["queued", "starting", "running", "stopping", "done", "failed", "stopped", "lost"]

STATES: tuple[State, ...] = get_args(State)
ACTIVE_STATES = frozenset({"starting", "running", "stopping"})
"""A process works for the run. A queued run has none yet, so it blocks nobody's output and can be deleted."""
FINAL_STATES = frozenset({"done", "failed", "stopped", "lost"})

ABOUT_FILE = "about.json"
RESUME_FLAG = "--resume"
STOP_GRACE_SECONDS = 120.0
"""How long a stopping run may take to write its checkpoint before it is killed."""

UPSTREAM_DIRECTORY = "easydistill"
"""EasyDistill 1.0's part of the run's directory."""
UPSTREAM_LAUNCH = "launch.json"
UPSTREAM_OUTPUT = "output"
"""Where 1.0 writes its checkpoint, until the lab takes it over."""
UPSTREAM_SESSION = "qdl_engine.upstream.version1.session"

_PATHS = ("directory", "cwd", "output_dir", "config")
_TEXTS = ("id", "kind", "message", "hint", "name", "note")
_OPTIONAL_TEXTS = (*_PATHS, "system", "identity", "supervisor_identity")
_WHOLE_NUMBERS = ("pid", "supervisor_pid", "exit_code", "attempt")
_END_OF_TIME = 253_402_300_799.0
"""The last second of the year 9999: no calendar shows a later time."""


@dataclass(frozen=True)
class Run:
    """One detached job at one moment; `refresh_run` reads its present state."""

    id: str
    directory: Path
    kind: str
    system: str | None
    state: State
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    """Only the variables that the lab adds; never a secret."""
    cwd: Path = Path(".")
    pid: int | None = None
    identity: str | None = None
    """Distinguishes the child from a later process with the same pid."""
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
    """The number of starts: 2 or more after a resume."""
    legs: tuple[tuple[float, float], ...] = ()
    """Start and end of each earlier attempt; `started` and `ended` belong to the last."""

    @property
    def events_file(self) -> Path:
        """One event a line; see `core.events`."""
        return self.directory / "events.jsonl"

    @property
    def log_file(self) -> Path:
        """All that the job printed."""
        return self.directory / "output.log"

    @property
    def record_file(self) -> Path:
        """This record as JSON."""
        return self.directory / "run.json"

    @property
    def stop_file(self) -> Path:
        """This file is the request to stop: `run.json` must not get a second writer."""
        return self.directory / "stop.json"

    @property
    def about_file(self) -> Path:
        """Name and note as the user changed them, apart from `run.json`, which has one writer."""
        return self.directory / ABOUT_FILE

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor printed, for bug reports."""
        return self.directory / "supervisor.log"

    @property
    def lab(self) -> Lab:
        """The lab that the run belongs to."""
        return Lab(self.directory.parent.parent)

    def writes_to(self, place: Path) -> bool:
        """Whether the run writes its student to `place`, symbolic links resolved."""
        return self.output_dir is not None and self.output_dir.resolve() == place.resolve()

    @property
    def active(self) -> bool:
        """Whether a process works for the run."""
        return self.state in ACTIVE_STATES

    @property
    def final(self) -> bool:
        """Whether the state cannot change any more, except by a resume."""
        return self.state in FINAL_STATES

    @property
    def ended_early(self) -> bool:
        """Whether the run ended without reaching its goal."""
        return self.final and self.state != "done"

    @property
    def resumable(self) -> bool:
        """Whether it ended early and its program can resume; an unreadable record has no program."""
        return self.ended_early and bool(self.argv) and not self.cannot_go_on

    @property
    def cannot_go_on(self) -> str:
        """Why its program cannot resume; empty when it can.

        Preparation starts over, and labelling resumes at its row from its own cache.
        """
        if self.kind != "train" or not self.argv or RESUME_FLAG in self.argv:
            return ""
        if is_upstream(self.directory, self.argv):
            return "EasyDistill 1.0 does not support resuming"
        ours = any(part.startswith("qdl_engine.") for part in self.argv)
        return "" if ours else "its program does not support resuming"

    @property
    def writes_elsewhere(self) -> bool:
        """Whether the lab is a copy: the run names the original lab and would write there."""
        home = self.output_dir.parent if self.output_dir is not None else self.lab.root
        return home != self.lab.root and Lab.at(home).settings_file.is_file()

    @property
    def title(self) -> str:
        """The name that the user gave it, else its kind and system."""
        return self.name or " ".join(part for part in (self.kind, self.system) if part)

    @property
    def seconds(self) -> float | None:
        """The running time of all attempts together, without the time between them."""
        if self.started is None:
            return None
        last = (self.started, self.ended if self.ended is not None else time.time())
        return sum(max(0.0, ended - started) for started, ended in (*self.legs, last))

    def to_dict(self) -> dict[str, Any]:
        """The JSON content of `run.json`."""
        record = asdict(self)
        record["argv"] = list(self.argv)
        record["legs"] = [list(leg) for leg in self.legs]
        for key in _PATHS:
            record[key] = None if record[key] is None else str(record[key])
        return record


def is_upstream(run_directory: Path, argv: tuple[str, ...]) -> bool:
    """Whether EasyDistill 1.0 trains, or trained, in this run."""
    return UPSTREAM_SESSION in argv or (run_directory / UPSTREAM_DIRECTORY / UPSTREAM_LAUNCH).is_file()


def last_weights(output: Path) -> Path | None:
    """The newest checkpoint that 1.0 saved while training: a new training can start from its weights only."""
    numbers = {
        int(number): path
        for path in output.glob("checkpoint-*")
        if (number := path.name.removeprefix("checkpoint-")).isdigit()
        and (path / "trainer_state.json").is_file()
    }
    return numbers[max(numbers)] if numbers else None


def number_of(run_id: str) -> str:
    """The number at the head of an id: `0007` of `0007-train-system1`. It identifies the run in its lab."""
    return run_id.partition("-")[0]


def save_run(run: Run) -> None:
    """Write the record atomically. Only the launcher and then the supervisor call this."""
    write_json_atomic(run.record_file, run.to_dict())


def clear_stop(run: Run) -> None:
    """Withdraw the request to stop. Anything with that name counts as one, even a directory."""
    if run.stop_file.is_dir() and not run.stop_file.is_symlink():
        shutil.rmtree(run.stop_file)
    else:
        run.stop_file.unlink(missing_ok=True)


def load_record(directory: Path) -> Run:
    """The record as last written; `judge` compares it with the living processes.

    `directory` in the result is the one given, not the recorded one, so that a lab can be moved.

    Raises:
        LabError: when the record is missing or unreadable.
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
    values["legs"] = tuple((leg[0], leg[1]) for leg in values.get("legs", ()))
    return Run(**values | {"directory": directory} | _about(directory))


def _about(directory: Path) -> dict[str, str]:
    """The name and note that the user gave the run; empty when the file is missing or unreadable."""
    try:
        about = read_json(directory / ABOUT_FILE)
    except LabError:
        return {}
    if not isinstance(about, dict):
        return {}
    return {key: value for key in ("name", "note") if isinstance(value := about.get(key), str)}


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether every field has its type. One bad record would otherwise break the whole list of runs."""
    return (
        {"id", "kind", "state", "argv"} <= record.keys()
        and record["state"] in STATES
        and isinstance(record["argv"], list)
        and all(isinstance(word, str) for word in record["argv"])
        and isinstance(record.get("env", {}), dict)
        and all(isinstance(record.get(key, ""), str) for key in _TEXTS)
        and all(isinstance(record.get(key), str | None) for key in _OPTIONAL_TEXTS)
        and all(isinstance(record.get(key), int | None) for key in _WHOLE_NUMBERS)
        and is_time(record.get("created", 0.0))
        and all(record.get(key) is None or is_time(record[key]) for key in ("started", "ended"))
        and _are_legs(record.get("legs", []))
    )


def _are_legs(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(leg, list) and len(leg) == 2 and all(is_time(moment) for moment in leg) for leg in value
    )


def is_time(value: object) -> TypeGuard[int | float]:
    """Whether a value read from a file is a time that a calendar can show."""
    return isinstance(value, int | float) and 0 <= value < _END_OF_TIME
