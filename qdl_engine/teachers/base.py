"""What every teacher takes and gives, wherever it lives."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from qdl_engine.core.errors import ModelError
from qdl_engine.core.events import EventSink
from qdl_engine.core.prompts import THINK_OPEN, format_prompt, join_reasoning
from qdl_engine.models.generate import Reason, StreamChunk

if TYPE_CHECKING:
    from qdl_engine.teachers.budget import Budget

Logits = Literal["all", "top-k", "none"]
"""What a teacher can tell of its next-token distribution; white-box distillation needs `all` or `top-k`."""

FailureKind = Literal[
    "rate limited", "server error", "timeout", "connection", "refused", "bad reply", "unknown"
]
"""`refused` is the server's no to this request (4xx, a content filter), `unknown` a prompt without answer."""


class NoAnswerError(ModelError):
    """This question has no answer; others may have one."""


@dataclass(frozen=True)
class Asking:
    """How an answer is made."""

    max_new_tokens: int
    temperature: float = 0.0
    """0 is greedy."""


@dataclass(frozen=True)
class Question:
    """One thing to ask, not rendered: a server renders it with the template of its own model."""

    instruction: str
    system_prompt: str

    @property
    def prompt(self) -> str:
        """The rendered prompt, for a teacher that takes text."""
        return format_prompt(self.instruction, system_prompt=self.system_prompt)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question as chat messages.

        The system message is sent even when it is empty: without one Qwen's template puts in its own.
        """
        return [
            {"role": "system", "content": self.system_prompt},
            {"role": "user", "content": self.instruction},
        ]


@dataclass(frozen=True)
class TeacherAnswer:
    """One answer."""

    text: str
    """What follows the reasoning, or all of it where the teacher does not take its reasoning apart."""
    tokens: int
    """Tokens generated, reasoning included."""
    reason: Reason
    """Empty when the answer is sound, otherwise what is wrong with it."""
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


@dataclass(frozen=True)
class Failure:
    """A question that has no answer, and why. It is not stored: the next labelling asks it again."""

    kind: FailureKind
    message: str


Result = TeacherAnswer | Failure


@runtime_checkable
class Teacher(Protocol):
    """A teacher, ready to be asked. `close` gives back what it holds."""

    @property
    def name(self) -> str:
        """What a person calls it: a hub id, a directory, a model at a server, a file."""

    @property
    def logits(self) -> Logits: ...

    @property
    def parameters(self) -> int:
        """Number of weights; 0 where that is not known."""

    @property
    def device(self) -> str:
        """Where it computes."""

    @property
    def budget(self) -> Budget:
        """What asking may cost, and what it has cost; without limit where nothing is paid."""

    def key(self, question: Question) -> str:
        """Everything that decides the answer, in one name: the same key is never asked twice."""

    def load(self, on_event: EventSink) -> None:
        """Get ready: weights into memory, or a look whether the server is there. Asking does it too.

        Raises:
            ModelError: when that fails.
        """

    def answer_each(
        self, questions: Sequence[Question], *, on_event: EventSink
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield each result with its question's index, the moment it is there; each index at most once.

        An index that never comes was not asked: the budget is spent. `on_event` takes `progress` and `note`.

        Raises:
            ModelError: when the teacher as a whole fails: it does not fit, does not answer, refuses the key.
        """

    def stream(self, question: Question, asking: Asking) -> Generator[StreamChunk, None, None]:
        """Yield one answer piece by piece, made as `asking` says; the last piece is `done`.

        Raises:
            NoAnswerError: when this question has no answer.
            ModelError: when the teacher as a whole fails.
        """

    def close(self) -> None: ...
