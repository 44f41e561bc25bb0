"""The stages of a student: data, labels, config, run, checkpoint, comparison, each with its state."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qdl_engine.core.lab import Lab
from qdl_engine.core.words import sentences, size_text
from qdl_engine.data.report import SettingChange, differences, is_same
from qdl_engine.models.checkpoint import checkpoint_ready, read_record, trained_by

if TYPE_CHECKING:
    from qdl_engine.runs.store import Run

StageState = Literal["ready", "stale", "missing", "running", "failed", "stopped", "skipped"]
"""`stale`: made with other settings than the recipe has now. `stopped`: by the user, so not a failure."""

STAGE_NAMES = ("data", "labels", "config", "run", "checkpoint", "comparison")
UNFINISHED = frozenset({"failed", "stopped"})
"""States of a stage that started and did not finish."""
KIND_STAGES = {"prepare": "data", "label": "labels", "train": "run"}

DOING = {"train": "training", "label": "labelling", "prepare": "preparing"}
"""The activity of a run of each kind."""


@dataclass(frozen=True)
class Stage:
    """One stage of a student: data, labels, config, run, checkpoint or comparison."""

    name: str
    state: StageState
    detail: str
    """The state in words, so that no meaning depends on a colour or a symbol."""
    changed: tuple[SettingChange, ...] = ()
    """The settings that changed since the data were prepared."""
    why: str = ""
    """For a failed stage: the full message and what to do about it."""

    @property
    def in_words(self) -> str:
        """State and detail, without repeating a state that begins the detail."""
        return self.detail if self.detail.startswith(self.state) else f"{self.state}: {self.detail}"


def read_report(lab: Lab, system: str) -> dict[str, Any]:
    """The report of the last preparation; empty when it is missing or unreadable."""
    return _read_json(lab.report_file(system))


def data_stage(
    lab: Lab, system: str, labelled: bool, table: Mapping[str, Any], report: Mapping[str, Any]
) -> Stage:
    """The prepared rows, compared with the recipe's table in `qdl.toml`."""
    path = lab.train_instructions if labelled else lab.training_data(system)
    if not path.is_file():
        return Stage("data", "missing", "not prepared")
    changed = tuple(differences(report, table))
    if changed:
        keys = ", ".join(difference.key for difference in changed)
        return Stage("data", "stale", f"prepared with other settings: {keys}", changed)
    kept = report.get("kept")
    if not isinstance(kept, int):
        return Stage("data", "ready", size_text(path.stat().st_size))
    return Stage("data", "ready", f"{kept:,} {'rows' if system == 'system1' else 'chains'}")


def labels_stage(lab: Lab, labelled: bool, report: Mapping[str, Any]) -> Stage:
    """The teacher's answers, and whether they belong to the prepared rows."""
    if not labelled:
        return Stage("labels", "skipped", "in the data")
    if not lab.train_labeled.is_file():
        return Stage("labels", "missing", "no answers yet")
    if lab.train_instructions.is_file():
        record = _read_json(lab.labels_record)
        if is_same(lab.train_instructions, record.get("instructions")) is False:
            return Stage("labels", "missing", "answers belong to other rows")
        if not record and is_same(lab.train_labeled, report.get("digest")):
            return Stage("labels", "missing", "the data's own answers, none by the teacher")
    labelling = _read_json(lab.label_report)
    kept = labelling.get("kept")
    # A labelling that spent its budget, or kept no answer, left the labels as they were.
    if not isinstance(kept, int) or not kept or labelling.get("left"):
        return Stage("labels", "ready", f"by the teacher, {size_text(lab.train_labeled.stat().st_size)}")
    return Stage("labels", "ready", f"{kept:,} rows by the teacher")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def config_stage(lab: Lab, system: str, trainings: list[Run]) -> Stage:
    """The config of the newest training, else the last by name, because ids sort by time."""
    found = {path.name for path in lab.configs.glob(lab.config_file(system, "*").name)}
    used = (run.config.name for run in trainings if run.config is not None)
    name = next((name for name in used if name in found), max(found, default=""))
    if not name:
        return Stage("config", "missing", "written when training starts")
    return Stage("config", "ready", name)


def run_stage(lab: Lab, system: str, trainings: list[Run]) -> Stage:
    """The newest training; once done, the training that made the student."""
    latest = trainings[0] if trainings else None
    if latest is not None and not latest.final:
        return Stage("run", "running", running_text("training", latest))
    if latest is not None and latest.ended_early:
        return _unfinished("run", latest)
    checkpoint = lab.checkpoint(system)
    maker = trained_by(checkpoint) if checkpoint_ready(checkpoint) else None
    if maker is not None and maker not in (run.id for run in trainings):
        return Stage("run", "ready", f"done, {maker}, since deleted")
    if latest is None:
        return Stage("run", "missing", "not trained")
    return Stage("run", "ready", f"done, {maker or latest.id}")


def job_stage(name: str, run: Run | None) -> Stage | None:
    """The stage of a prepare or label job that is running or ended early; else None, and the files decide."""
    if run is None:
        return None
    if not run.final:
        return Stage(name, "running", running_text(DOING[run.kind], run))
    if run.ended_early:
        return _unfinished(name, run)
    return None


def running_text(verb: str, run: Run) -> str:
    """`training 45%`, or `training, starting` before the first progress."""
    from qdl_engine.runs.reader import summarise

    if run.state == "stopping":
        return f"{verb}, stopping"
    progress = summarise(run).progress
    return f"{verb}, starting" if progress is None else f"{verb} {progress:.0%}"


def checkpoint_stage(lab: Lab, system: str) -> Stage:
    """The student's weights, and whether they come from the prepared data."""
    directory = lab.checkpoint(system)
    if not checkpoint_ready(directory):
        return Stage("checkpoint", "missing", "none yet")
    weights = list(directory.glob("model*.safetensors"))
    size = size_text(sum(path.stat().st_size for path in weights))
    data = lab.training_data(system)
    if data.is_file() and is_same(data, read_record(directory).get("data")) is False:
        return Stage("checkpoint", "ready", f"{size}, trained on other data")
    return Stage("checkpoint", "ready", size)


def comparison_stage(lab: Lab, system: str) -> Stage:
    """The saved comparisons, if one is newer than the student."""
    found = list(lab.comparisons.glob("*.json")) if lab.comparisons.is_dir() else []
    if not found or not checkpoint_ready(lab.checkpoint(system)):
        return Stage("comparison", "missing", "none yet")
    written = read_record(lab.checkpoint(system)).get("written")
    if isinstance(written, int | float):
        # The name of a comparison is its time.
        since = time.strftime("%Y%m%d-%H%M%S", time.localtime(written))
        if max(path.stem for path in found) < since:
            return Stage("comparison", "missing", "none since the last training")
    return Stage("comparison", "ready", f"{len(found)} saved")


def _unfinished(name: str, run: Run) -> Stage:
    """`failed: Out of memory`, without repeating a state that begins the message."""
    message = run.message or run.id
    text = message if message.lower().startswith(run.state) else f"{run.state}: {message}"
    if run.state == "stopped":
        # The lab screen cuts a long detail at its first comma.
        short = text.removesuffix(".").removesuffix(" on request").replace("; ", ", ")
        return Stage(name, "stopped", short[:1].lower() + short[1:])
    return Stage(name, "failed", text, why=sentences(text, run.hint))
