"""A teacher in this process, on transformers: 8-bit, 4-bit, bf16, or in the device's own precision."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from qdl_engine.core.events import EventSink, Note, no_sink
from qdl_engine.models.checkpoint import fingerprint
from qdl_engine.teachers.base import Decoding, Logits, Question, Result, TeacherAnswer, answer_key
from qdl_engine.teachers.budget import Budget

if TYPE_CHECKING:
    from qdl_engine.models.generate import StreamChunk
    from qdl_engine.models.load import LoadedModel, Quantization


class HfTeacher:
    """Loads its weights at the first question, unless they are in memory already."""

    logits: Logits = "all"

    def __init__(
        self,
        model: str,
        decoding: Decoding,
        *,
        quantization: Quantization = "8bit",
        batch_size: int = 16,
        loaded: LoadedModel | None = None,
    ) -> None:
        self.name = loaded.path if loaded is not None else model
        self.decoding = decoding
        self.quantization: Quantization = quantization
        self.batch_size = batch_size
        self.budget = Budget()
        self._loaded = loaded
        self._identity = fingerprint(self.name)

    @property
    def parameters(self) -> int:
        return self._loaded.parameters if self._loaded is not None else 0

    @property
    def device(self) -> str:
        return self._loaded.device if self._loaded is not None else ""

    def key(self, question: Question) -> str:
        how = self.decoding
        return answer_key(
            question.prompt, self._identity, self.quantization, how.max_new_tokens, how.temperature
        )

    def load(self, on_event: EventSink) -> None:
        self._model(on_event)

    def _model(self, on_event: EventSink) -> LoadedModel:
        from qdl_engine.models.load import load_teacher

        if self._loaded is None:
            on_event(Note(f"Loading the teacher {self.name}"))
            self._loaded = load_teacher(self.name, quantization=self.quantization)
        return self._loaded

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        from qdl_engine.models.generate import generate_each

        for index, answer in generate_each(
            self._model(on_event),
            [question.prompt for question in questions],
            max_new_tokens=self.decoding.max_new_tokens,
            temperature=self.decoding.temperature,
            batch_size=self.batch_size,
            on_event=on_event,
        ):
            yield index, TeacherAnswer(answer.text, answer.tokens, answer.reason, seconds=answer.seconds)

    def stream(self, question: Question, decoding: Decoding) -> Generator[StreamChunk, None, None]:
        from qdl_engine.models.generate import stream

        yield from stream(
            self._model(no_sink),
            question.prompt,
            max_new_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
        )

    def close(self) -> None:
        from qdl_engine.models.load import free_memory

        self._loaded = None
        free_memory()
