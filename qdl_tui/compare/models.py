"""What the compare screen knows before it asks: the models, the prompts, how each is asked."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from qdl_engine.compare.comparison import (
    Comparison,
    list_comparisons,
    load_comparison,
    read_prompts,
    weights_written,
)
from qdl_engine.compare.votes import Candidate, Vote, vote_scores, voter
from qdl_engine.core.errors import DataError, LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import one_line
from qdl_engine.models.checkpoint import checkpoint_ready
from qdl_tui.runs.feed import training_now

MODELS = ("teacher", "system1", "system2")
TITLES = {"teacher": "Teacher", **SYSTEM_NAMES}
CHOICES = {
    "All three": MODELS,
    "Teacher, System 1": ("teacher", "system1"),
    "Teacher, System 2": ("teacher", "system2"),
    "System 1, System 2": ("system1", "system2"),
}
"""Which models take part, by what the user chooses from."""
MOST_RECENT = 20
"""Saved comparisons whose answers are shown again without being opened."""
MOST_LISTED = 200
"""Saved comparisons that can be chosen from; the newest ones."""


@dataclass(frozen=True)
class Contestant:
    """One model of the comparison and how it is asked."""

    name: str
    path: str
    missing: str
    """Why it cannot answer; empty when it can."""
    mode: str
    system_prompt: str
    written: str
    """When its weights were written."""
    in_training: bool = False
    """Whether it cannot answer because it is being trained."""

    @property
    def weights(self) -> tuple[str, str]:
        """Tells these weights from others: a newer training, or another lab's, is loaded anew."""
        return self.path, self.written


@dataclass(frozen=True)
class Setting:
    """All that a comparison in this lab starts from."""

    contestants: tuple[Contestant, ...]
    prompts: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    quantization: str
    teacher: dict[str, Any] = field(default_factory=dict)
    """The settings of a teacher that is no checkpoint; empty for one that is."""
    root: str = ""
    """The lab, where that teacher's relative paths start."""

    def contestant(self, name: str) -> Contestant:
        return next(item for item in self.contestants if item.name == name)

    def load_request(self, contestant: Contestant) -> dict[str, Any]:
        if contestant.name == "teacher" and self.teacher:
            return {"op": "load", "name": "teacher", "teacher": self.teacher, "root": self.root}
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


@dataclass
class Kept:
    """A comparison, and the name it is saved under; empty while it is not saved."""

    comparison: Comparison
    name: str = ""


@dataclass(frozen=True)
class Shown:
    """The answers to one prompt, in the comparison they belong to."""

    kept: Kept
    index: int

    @property
    def comparison(self) -> Comparison:
        return self.kept.comparison

    @property
    def prompt(self) -> str:
        return self.comparison.prompts[self.index]

    @property
    def key(self) -> tuple[str, str]:
        """Tells these answers from all others, saved or not."""
        return self.comparison.created, self.prompt

    def vote_in(self, votes: Iterable[Vote]) -> Vote | None:
        """The user's own last vote on these answers; what others voted must not tell the names."""
        mine = (voter(), self.kept.name, self.prompt)
        found = [vote for vote in votes if (vote.who, vote.comparison, vote.prompt) == mine]
        return found[-1] if found else None


def shown_by_prompt(kept: Kept) -> dict[str, Shown]:
    return {prompt: Shown(kept, index) for index, prompt in enumerate(kept.comparison.prompts)}


def read_setting(lab: Lab) -> Setting:
    """Read settings, checkpoints and prompts. For a worker thread.

    Raises:
        SettingsError: when `qdl.toml` cannot be accepted.
    """
    from qdl_engine.models.checkpoint import student_reference
    from qdl_engine.settings.toml import load_settings

    settings = load_settings(lab)
    elsewhere = settings.teacher.kind != "hf"
    path = settings.teacher.place if elsewhere else student_reference(lab, settings.teacher.model)
    mode = settings.comparison.teacher_mode
    teacher = Contestant(
        "teacher", path, "", mode, settings.recipe(mode).system_prompt, weights_written(path)
    )
    students = (
        _student(lab, "system1", settings.system1.system_prompt),
        _student(lab, "system2", settings.system2.system_prompt),
    )
    return Setting(
        contestants=(teacher, *students),
        prompts=_prompts(lab),
        max_new_tokens=settings.comparison.max_new_tokens,
        temperature=settings.comparison.temperature,
        quantization=settings.teacher.quantization,
        teacher=settings.teacher.model_dump() if elsewhere else {},
        root=str(lab.root),
    )


def _student(lab: Lab, system: str, system_prompt: str) -> Contestant:
    directory = str(lab.checkpoint(system))
    ready = checkpoint_ready(lab.checkpoint(system))
    training = "" if ready else training_now(lab, system)
    cure = f"Train {SYSTEM_NAMES[system]} first: screen 1, or\nqdl train {system}"
    if training:
        place = training.removeprefix("training").strip(", ")
        cure = f"{SYSTEM_NAMES[system]} is being trained ({place}).\nIt can be asked when that is done."
    missing = f"Model not found at {directory}\n\n{cure}"
    return Contestant(
        system,
        directory,
        "" if ready else missing,
        system,
        system_prompt,
        weights_written(directory),
        in_training=bool(training),
    )


def _prompts(lab: Lab) -> tuple[str, ...]:
    """The prompts of `sample_prompts.txt`; none when there is no such file, for they can be typed."""
    try:
        return tuple(read_prompts(lab.sample_prompts))
    except DataError:
        return ()


def read_recent(lab: Lab) -> list[Kept]:
    """The newest saved comparisons that can be read, the newest first. For a worker thread."""
    recent = []
    for path in list_comparisons(lab)[:MOST_RECENT]:
        with suppress(LabError):
            recent.append(Kept(load_comparison(path), path.stem))
    return recent


def saved_options(lab: Lab) -> list[tuple[str, str]]:
    """The saved comparisons to choose from, newest first: name, and what is in it. For a worker thread."""
    options = []
    for path in list_comparisons(lab)[:MOST_LISTED]:
        try:
            comparison = load_comparison(path)
        except LabError:
            continue
        count = len(comparison.prompts)
        first = one_line(comparison.prompts[0], 34) if count else ""
        options.append((path.stem, f"{count:>3} prompt{'s' if count != 1 else ' '} {first}"))
    return options


def date_text(created: str) -> str:
    """`2026-11-24 08:38` out of the time a comparison was made."""
    return created[:16].replace("T", " ")


def scores_line(votes: Iterable[Vote], models: Iterable[Candidate]) -> str:
    """How often each of these models was the best, in one line; empty without votes on them."""
    wanted = list(models)
    scores = [score for score in vote_scores(votes) if score.model in wanted]
    parts = [
        f"{TITLES[score.model.name]} {score.rate:.0%} ({score.low * 100:.0f}-{score.high * 100:.0f})"
        for score in scores
    ]
    most = max((score.votes for score in scores), default=0)
    return f"{most} vote{'s' if most != 1 else ''}  {'  '.join(parts)}" if parts else ""
