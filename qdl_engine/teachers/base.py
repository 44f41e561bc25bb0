"""What every teacher takes and gives, wherever it lives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import EventSink
from qdl_engine.core.prompts import THINK_OPEN, format_prompt, join_reasoning
from qdl_engine.models.generate import REPEAT_LIMIT, Reason, StreamChunk

if TYPE_CHECKING:
    from qdl_engine.teachers.budget import Budget

Logits = Literal["all", "top-k", "none"]
"""What a teacher can give of its next-token distribution; white-box distillation needs `all` or `top-k`."""

FailureKind = Literal[
    "rate limited", "server error", "timeout", "connection", "refused", "bad reply", "unknown"
]
"""`refused`: the server rejects this request (4xx, a content filter). `unknown`: a file lacks the prompt."""


class NoAnswerError(ModelError):
    """This question has no answer; others may have one."""


@dataclass(frozen=True)
class Decoding:
    """How an answer is generated."""

    max_new_tokens: int
    temperature: float = 0.0
    """0 is greedy."""


@dataclass(frozen=True)
class Question:
    """One question, not rendered: a server renders it with the template of its own model."""

    instruction: str
    system_prompt: str

    @property
    def prompt(self) -> str:
        """The rendered prompt, for a teacher that takes text."""
        return format_prompt(self.instruction, system_prompt=self.system_prompt)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question as chat messages.

        An empty system message is sent too: without one, Qwen's template inserts its own.
        """
        return [
            {"role": "system", "content": self.system_prompt},
            {"role": "user", "content": self.instruction},
        ]


def answer_key(*parts: Any) -> str:
    """Everything that decides an answer, as one name: the same name is never asked twice."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class TeacherAnswer:
    """One answer."""

    text: str
    """The text after the reasoning, or all of it where the teacher does not separate the two."""
    tokens: int
    """Tokens generated, reasoning included."""
    reason: Reason
    """What is wrong with the answer; empty when it is sound."""
    reasoning: str = ""
    """Reasoning that came in a field of its own."""
    prompt_tokens: int = 0
    seconds: float = 0.0

    @property
    def completion(self) -> str:
        """Reasoning and answer as one text, in our tags. Reasoning without an answer stays open."""
        if not self.reasoning.strip():
            return self.text
        if not self.text.strip():
            return f"{THINK_OPEN}\n{self.reasoning.strip()}"
        return join_reasoning(self.reasoning, self.text)


def reason_of(text: str, *, cut: bool) -> Reason:
    """What is wrong with a text of which only the characters are known, not the tokens."""
    text = text.strip()
    if cut:
        return "repeated" if len(text) >= REPEAT_LIMIT and len(set(text)) == 1 else "cut"
    return "" if text else "empty"


@dataclass(frozen=True)
class Failure:
    """Why a question has no answer. It is not stored: the next labelling asks again."""

    kind: FailureKind
    message: str


Result = TeacherAnswer | Failure


@runtime_checkable
class Teacher(Protocol):
    """A teacher, ready for questions. `close` frees what it holds."""

    @property
    def name(self) -> str:
        """What a person calls it: a hub id, a directory, a model at a server, a file."""

    @property
    def logits(self) -> Logits: ...

    @property
    def parameters(self) -> int:
        """Number of weights; 0 when unknown."""

    @property
    def device(self) -> str:
        """Where it computes."""

    @property
    def budget(self) -> Budget:
        """What answers may cost and have cost; without limit where nothing is paid."""

    def key(self, question: Question) -> str:
        """The name of the answer to this question; see `answer_key`."""

    def load(self, on_event: EventSink) -> None:
        """Get ready: load the weights, or see whether the server is there. The first question does it too.

        Raises:
            ModelError: when that fails.
        """

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield each result with its question's index as soon as it is there; each index at most once.

        An index that never comes was not asked, because the budget is spent. `on_event` takes `progress` and
        `note`.

        Raises:
            ModelError: when the teacher as a whole fails: it does not fit, does not answer, rejects the key.
        """

    def stream(self, question: Question, decoding: Decoding) -> Generator[StreamChunk, None, None]:
        """Yield one answer piece by piece; the last piece is `done`.

        Raises:
            NoAnswerError: when this question has no answer.
            ModelError: when the teacher as a whole fails.
        """

    def close(self) -> None: ...
