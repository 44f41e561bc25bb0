"""The state of a lab: what is ready, and the next step. This reads files and writes none.

The app and `qdl status` both show this; neither decides for itself what is ready.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.core.gpus import read_gpus
from qdl_engine.core.lab import Lab, user_settings_file
from qdl_engine.core.systems import SYSTEM_NAMES, SYSTEMS
from qdl_engine.core.toml import toml_error
from qdl_engine.core.words import one_line
from qdl_engine.lab_state.stages import (
    KIND_STAGES,
    STAGE_NAMES,
    UNFINISHED,
    Stage,
    checkpoint_stage,
    comparison_stage,
    config_stage,
    data_stage,
    job_stage,
    labels_stage,
    read_report,
    run_stage,
)

if TYPE_CHECKING:
    from qdl_engine.runs.store import Run

__all__ = [
    "STAGE_NAMES",
    "LabStatus",
    "MachineStatus",
    "Stage",
    "Step",
    "SystemStatus",
    "lab_status",
    "machine_status",
    "report_text",
]


@dataclass(frozen=True)
class Step:
    """Something that the user can do now."""

    label: str
    command: tuple[str, ...]
    """The `qdl` arguments that do it, typed or as a detached job."""
    screen: str = ""
    """The screen to open instead of starting a job: `training` to watch a run, or `compare`."""
    run_id: str = ""


@dataclass(frozen=True)
class SystemStatus:
    """The stages of one student."""

    system: str
    stages: tuple[Stage, ...]

    def stage(self, name: str) -> Stage:
        """One stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)


@dataclass(frozen=True)
class LabStatus:
    """The state of the whole lab."""

    root: str
    exists: bool
    systems: tuple[SystemStatus, ...] = ()
    steps: tuple[Step, ...] = ()
    """What the user can do, the next step first."""
    active_runs: int = 0
    problems: tuple[str, ...] = ()

    @property
    def next_step(self) -> Step | None:
        """The step that Enter does; None when nothing is left."""
        return self.steps[0] if self.steps else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class MachineStatus:
    """GPUs, disk and EasyDistill of this machine."""

    gpus: tuple[str, ...] = field(default=())
    disk_free: int = 0
    disk_total: int = 0
    easydistill: str = ""
    """The EasyDistill that `qdl easydistill check` recorded, in a few words; empty when there is none."""


def lab_status(lab: Lab, *, check: bool = True) -> LabStatus:
    """Read the state of `lab` from its files and run records; with `check`, validate every setting too.

    Without `check` this is cheap enough for one call a second.
    """
    if not lab.settings_file.is_file():
        return LabStatus(str(lab.root), exists=False)
    from qdl_engine.runs.store import list_runs

    settings, problems = _raw_settings(lab)
    if check and not problems:
        problems = _settings_problems(lab)
    runs = list_runs(lab)
    systems = tuple(_system_status(lab, system, settings, runs) for system in SYSTEMS)
    return LabStatus(
        root=str(lab.root),
        exists=True,
        systems=systems,
        steps=_steps(systems, runs),
        active_runs=sum(not run.final for run in runs),
        problems=tuple(problems),
    )


def _raw_settings(lab: Lab) -> tuple[dict[str, Any], list[str]]:
    """`qdl.toml` as plain tables: the settings models would cost 0.1 s before the first paint."""
    file, text = lab.settings_file, ""
    try:
        # Some editors begin a file with a byte order mark.
        text = file.read_text(encoding="utf-8-sig")
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as broken:
        error = toml_error(file, text, broken)
        return {}, [f"{error.message.removeprefix(f'{file}: ')}. {error.hint} In {file}"]
    except (OSError, UnicodeDecodeError) as broken:
        return {}, [f"{file}: {broken}"]


def _settings_problems(lab: Lab) -> list[str]:
    """What the settings models refuse, each with a remedy."""
    from qdl_engine.settings.toml import validate_file

    return [problem.cause_first for problem in validate_file(lab.settings_file)]


def _system_status(lab: Lab, system: str, settings: dict[str, Any], runs: list[Run]) -> SystemStatus:
    own = [run for run in runs if run.system == system or (run.kind == "label" and system == "system1")]
    found = settings.get(system)
    table = found if isinstance(found, dict) else {}
    labelled = system == "system1" and bool(table.get("label", False))
    trainings = [run for run in own if run.kind == "train"]
    report = read_report(lab, system)
    stages = {
        "data": data_stage(lab, system, labelled, table, report),
        "labels": labels_stage(lab, labelled, report),
        "config": config_stage(lab, system, trainings),
        "run": run_stage(lab, system, trainings),
        "checkpoint": checkpoint_stage(lab, system),
        "comparison": comparison_stage(lab, system),
    }
    for kind in ("prepare", "label"):
        stage = job_stage(KIND_STAGES[kind], next((run for run in own if run.kind == kind), None))
        if stage is not None and (stage.state == "running" or stages[stage.name].state == "missing"):
            stages[stage.name] = stage
    return SystemStatus(system, tuple(stages[name] for name in STAGE_NAMES))


