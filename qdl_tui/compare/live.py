"""A comparison while the models answer: the current prompt, who has yet to answer it, what has arrived.

No widget and no process in here: the worker's replies go in, requests and a growing comparison come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from qdl_engine.compare.comparison import (
    Answer,
    ComparedModel,
    Comparison,
    ComparisonFile,
    new_comparison_path,
    now,
)
from qdl_engine.compare.replies import Answered, AskFailed, Chunk, Loaded, LoadFailed, Loading, Reply
from qdl_engine.core.lab import Lab
from qdl_tui.compare.lineup import Lineup
from qdl_tui.compare.saved import Kept, Shown


class LiveComparison:
    """Prompts put to some models: one prompt after the other, each to every model.

    Args:
        lab: Where the comparison is saved.
        lineup: The models, and how they are asked.
        names: The models that take part.
        prompts: What is asked.
        first_question: The number of its first question: tells its replies from those to earlier questions.
    """

    def __init__(
        self, lab: Lab, lineup: Lineup, names: Sequence[str], prompts: Sequence[str], first_question: int
    ) -> None:
        self.lineup = lineup
        self.prompts = list(prompts)
        self.position = 0
        """Which prompt is being asked, from 0."""
        self.kept = Kept(Comparison([], created=now()))
        self.file = ComparisonFile(partial(new_comparison_path, lab))
        self.texts: dict[str, str] = {}
        """What has arrived of each answer to the current prompt."""
        self.states: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.waiting: set[str] = set()
        """The models that have yet to answer the current prompt."""
        self.stopped = False
        self._loaded: dict[str, Loaded] = {}
        """The worker's report on each model it has in memory."""
        self._first_question = first_question
        taking_part = [lineup.contestant(name) for name in names]
        self._contestants = [item for item in taking_part if not item.missing]
        self.skipped.update({item.name: item.missing for item in taking_part if item.missing})

    @property
    def prompt(self) -> str:
        return self.prompts[self.position]

    @property
    def skipped(self) -> dict[str, str]:
        """The models that cannot answer, and why."""
        return self.kept.comparison.skipped

    def question_id(self, name: str) -> str:
        return f"{self._first_question + self.position}-{name}"

    def begin(self) -> list[dict[str, Any]]:
        """Start the current prompt; returns the requests to send, none for models that did not load."""
        asked = [item for item in self._contestants if item.name not in self.skipped]
        self.texts = {item.name: "" for item in asked}
        self.states = {item.name: "waiting" for item in asked}
        self.answers = {}
        self.waiting = {item.name for item in asked}
        return [
            {
                "op": "ask",
                "id": self.question_id(item.name),
                "model": asdict(item.spec),
                "prompt": self.prompt,
                "max_new_tokens": self.lineup.max_new_tokens,
                "temperature": self.lineup.temperature,
            }
            for item in asked
        ]

    def hear(self, reply: Reply) -> bool:
        """Take one reply of the worker; False when it belongs to no model that has yet to answer."""
        name = reply.name
        if name not in self.waiting or reply.id != self.question_id(name):
            return False
        match reply:
            case Loading():
                self.states[name] = "loading"
            case Loaded():
                self._loaded[name] = reply
                self.states[name] = "waiting"
            case Chunk():
                self.texts[name] += reply.text
                self.states[name] = "answering"
            case Answered():
                self._answered(name, reply.answer)
            case LoadFailed():
                self.skipped[name] = reply.reason
                self.waiting.discard(name)
            case AskFailed():
                self._answered(name, Answer.failure(reply.reason))
        return True

    @property
    def loading(self) -> str:
        """The model that is being loaded at this moment; empty when none is."""
        return next((name for name in self.waiting if self.states[name] == "loading"), "")

    def lose_worker(self, why: str) -> None:
        """The worker is gone: what has yet to be answered has failed."""
        self._end(Answer.failure(why))

    def cancel(self) -> None:
        """What has yet to be answered never will be."""
        self._end(Answer.of("", 0, 0.0, 0.0, "cancelled"))

    def _end(self, answer: Answer) -> None:
        self.stopped = True
        for name in sorted(self.waiting):
            self._answered(name, answer)

    def _answered(self, name: str, answer: Answer) -> None:
        self.answers[name] = answer
        self.waiting.discard(name)

    def complete(self) -> Shown | None:
        """Every model has answered the current prompt: move the answers into the comparison.

        Returns:
            The answers, or None when none is worth keeping: all failed, or were cancelled before a word.
        """
        comparison = self.kept.comparison
        if not any(answer.tokens for answer in self.answers.values()):
            return None
        for name, answer in self.answers.items():
            if name not in comparison.models:
                comparison.models[name] = self._compared(name)
            comparison.models[name].answers.append(answer)
        comparison.prompts.append(self.prompt)
        return Shown(self.kept, len(comparison.prompts) - 1)

    def _compared(self, name: str) -> ComparedModel:
        contestant = self.lineup.contestant(name)
        loaded = self._loaded.get(name)
        return ComparedModel(
            path=str(contestant.spec.path),
            mode=contestant.spec.mode,
            parameters=loaded.parameters if loaded else 0,
            load_seconds=loaded.seconds if loaded else 0.0,
            written=contestant.written,
        )

    def advance(self) -> bool:
        """Go to the next prompt; False when there is none, or the user has stopped."""
        if self.stopped or self.position + 1 >= len(self.prompts):
            return False
        self.position += 1
        return True


@dataclass(frozen=True)
class View:
    """What there is to show for one prompt: answers on their way, saved ones, or neither."""

    prompt: str
    names: tuple[str, ...]
    """The models that take part."""
    live: LiveComparison | None = None
    saved: Shown | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Tells these answers from all others."""
        comparison = self.live.kept.comparison if self.live else self.saved.comparison if self.saved else None
        return comparison.created if comparison is not None else "", self.prompt

    @property
    def votable(self) -> list[str]:
        """The models whose saved answers can be voted on."""
        return [] if self.saved is None else self.saved.votable(self.names)

    @property
    def answering(self) -> list[str]:
        """The models that answer, or have answered."""
        return list(self.live.states) if self.live is not None else self.votable
