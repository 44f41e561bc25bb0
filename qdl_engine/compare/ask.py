"""The one way to ask a model: load it by its description, put a prompt to it, take the answer as it streams.

`compare_models` holds one model at a time, the app's worker keeps several; both ask through this module.
Importing it costs no model library and no pydantic, for the app describes models with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.compare.comparison import Answer, ModelName, weights_written
from qdl_engine.core.events import EventSink, no_sink
from qdl_engine.core.prompts import Mode, format_prompt, system_prompt_for
from qdl_engine.models.generate import StreamChunk, stream
from qdl_engine.models.load import LoadedModel, load_student, load_teacher
from qdl_engine.teachers.base import Decoding, Question, Teacher

if TYPE_CHECKING:
    from qdl_engine.models.load import Quantization


@dataclass(frozen=True)
class ModelSpec:
    """One model of a comparison: where it comes from, and how it is asked."""

    name: ModelName
    path: str | Path
    """A hub id or a directory; for a teacher that is no checkpoint, the name that a person calls it."""
    mode: Mode
    system_prompt: str | None = None
    """Replaces the mode's own system prompt."""
    quantization: Quantization = "none"
    """Of a teacher that is a checkpoint."""
    teacher: dict[str, Any] = field(default_factory=dict)
    """The settings of a teacher that is no checkpoint. They never hold its key: `load_model` reads that."""
    root: str = ""
    """The lab, where that teacher's relative paths start."""

    @property
    def weights(self) -> tuple[object, ...]:
        """What is loaded: equal for the same weights, different once a student was trained again."""
        path = str(self.path)
        return path, weights_written(path), self.quantization, self.teacher, self.root


@dataclass(frozen=True)
class ReadyModel:
    """A model that can be asked: in this process, at a server, or in a file."""

    speaker: LoadedModel | Teacher
    load_seconds: float = 0.0

    @property
    def path(self) -> str:
        """The path of a checkpoint, or what a person calls the teacher."""
        return self.speaker.path if isinstance(self.speaker, LoadedModel) else self.speaker.name

    def ask(
        self,
        prompt: str,
        spec: ModelSpec,
        asking: Decoding,
        *,
        on_text: Callable[[str], object] = lambda text: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Put one prompt to the model.

        Args:
            prompt: The instruction, not rendered.
            spec: Says in which mode and with which system prompt.
            asking: The longest completion and the temperature.
            on_text: Takes each piece of the answer as it comes.
            cancelled: Called after each piece; once it returns True, the answer ends there.

        Raises:
            ModelError: when there is no answer.
        """
        text, tokens, seconds, first, stopped, reason = "", 0, 0.0, 0.0, "cancelled", ""
        for piece in self._stream(prompt, spec, asking):
            text += piece.text
            tokens, seconds, first = piece.tokens, piece.seconds, piece.first_token_seconds
            if piece.text:
                on_text(piece.text)
            if piece.done:
                stopped, reason = piece.stopped or "length", piece.reason
            elif cancelled():
                break
        return Answer.of(text, tokens, seconds, first, stopped, reason)

    def _stream(self, prompt: str, spec: ModelSpec, asking: Decoding) -> Iterator[StreamChunk]:
        if not isinstance(self.speaker, LoadedModel):
            system_prompt = system_prompt_for(spec.mode, spec.system_prompt)
            return self.speaker.stream(Question(prompt, system_prompt), asking)
        return stream(
            self.speaker,
            format_prompt(prompt, spec.mode, system_prompt=spec.system_prompt),
            max_new_tokens=asking.max_new_tokens,
            temperature=asking.temperature,
        )


def load_model(spec: ModelSpec, *, device: str = "auto", on_event: EventSink = no_sink) -> ReadyModel:
    """Load a checkpoint into memory, or make sure that a teacher elsewhere can be asked.

    What is returned is the only reference to the weights: drop it and call `free_memory` to get the memory
    back.

    Raises:
        LabError: when the model is missing or does not fit, or when its settings do not suffice.
    """
    started = time.perf_counter()
    speaker = _speaker(spec, device, on_event)
    return ReadyModel(speaker, time.perf_counter() - started)


def _speaker(spec: ModelSpec, device: str, on_event: EventSink) -> LoadedModel | Teacher:
    if spec.teacher:
        from qdl_engine.settings import TeacherSettings
        from qdl_engine.teachers.make import make_teacher

        teacher = make_teacher(TeacherSettings.model_validate(spec.teacher), Path(spec.root))
        teacher.load(on_event)
        return teacher
    if spec.name == "teacher":
        return load_teacher(spec.path, quantization=spec.quantization, device=device)
    return load_student(spec.path, device=device)
