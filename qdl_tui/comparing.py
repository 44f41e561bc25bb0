"""What the compare screen knows before it asks: the models, the prompts, how each is asked."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from qdl_engine.comparison import Answer, ComparedModel, Comparison, read_prompts
from qdl_engine.errors import DataError
from qdl_engine.events import Event
from qdl_engine.lab import Lab, write_text_atomic
from qdl_engine.status import SYSTEM_NAMES, checkpoint_ready

MODELS = ("teacher", "system1", "system2")
TITLES = {"teacher": "Teacher", **SYSTEM_NAMES}


@dataclass(frozen=True)
class Contestant:
    """One model of the comparison and how it is asked."""

    name: str
    path: str
    missing: str
    """Why it cannot answer; empty when it can."""
    mode: str
    system_prompt: str
    stamp: float
    """When its weights were written."""

    @property
    def weights(self) -> tuple[str, float]:
        """Tells these weights from others: a newer training, or another lab's, is loaded anew."""
        return self.path, self.stamp


@dataclass(frozen=True)
class Setting:
    """All that a comparison in this lab starts from."""

    contestants: tuple[Contestant, ...]
    prompts: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    quantization: str

    def load_request(self, contestant: Contestant) -> dict[str, Any]:
        quantization = self.quantization if contestant.name == "teacher" else "none"
        return {
            "op": "load",
            "name": contestant.name,
            "path": contestant.path,
            "quantization": quantization,
        }

    def ask_request(self, contestant: Contestant, prompt: str, question_id: str) -> dict[str, Any]:
        return {
            "op": "ask",
            "id": question_id,
            "name": contestant.name,
            "prompt": prompt,
            "mode": contestant.mode,
            "system_prompt": contestant.system_prompt,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }


def read_setting(lab: Lab) -> Setting:
    """Read settings, checkpoints and prompts. For a worker thread.

    Raises:
        SettingsError: when `qdl.toml` cannot be accepted.
    """
    from qdl_engine.easydistill.config import student_reference
    from qdl_engine.toml import load_settings

    settings = load_settings(lab)
    teacher_path = student_reference(lab, settings.teacher.model)
    mode = settings.comparison.teacher_mode
    teacher = Contestant(
        "teacher", teacher_path, "", mode, settings.recipe(mode).system_prompt, _stamp(Path(teacher_path))
    )
    students = (
        _student(lab, "system1", settings.system1.system_prompt),
        _student(lab, "system2", settings.system2.system_prompt),
    )
    return Setting(
        contestants=(teacher, *students),
        prompts=_prompts(lab.sample_prompts),
        max_new_tokens=settings.comparison.max_new_tokens,
        temperature=settings.comparison.temperature,
        quantization=settings.teacher.quantization,
    )


def _student(lab: Lab, system: str, system_prompt: str) -> Contestant:
    directory = lab.checkpoint(system)
    ready = checkpoint_ready(directory)
    missing = (
        "" if ready else f"Model not found at {directory}\n\nTrain {SYSTEM_NAMES[system]} first: screen 1."
    )
    return Contestant(system, str(directory), missing, system, system_prompt, _stamp(directory))


def _stamp(directory: Path) -> float:
    try:
        return (directory / "config.json").stat().st_mtime
    except OSError:
        return 0.0


def _prompts(path: Path) -> tuple[str, ...]:
    """The prompts of `sample_prompts.txt`; none when there is no such file, for they can be typed."""
    try:
        return tuple(read_prompts(path))
    except DataError:
        return ()


def append_prompt(path: Path, prompt: str) -> None:
    """Add one prompt at the end of the file."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    gap = "" if not before or before.endswith("\n") else "\n"
    write_text_atomic(path, f"{before}{gap}{prompt}\n")


def comparison_of(
    setting: Setting, prompt: str, loaded: dict[str, Event], answers: dict[str, Event], failed: dict[str, str]
) -> Comparison:
    """One question and its answers, as the engine saves a comparison."""
    comparison = Comparison([prompt], created=datetime.now().astimezone().isoformat(timespec="seconds"))
    names = {field.name for field in fields(Answer)}
    for contestant in setting.contestants:
        answer = answers.get(contestant.name)
        if answer is None:
            comparison.skipped[contestant.name] = failed.get(contestant.name) or contestant.missing
            continue
        about = loaded.get(contestant.name, {})
        values = {key: value for key, value in answer.items() if key in names}
        comparison.models[contestant.name] = ComparedModel(
            path=contestant.path,
            mode=contestant.mode,
            parameters=int(about.get("parameters") or 0),
            load_seconds=float(about.get("seconds") or 0.0),
            answers=[Answer(**values)],
        )
    return comparison