def _steps(systems: tuple[SystemStatus, ...], runs: list[Run]) -> tuple[Step, ...]:
    """Every sensible step, the next one first."""
    watch = [
        Step(
            f"Watch {run.kind} {SYSTEM_NAMES.get(run.system or '', '')}".rstrip(),
            ("attach", run.id),
            "training",
            run.id,
        )
        for run in runs
        if not run.final
    ]
    resumed = [step for status in systems for step in _resume(status, runs)]
    needed = [step for status in systems for step in _needed(status)]
    compare = [Step("Compare teacher and students", ("compare",), "compare")]
    trained = [status for status in systems if status.stage("checkpoint").state == "ready"]
    later = [step for status in systems for step in _again(status)]
    if not trained:
        return (*watch, *resumed, *needed, *later)
    return (*watch, *resumed, *needed, *compare, *later)


def _resume(status: SystemStatus, runs: list[Run]) -> list[Step]:
    """Resume the newest training if it was stopped or lost; a failed one would fail again."""
    newest = next((run for run in runs if run.kind == "train" and run.system == status.system), None)
    if newest is None or newest.state not in ("stopped", "lost"):
        return []
    if newest.writes_elsewhere or not newest.resumable:
        return []
    return [Step(f"Resume {SYSTEM_NAMES[status.system]} training", ("resume", newest.id))]


def _needed(status: SystemStatus) -> list[Step]:
    """The next step for this student; none while a job works for it."""
    if any(stage.state == "running" for stage in status.stages):
        return []
    name, system = SYSTEM_NAMES[status.system], status.system
    data = status.stage("data")
    if data.state not in ("ready", "stale"):
        return [Step(f"Prepare {name} data", ("prepare", system))]
    renewal = [_prepare_again(name, system, data)] if data.state == "stale" else []
    if status.stage("labels").state in {"missing", *UNFINISHED}:
        return [*renewal, Step(f"Generate {name} answers with the teacher", ("label",))]
    if status.stage("checkpoint").state != "ready" or status.stage("run").state in UNFINISHED:
        old = " on the existing data" if renewal else ""
        return [*renewal, Step(f"Train {name}{old}", ("train", system))]
    return renewal


def _prepare_again(name: str, system: str, data: Stage) -> Step:
    first, more = data.changed[0], len(data.changed) - 1
    why = f"{one_line(str(first), 40)}{f' and {more} more' if more else ''}"
    return Step(f"Prepare {name} data again: {why}", ("prepare", system))


def _again(status: SystemStatus) -> list[Step]:
    """Finished steps that the user can repeat; none while a job works for this student."""
    if any(stage.state == "running" for stage in status.stages):
        return []
    name, system = SYSTEM_NAMES[status.system], status.system
    again = []
    if status.stage("data").state == "ready":
        again.append(Step(f"Prepare {name} data again", ("prepare", system)))
    if status.stage("labels").state == "ready":
        again.append(Step(f"Generate {name} answers with the teacher again", ("label",)))
    if status.stage("checkpoint").state == "ready" and status.stage("run").state not in UNFINISHED:
        again.append(Step(f"Train {name} again", ("train", system)))
    return again


def machine_status(root: Path) -> MachineStatus:
    """GPUs from `nvidia-smi` and the disk of the lab. Call it in a thread: it may take a second."""
    existing = next((path for path in (root, *root.parents) if path.exists()), Path("/"))
    usage = shutil.disk_usage(existing)
    return MachineStatus(_gpus(), usage.free, usage.total, _easydistill())


def _easydistill() -> str:
    """Read as plain TOML: the settings models would cost memory that the lab screen does not need."""
    try:
        table = tomllib.loads(user_settings_file().read_text(encoding="utf-8")).get("easydistill")
    except (OSError, ValueError):
        # `qdl doctor` explains what is wrong with the file.
        return ""
    checkout = table.get("checkout") if isinstance(table, dict) else ""
    return f"EasyDistill 1.0 at {checkout}" if checkout else ""


def _gpus() -> tuple[str, ...]:
    return tuple(
        f"{gpu.name}, {gpu.memory_used // 2**20} of {gpu.memory_total // 2**20} MiB used"
        for gpu in read_gpus()
        if gpu.memory_used is not None and gpu.memory_total is not None
    )


def report_text(status: LabStatus) -> str:
    """The status as plain text, for `qdl status`."""
    lab = Lab(Path(status.root))
    if not status.exists:
        return (
            f"No lab at {lab.root}\nCreate one:  qdl --lab {lab.word} init\nOr a demo:   qdl demo {lab.word}"
        )
    rows = [["", *(SYSTEM_NAMES[system.system] for system in status.systems)]]
    for name in STAGE_NAMES:
        rows.append([name, *(one_line(system.stage(name).in_words, 60) for system in status.systems)])
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]))]
    lines = [f"Lab {lab.root}", *status.problems]
    lines += [
        "".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for system in status.systems:
        changed = system.stage("data").changed
        lines += [f"{SYSTEM_NAMES[system.system]}: {difference}" for difference in changed]
    step = status.next_step
    if step is not None:
        lines.append(step_text(lab, step))
    return "\n".join(lines)


def step_text(lab: Lab, step: Step) -> str:
    """The next step in words, with its command."""
    return f"Next: {step.label}:  qdl --lab {lab.word} {' '.join(step.command)}"
