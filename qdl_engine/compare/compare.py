"""Prompts times models: answers and figures side by side, one model in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qdl_engine.compare.ask import ModelSpec, ReadyModel, load_model
from qdl_engine.compare.comparison import (
    Answer,
    ComparedModel,
    Comparison,
    ComparisonFile,
    ModelName,
    now,
    weights_written,
)
from qdl_engine.core.errors import DataError, LabError, ModelError, SettingsError
from qdl_engine.core.events import EventSink, Note, Progress, no_sink
from qdl_engine.core.prompts import Mode
from qdl_engine.models.checkpoint import Role
from qdl_engine.models.load import LoadedModel, ModelLike, as_loaded, free_memory
from qdl_engine.teachers.base import Decoding, Teacher

if TYPE_CHECKING:
    from qdl_engine.models.load import Quantization


def compare_models(
    prompts: Sequence[str],
    *,
    teacher_path: str | Path | None = None,
    system1_path: str | Path | None = None,
    system2_path: str | Path | None = None,
    teacher_model: ModelLike | Teacher | None = None,
    sys1_model: ModelLike | None = None,
    sys2_model: ModelLike | None = None,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    system_prompts: dict[str, str] | None = None,
    teacher_mode: Mode = "system1",
    quantization: Quantization = "8bit",
    device: str = "auto",
    save_to: str | Path | None = None,
    unusable: Mapping[ModelName, LabError] | None = None,
    on_event: EventSink = no_sink,
) -> Comparison:
    """Ask every model every prompt.

    The models are asked one after the other, one prompt at a time: the speeds are those that a person sees,
    and only one model needs room in memory, unless models are passed in. A model that cannot be loaded, or
    that fails at every prompt, is skipped with its reason; the others answer. One prompt that fails costs
    only its own answer.

    Args:
        prompts: Instructions, not rendered.
        teacher_path: Hub id or directory; likewise the students'. A model without path is not asked.
        system1_path: The System 1 student.
        system2_path: The System 2 student.
        teacher_model: The teacher already in memory, or one that lives elsewhere; it wins over its path.
        sys1_model: The System 1 student already in memory: what `load_student` returned, or a pair of
            model and tokenizer.
        sys2_model: The System 2 student already in memory.
        max_new_tokens: Longest completion.
        temperature: 0 is greedy.
        system_prompts: System prompts by name of the model; where one is absent its mode's own is used.
        teacher_mode: How the teacher is asked, with or without reasoning.
        quantization: Of a teacher loaded here.
        device: Where models are loaded.
        save_to: Write the comparison to this file while the answers come in.
        unusable: Models that cannot answer, and why: skipped like one that cannot be loaded.
        on_event: Takes `progress`, and a `note` for each model loaded or skipped.

    Raises:
        SettingsError: when there is no prompt, a blank one, no model at all, or an impossible length or
            temperature.
        UnsavedComparisonError: when `save_to` could not be written; the comparison is in the error.
    """
    _check_prompts(prompts)
    _check_bounds(max_new_tokens, temperature)
    given: dict[ModelName, tuple[str | Path | None, ReadyModel | None]] = {
        "teacher": (teacher_path, _ready(teacher_model, "teacher")),
        "system1": (system1_path, _ready(sys1_model, "student")),
        "system2": (system2_path, _ready(sys2_model, "student")),
    }
    wanted = {name: pair for name, pair in given.items() if pair != (None, None)}
    if not wanted:
        raise SettingsError(
            "No model to compare", "Give teacher_path, system1_path or system2_path, or a loaded model."
        )
    comparison = Comparison(list(prompts), created=now())
    file = None if save_to is None else ComparisonFile(lambda: Path(save_to))
    asking = Decoding(max_new_tokens, temperature)
    column = _Columns(comparison, file, asking, device, on_event, total=len(wanted) * len(prompts))
    for name, error in (unusable or {}).items():
        column.skip(name, error)
    try:
        for name, (path, ready) in wanted.items():
            mode: Mode = teacher_mode if name == "teacher" else name
            spec = ModelSpec(name, path or "", mode, (system_prompts or {}).get(name), quantization)
            try:
                column.fill(spec, ready)
            except (ModelError, DataError) as error:
                column.skip(name, error)
            if ready is None:
                free_memory()
    except BaseException:
        if file is not None:
            file.keep(comparison, at_once=True)
        raise
    if file is not None:
        file.finish(comparison)
    return comparison


def _ready(given: ModelLike | Teacher | None, role: Role) -> ReadyModel | None:
    """A teacher that lives elsewhere as it is; anything else must be a model in memory."""
    if given is None:
        return None
    return ReadyModel(given if isinstance(given, Teacher) else as_loaded(given, role))


def _check_prompts(prompts: Sequence[str]) -> None:
    """Refuse what would be answered with noise, or fail only after the models are loaded."""
    if isinstance(prompts, str) or not prompts:
        raise SettingsError(
            "No prompts to compare with", "Give a list of prompts, or a file with one per line."
        )
    for number, prompt in enumerate(prompts, 1):
        # Callers are not all typed: a list read from JSON may hold anything.
        if not isinstance(prompt, str) or not prompt.strip():
            raise SettingsError(f"Prompt {number} is blank: {prompt!r}", "Write some text.")
        try:
            prompt.encode()
        except UnicodeEncodeError as cause:
            raise SettingsError(
                f"Prompt {number} is not valid Unicode: {prompt!r}", "Write it again."
            ) from cause


def _check_bounds(max_new_tokens: int, temperature: float) -> None:
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise SettingsError(
            f"max_new_tokens = {max_new_tokens!r} leaves no room for an answer",
            "Give a whole number, at least 1: comparison.max_new_tokens in qdl.toml.",
        )
    if not math.isfinite(temperature) or temperature < 0:
        raise SettingsError(
            f"temperature = {temperature!r} is not a temperature",
            "Give a number, at least 0 (greedy): comparison.temperature in qdl.toml.",
        )


@dataclass
class _Columns:
    """Fills a comparison column by column: each model answers every prompt."""

    comparison: Comparison
    file: ComparisonFile | None
    asking: Decoding
    device: str
    on_event: EventSink
    total: int
    """How many answers there will be."""
    done: int = 0

    def fill(self, spec: ModelSpec, ready: ReadyModel | None) -> None:
        """Let one model answer; a model loaded here is dropped when this returns.

        Raises:
            LabError: when it cannot be loaded.
            ModelError: when it fails at every prompt.
        """
        if ready is None:
            self.on_event(Note(f"Loading {spec.name}: {spec.path}"))
            ready = load_model(spec, device=self.device)
        elif not isinstance(ready.speaker, LoadedModel):
            ready.speaker.load(self.on_event)
        compared = ComparedModel(ready.path, spec.mode, ready.speaker.parameters, ready.load_seconds)
        compared.written = weights_written(ready.path)
        self.comparison.models[spec.name] = compared
        failures: list[ModelError] = []
        for prompt in self.comparison.prompts:
            try:
                compared.answers.append(ready.ask(prompt, spec, self.asking))
            except ModelError as error:
                failures.append(error)
                compared.answers.append(Answer.failure(str(error)))
                self.on_event(Note(f"{spec.name}: {error.message}"))
            self._count()
        if len(failures) == len(self.comparison.prompts):
            raise failures[0]

    def skip(self, name: str, why: LabError) -> None:
        self.comparison.models.pop(name, None)
        self.comparison.skipped[name] = str(why)
        self.on_event(Note(f"{name} is skipped: {why.message}"))

    def _count(self) -> None:
        if self.file is not None:
            self.file.keep(self.comparison)
        self.done += 1
        models = self.total // len(self.comparison.prompts)
        unit = f"answers of {models} models" if models > 1 else "answers"
        event = Progress(stage="compare", done=self.done, total=self.total, unit=unit)
        self.on_event(event)
