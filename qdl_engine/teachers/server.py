"""A teacher at an OpenAI-compatible server. No template is rendered here: the server has its model's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import replace

from qdl_engine.events import EventSink
from qdl_engine.generation import Meter, StreamChunk
from qdl_engine.teachers.asking import Item, ask_each
from qdl_engine.teachers.base import Asking, Logits, Question, Result, TeacherAnswer
from qdl_engine.teachers.bridge import iterate
from qdl_engine.teachers.budget import Budget
from qdl_engine.teachers.chat import ChatClient
from qdl_engine.teachers.endpoint import Endpoint


class ServerTeacher:
    """Asks over HTTP, many questions at once."""

    logits: Logits = "top-k"
    """By `top_logprobs`, at most 20 a token."""
    parameters = 0
    device = "server"

    def __init__(self, endpoint: Endpoint, budget: Budget | None = None) -> None:
        self.endpoint = endpoint
        self.budget = budget or Budget()
        self._model = endpoint.model

    @property
    def name(self) -> str:
        return f"{self._model or 'the model'} at {self.endpoint.url}"

    @property
    def model(self) -> str:
        """The model's name at the server, looked up there when the settings name none."""

        async def look() -> AsyncGenerator[str, None]:
            async with ChatClient(self.endpoint) as client:
                yield await client.choose_model()

        if not self._model:
            (self._model,) = iterate(look)
        return self._model

    def key(self, question: Question) -> str:
        place = self.endpoint
        parts = [
            "server",
            place.url,
            self.model,
            question.system_prompt,
            question.instruction,
            place.max_new_tokens,
            place.temperature,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def load(self, on_event: EventSink) -> None:
        """See that it is there, where the settings do not name its model."""
        _ = self.model

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        async def items() -> AsyncGenerator[Item, None]:
            async with ChatClient(self.endpoint) as client:
                async for item in ask_each(client, questions, self.budget):
                    yield item

        meter = Meter(len(questions), on_event)
        for index, result in iterate(items):
            meter.row_done(result.tokens if isinstance(result, TeacherAnswer) else 0)
            yield index, result
            meter.step(0)
        meter.finish()

    def stream(self, question: Question, asking: Asking) -> Generator[StreamChunk, None, None]:
        endpoint = replace(
            self.endpoint, max_new_tokens=asking.max_new_tokens, temperature=asking.temperature
        )

        async def pieces() -> AsyncGenerator[StreamChunk, None]:
            async with ChatClient(endpoint) as client:
                async for piece in client.stream(question):
                    yield piece

        return iterate(pieces)

    def close(self) -> None:
        """Nothing is held between two askings."""
