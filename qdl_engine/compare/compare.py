"""Prompts times models: answers and figures side by side, one model in memory at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qdl_engine.compare.comparison import (
    Answer,
    ComparedModel,
    Comparison,
    ComparisonKeeper,
    list_comparisons,
    load_comparison,
    now,
    read_prompts,
    save_comparison,
    weights_written,
)
from qdl_engine.core.errors import DataError, LabError, ModelError, SettingsError
from qdl_engine.core.events import EventSink, Note, Progress, no_sink
from qdl_engine.core.prompts import Mode
from qdl_engine.models.checkpoint import Role
from qdl_engine.models.load import LoadedModel, ModelLike, as_loaded
from qdl_engine.teachers.base import Asking, Teacher
from qdl_engine.teachers.make import Speaker, name_of, stream_from

if TYPE_CHECKING:
    from qdl_engine.models.generate import StreamChunk
    from qdl_engine.models.load import Quantization

__all__ = [
    "Answer",
    "ComparedModel",
    "Comparison",
    "compare_models",
    "list_comparisons",
    "load_comparison",
    "read_prompts",
    "save_comparison",
]

ModelName = Literal["teacher", "system1", "system2"]


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

    One after the other, one prompt at a time: so the speeds are those a person meets, and only one model
    needs room in memory, unless models are passed in. A model that cannot be loaded, or that fails at every
    prompt, is skipped with its reason; the others answer. One prompt that fails costs its own answer only.

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
        save_to: Write the comparison to this file, as the answers come.
        unusable: Models that are known not to answer, and why: skipped as one that cannot be loaded.
        on_event: Takes `progress`, and a `note` for each model loaded or skipped.

    Raises:
        SettingsError: when there is no prompt, one that asks nothing, no model at all, or a length or a
            temperature that cannot be.
        UnsavedComparisonError: when `save_to` could not be written; the comparison is in the error.
    """
    if isinstance(prompts, str) or not prompts:
        raise SettingsError(
            "No prompts to compare with", "Give a list of prompts, or a file with one per line."
        )
    _refuse_blank(prompts)
    _refuse_bounds(max_new_tokens, temperature)
    given: dict[ModelName, tuple[str | Path | None, Speaker | None]] = {
        "teacher": (teacher_path, _speaker(teacher_model, "teacher")),
        "system1": (system1_path, _speaker(sys1_model, "student")),
        "system2": (system2_path, _speaker(sys2_model, "student")),
    }
    wanted = {name: pair for name, pair in given.items() if pair != (None, None)}
    if not wanted:
        raise SettingsError(
            "No model to compare", "Give teacher_path, system1_path or system2_path, or a loaded model."
        )
    comparison = Comparison(list(prompts), created=now())
    keeper = ComparisonKeeper(None if save_to is None else Path(save_to))
    asker = _Asker(
        comparison, keeper, max_new_tokens, temperature, quantization, device, on_event, len(wanted)
    )
    for name, error in (unusable or {}).items():
        asker.skip(name, error)
    try:
        for name, (path, loaded) in wanted.items():
            mode: Mode = teacher_mode if name == "teacher" else name
            prompt = (system_prompts or {}).get(name)
            try:
                if loaded is not None:
                    asker.ask(name, loaded, mode, prompt, 0.0)
                else:
                    asker.load_and_ask(name, path or "", mode, prompt)
            except (ModelError, DataError) as error:
                asker.skip(name, error)
            if loaded is None:
                _free()
    except BaseException:
        keeper.keep(comparison, now=True)
        raise
    keeper.finish(comparison)
    return comparison


def _speaker(given: ModelLike | Teacher | None, role: Role) -> Speaker | None:
    """Who speaks: a teacher that lives elsewhere as it is, anything else must be a model in memory."""
    return given if given is None or isinstance(given, Teacher) else as_loaded(given, role)


def _refuse_blank(prompts: Sequence[str]) -> None:
    """A prompt that is blank or no text would be answered with noise, or fail after the models are loaded."""
    for number, prompt in enumerate(prompts, 1):
        # Callers are not all typed: a list read from JSON may hold anything.
        if not isinstance(prompt, str) or not prompt.strip():
            raise SettingsError(f"Prompt {number} asks nothing: {prompt!r}", "Write some text.")
        try:
            prompt.encode()
        except UnicodeEncodeError as cause:
            raise SettingsError(
                f"Prompt {number} is not valid Unicode: {prompt!r}", "Write it anew."
            ) from cause


def _refuse_bounds(max_new_tokens: int, temperature: float) -> None:
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise SettingsError(
            f"max_new_tokens = {max_new_tokens!r} leaves no room for an answer",
            "A whole number, at least 1; comparison.max_new_tokens in qdl.toml.",
        )
    if not math.isfinite(temperature) or temperature < 0:
        raise SettingsError(
            f"temperature = {temperature!r} is no temperature",
            "A number, at least 0; 0 is greedy. comparison.temperature in qdl.toml.",
        )


@dataclass
class _Asker:
    """Puts the prompts to one model after the other."""

    comparison: Comparison
    keeper: ComparisonKeeper
    max_new_tokens: int
    temperature: float
    quantization: Quantization
    device: str
    on_event: EventSink
    models: int
    done: int = 0

    def load_and_ask(self, name: ModelName, path: str | Path, mode: Mode, system_prompt: str | None) -> None:
        """Load, ask, forget: the model's only reference is this call's."""
        from qdl_engine.models.load import load_student, load_teacher

        self.on_event(Note(f"Loading {name}: {path}"))
        started = time.perf_counter()
        if name == "teacher":
            loaded = load_teacher(path, quantization=self.quantization, device=self.device)
        else:
            loaded = load_student(path, device=self.device)
        self.ask(name, loaded, mode, system_prompt, time.perf_counter() - started)

    def ask(
        self, name: str, speaker: Speaker, mode: Mode, system_prompt: str | None, load_seconds: float
    ) -> None:
        if not isinstance(speaker, LoadedModel):
            speaker.load(self.on_event)
        compared = ComparedModel(name_of(speaker), mode, speaker.parameters, load_seconds)
        compared.written = weights_written(name_of(speaker))
        self.comparison.models[name] = compared
        failures: list[ModelError] = []
        asking = Asking(self.max_new_tokens, self.temperature)
        for instruction in self.comparison.prompts:
            try:
                pieces = stream_from(speaker, instruction, mode, system_prompt, asking)
                compared.answers.append(_joined(list(pieces)))
            except ModelError as error:
                failures.append(error)
                compared.answers.append(Answer.failure(str(error)))
                self.on_event(Note(f"{name}: {error.message}"))
            self._count()
        if len(failures) == len(self.comparison.prompts):
            raise failures[0]

    def skip(self, name: str, why: LabError) -> None:
        self.comparison.models.pop(name, None)
        self.comparison.skipped[name] = str(why)
        self.on_event(Note(f"{name} is skipped: {why.message}"))

    def _count(self) -> None:
        self.keeper.keep(self.comparison)
        self.done += 1
        total = self.models * len(self.comparison.prompts)
        unit = f"answers of {self.models} models" if self.models > 1 else "answers"
        self.on_event(Progress(stage="compare", done=self.done, total=total, unit=unit))


def _joined(pieces: list[StreamChunk]) -> Answer:
    """The answer that was streamed, with its figures."""
    last = pieces[-1]
    text = "".join(piece.text for piece in pieces)
    stopped = last.stopped or "length"
    return Answer.of(text, last.tokens, last.seconds, last.first_token_seconds, stopped, last.reason)


def _free() -> None:
    from qdl_engine.models.load import free_memory

    free_memory()
