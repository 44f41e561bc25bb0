"""Where a lab stands: what is ready, and the one next step. Files are read, nothing is written.

The app, the plain text report and `qdl status` all show this; none of them decides on its own what is ready.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qdl_engine.lab import Lab

if TYPE_CHECKING:
    from qdl_engine.runs.store import Run

StageState = Literal["ready", "missing", "running", "failed", "skipped"]

SYSTEMS = ("system1", "system2")
SYSTEM_NAMES = {"system1": "System 1", "system2": "System 2"}
STAGE_NAMES = ("data", "labels", "config", "run", "checkpoint", "comparison")
ACTIVE_STATES = frozenset({"queued", "starting", "running", "stopping"})
BAD_STATES = frozenset({"failed", "stopped", "lost"})
KIND_STAGES = {"prepare": "data", "label": "labels", "train": "run"}


@dataclass(frozen=True)
class Stage:
    """One stage of a student: data, labels, config, run, checkpoint or comparison."""

    name: str
    state: StageState
    detail: str
    """In words what is there, so that no meaning hangs on a colour or a sign."""


@dataclass(frozen=True)
class Step:
    """Something that can be done now."""

    label: str
    command: tuple[str, ...]
    """The `qdl` arguments that do it, and what a detached job is started with."""
    screen: str = ""
    """The screen that does it instead of a job: `training` to watch a run, `compare`."""
    run_id: str = ""


@dataclass(frozen=True)
class SystemStatus:
    """Where one student stands."""

    system: str
    stages: tuple[Stage, ...]

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


@dataclass(frozen=True)
class LabStatus:
    """Where the whole lab stands."""

    root: str
    exists: bool
    systems: tuple[SystemStatus, ...] = ()
    steps: tuple[Step, ...] = ()
    """What can be done, the next step first."""
    active_runs: int = 0
    problems: tuple[str, ...] = ()

    @property
    def next_step(self) -> Step | None:
        return self.steps[0] if self.steps else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class MachineStatus:
    """What the machine has for the lab."""

    gpus: tuple[str, ...] = field(default=())
    disk_free: int = 0
    disk_total: int = 0


def lab_status(lab: Lab) -> LabStatus:
    """Read where `lab` stands. Cheap enough to call once a second: JSON heads, file sizes, run records."""
    if not lab.settings_file.is_file():
        return LabStatus(str(lab.root), exists=False)
    from qdl_engine.runs.store import list_runs

    settings, problems = _raw_settings(lab)
    runs = list_runs(lab)
    systems = tuple(_system_status(lab, system, settings, runs) for system in SYSTEMS)
    active = [run for run in runs if run.state in ACTIVE_STATES]
    return LabStatus(
        root=str(lab.root),
        exists=True,
        systems=systems,
        steps=_steps(lab, systems, active),
        active_runs=len(active),
        problems=tuple(problems),
    )


def _raw_settings(lab: Lab) -> tuple[dict[str, Any], list[str]]:
    """`qdl.toml` as plain tables: the settings models would cost 0.1 s before the first paint."""
    try:
        return tomllib.loads(lab.settings_file.read_text(encoding="utf-8")), []
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        return {}, [f"{lab.settings_file}: {broken}"]


def _system_status(lab: Lab, system: str, settings: dict[str, Any], runs: list[Run]) -> SystemStatus:
    own = [run for run in runs if run.system == system or (run.kind == "label" and system == "system1")]
    table = settings.get(system)
    labelled = system == "system1" and isinstance(table, dict) and bool(table.get("label", False))
    stages = {
        "data": _data_stage(lab, system, labelled),
        "labels": _labels_stage(lab, system, labelled),
        "config": _config_stage(lab, system),
        "run": _run_stage([run for run in own if run.kind == "train"]),
        "checkpoint": _checkpoint_stage(lab, system),
        "comparison": _comparison_stage(lab, system),
    }
    for kind in ("prepare", "label"):
        stage = _job_stage(KIND_STAGES[kind], next((run for run in own if run.kind == kind), None))
        if stage is not None and (stage.state == "running" or stages[stage.name].state == "missing"):
            stages[stage.name] = stage
    return SystemStatus(system, tuple(stages[name] for name in STAGE_NAMES))


def _data_stage(lab: Lab, system: str, labelled: bool) -> Stage:
    path = lab.train_instructions if labelled else lab.training_data(system)
    if not path.is_file():
        return Stage("data", "missing", "not prepared")
    kept = _kept_rows(lab.report_file(system))
    if kept is None:
        return Stage("data", "ready", size_text(path.stat().st_size))
    return Stage("data", "ready", f"{kept:,} {'rows' if system == 'system1' else 'chains'}")


def _kept_rows(report: Path) -> int | None:
    try:
        value = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kept = value.get("kept") if isinstance(value, dict) else None
    return kept if isinstance(kept, int) else None


def _labels_stage(lab: Lab, system: str, labelled: bool) -> Stage:
    if not labelled:
        return Stage("labels", "skipped", "in the data")
    if lab.train_labeled.is_file():
        labelled_at = lab.train_labeled.stat().st_mtime
        if lab.train_instructions.is_file() and lab.train_instructions.stat().st_mtime > labelled_at:
            return Stage("labels", "missing", "older than the data")
        return Stage("labels", "ready", f"by the teacher, {size_text(lab.train_labeled.stat().st_size)}")
    return Stage("labels", "missing", "teacher not asked")


def _config_stage(lab: Lab, system: str) -> Stage:
    pattern = lab.config_file(system, "*").name
    found = (
        sorted(lab.configs.glob(pattern), key=lambda path: path.stat().st_mtime)
        if lab.configs.is_dir()
        else []
    )
    if not found:
        return Stage("config", "missing", "written when training starts")
    return Stage("config", "ready", found[-1].name)


def _run_stage(runs: list[Run]) -> Stage:
    if not runs:
        return Stage("run", "missing", "not trained")
    latest = runs[0]
    if latest.state in ACTIVE_STATES:
        return Stage("run", "running", running_text("training", latest))
    if latest.state in BAD_STATES:
        return Stage("run", "failed", f"{latest.state}: {latest.message or latest.id}")
    return Stage("run", "ready", f"done, {latest.id}")


def _job_stage(name: str, run: Run | None) -> Stage | None:
    """What a prepare or label job says about its stage; None when its files say it better."""
    if run is None:
        return None
    if run.state in ACTIVE_STATES:
        return Stage(
            name, "running", running_text({"prepare": "preparing", "label": "labelling"}[run.kind], run)
        )
    if run.state in BAD_STATES:
        return Stage(name, "failed", f"{run.state}: {run.message or run.id}")
    return None


def running_text(verb: str, run: Run) -> str:
    """`training 45 %`, or `training, starting` while there is no progress yet."""
    from qdl_engine.runs.reader import summarise

    if run.state == "stopping":
        return f"{verb}, stopping"
    progress = summarise(run).progress
    return f"{verb}, starting" if progress is None else f"{verb} {progress:.0%}"


def checkpoint_ready(directory: Path) -> bool:
    """Whether `directory` holds a checkpoint: a config and weights, as the runtimes write them."""
    return (directory / "config.json").is_file() and any(directory.glob("model*.safetensors"))


def _checkpoint_stage(lab: Lab, system: str) -> Stage:
    directory = lab.checkpoint(system)
    if not checkpoint_ready(directory):
        return Stage("checkpoint", "missing", "none yet")
    weights = list(directory.glob("model*.safetensors"))
    size = size_text(sum(path.stat().st_size for path in weights))
    data = lab.training_data(system)
    if data.is_file() and data.stat().st_mtime > max(path.stat().st_mtime for path in weights):
        return Stage("checkpoint", "ready", f"{size}, older than the data")
    return Stage("checkpoint", "ready", size)


def _comparison_stage(lab: Lab, system: str) -> Stage:
    found = list(lab.comparisons.glob("*.json")) if lab.comparisons.is_dir() else []
    if not found or not checkpoint_ready(lab.checkpoint(system)):
        return Stage("comparison", "missing", "none yet")
    newest = max(path.stat().st_mtime for path in found)
    config = lab.checkpoint(system) / "config.json"
    if config.is_file() and config.stat().st_mtime > newest:
        return Stage("comparison", "missing", "none since the last training")
    return Stage("comparison", "ready", f"{len(found)} saved")


def _steps(lab: Lab, systems: tuple[SystemStatus, ...], active: list[Run]) -> tuple[Step, ...]:
    """Everything that makes sense now, the one next step first."""
    watch = [
        Step(
            f"Watch {run.kind} {SYSTEM_NAMES.get(run.system or '', '')}".rstrip(),
            ("attach", run.id),
            "training",
            run.id,
        )
        for run in active
    ]
    needed = [step for status in systems for step in _needed(status)]
    compare = [Step("Compare teacher and students", ("compare",), "compare")]
    trained = [status for status in systems if status.stage("checkpoint").state == "ready"]
    later = [step for status in systems for step in _again(status)]
    if not trained:
        return (*watch, *needed, *later)
    return (*watch, *needed, *compare, *later)


def _needed(status: SystemStatus) -> list[Step]:
    """The next thing this student needs; nothing while a job works for it."""
    if any(stage.state == "running" for stage in status.stages):
        return []
    name, system = SYSTEM_NAMES[status.system], status.system
    if status.stage("data").state != "ready":
        return [Step(f"Prepare the data of {name}", ("prepare", system))]
    if status.stage("labels").state in ("missing", "failed"):
        return [Step(f"Let the teacher label the data of {name}", ("label",))]
    if status.stage("checkpoint").state != "ready" or status.stage("run").state == "failed":
        return [Step(f"Train {name}", ("train", system))]
    return []


def _again(status: SystemStatus) -> list[Step]:
    if any(stage.state == "running" for stage in status.stages):
        return []
    name, system = SYSTEM_NAMES[status.system], status.system
    again = []
    if status.stage("data").state == "ready":
        again.append(Step(f"Prepare the data of {name} again", ("prepare", system)))
    if status.stage("labels").state == "ready":
        again.append(Step(f"Let the teacher label the data of {name} again", ("label",)))
    if status.stage("checkpoint").state == "ready" and status.stage("run").state != "failed":
        again.append(Step(f"Train {name} again", ("train", system)))
    return again


def machine_status(root: Path) -> MachineStatus:
    """GPUs by `nvidia-smi` and the disk under the lab. May take a second: call it in a thread."""
    existing = next((path for path in (root, *root.parents) if path.exists()), Path("/"))
    usage = shutil.disk_usage(existing)
    return MachineStatus(_gpus(), usage.free, usage.total)


def _gpus() -> tuple[str, ...]:
    query = ["nvidia-smi", "--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in shown.splitlines()]
    return tuple(f"{row[0]}, {row[1]} of {row[2]} MiB used" for row in rows if len(row) == 3)


def size_text(size: int) -> str:
    """Bytes as a person reads them: `1.2 GB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def report_text(status: LabStatus) -> str:
    """The status as plain text, for a pipe, a dumb terminal or `qdl status`."""
    if not status.exists:
        root = status.root
        return f"No lab at {root}\nMake one:   qdl --lab {root} init\nOr a demo:  qdl demo {root}"
    lines = [f"Lab {status.root}", *status.problems]
    lines.append(f"{'':12}{SYSTEM_NAMES['system1']:34}{SYSTEM_NAMES['system2']}")
    for name in STAGE_NAMES:
        first, second = (system.stage(name) for system in status.systems)
        lines.append(f"{name:12}{_stage_text(first):34}{_stage_text(second)}".rstrip())
    step = status.next_step
    if step is not None:
        lines.append(f"Next: {step.label}:  qdl --lab {status.root} {' '.join(step.command)}")
    return "\n".join(lines)


def _stage_text(stage: Stage) -> str:
    return f"{stage.state}: {stage.detail}"[:33]
