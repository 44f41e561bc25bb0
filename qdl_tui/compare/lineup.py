"""What a comparison in a lab starts from: the models, whether each can be asked, the sample prompts."""

from __future__ import annotations

from dataclasses import dataclass

from qdl_engine.compare.ask import ModelSpec
from qdl_engine.compare.comparison import MODELS, read_prompts, weights_written
from qdl_engine.compare.votes import Candidate
from qdl_engine.core.errors import DataError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES, System
from qdl_engine.models.checkpoint import checkpoint_ready
from qdl_tui.runs.feed import training_now

TITLES = {"teacher": "Teacher", **SYSTEM_NAMES}
CHOICES: dict[str, tuple[str, ...]] = {
    "All three": MODELS,
    "Teacher, System 1": ("teacher", "system1"),
    "Teacher, System 2": ("teacher", "system2"),
    "System 1, System 2": ("system1", "system2"),
}
"""The models to compare, by what the user chooses from."""


@dataclass(frozen=True)
class Contestant:
    """One model of the lab, and whether it can be asked."""

    spec: ModelSpec
    written: str
    """When its weights were written."""
    missing: str = ""
    """Why it cannot answer; empty when it can."""
    in_training: bool = False
    """Whether it cannot answer because its training is running."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def candidate(self) -> Candidate:
        """What votes on its answers count for."""
        return Candidate(self.name, str(self.spec.path), self.written)


@dataclass(frozen=True)
class Lineup:
    """The models of a lab and its sample prompts, and how the models are asked."""

    contestants: tuple[Contestant, ...]
    prompts: tuple[str, ...]
    max_new_tokens: int
    temperature: float

    def contestant(self, name: str) -> Contestant:
        return next(item for item in self.contestants if item.name == name)

    @property
    def in_training(self) -> bool:
        """Whether a student will be there once its training finishes."""
        return any(item.in_training for item in self.contestants)


def read_lineup(lab: Lab) -> Lineup:
    """Read settings, checkpoints and prompts. For a thread.

    Raises:
        SettingsError: when `qdl.toml` cannot be accepted.
    """
    from qdl_engine.models.checkpoint import student_reference
    from qdl_engine.settings.toml import load_settings

    settings = load_settings(lab)
    teacher = settings.teacher
    elsewhere = teacher.kind != "hf"
    mode = settings.comparison.teacher_mode
    spec = ModelSpec(
        "teacher",
        teacher.place if elsewhere else student_reference(lab, teacher.model),
        mode,
        settings.recipe(mode).system_prompt,
        teacher.quantization,
        teacher.model_dump() if elsewhere else {},
        str(lab.root),
    )
    return Lineup(
        contestants=(
            Contestant(spec, weights_written(str(spec.path))),
            _student(lab, "system1", settings.system1.system_prompt),
            _student(lab, "system2", settings.system2.system_prompt),
        ),
        prompts=read_sample_prompts(lab),
        max_new_tokens=settings.comparison.max_new_tokens,
        temperature=settings.comparison.temperature,
    )


def _student(lab: Lab, system: System, system_prompt: str) -> Contestant:
    checkpoint = lab.checkpoint(system)
    spec = ModelSpec(system, str(checkpoint), system, system_prompt)
    written = weights_written(str(checkpoint))
    if checkpoint_ready(checkpoint):
        return Contestant(spec, written)
    training = training_now(lab, system)
    cure = f"Train {SYSTEM_NAMES[system]} first: screen 1, or\nqdl train {system}"
    if training:
        place = training.removeprefix("training").strip(", ")
        cure = f"{SYSTEM_NAMES[system]} is being trained ({place}).\nAvailable when training finishes."
    return Contestant(spec, written, f"Model not found at {checkpoint}\n\n{cure}", bool(training))


def read_sample_prompts(lab: Lab) -> tuple[str, ...]:
    """The prompts of `sample_prompts.txt`; none without that file: prompts can be typed."""
    try:
        return tuple(read_prompts(lab.sample_prompts))
    except DataError:
        return ()
