"""One comparison while it is asked: which prompt is at hand, which models still owe their answer.

No Textual and no process in here: events go in, a comparison grows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from qdl_engine.compare.comparison import Answer, ComparedModel, Comparison, new_comparison_path, now
from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_tui.compare.models import Contestant, Kept, Setting, Shown

_ANSWER_FIELDS = {field.name for field in fields(Answer)}


class Asking:
    """Prompts put to some models, one prompt after the other, each to every model.

    Args:
        lab: Where the comparison is saved.
        setting: How the models are asked.
        names: The models that take part.
        prompts: What is asked.
        first_question: Tells these questions from earlier ones in what the worker says.
    """

    def __init__(
        self, lab: Lab, setting: Setting, names: Sequence[str], prompts: Sequence[str], first_question: int
    ) -> None:
        self.lab = lab
        self.setting = setting
        self.prompts = list(prompts)
        self.position = 0
        """Which prompt is being asked, from 0."""
        self.kept = Kept(Comparison([], created=now()))
        self.texts: dict[str, str] = {}
        """What has been streamed of each answer to the prompt at hand."""
        self.states: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.waiting: set[str] = set()
        self.stopped = False
        self._about: dict[str, dict[str, Any]] = {}
        self._first_question = first_question
        self._file = _File(lab)
        taking_part = [setting.contestant(name) for name in names]
        self._contestants = [item for item in taking_part if not item.missing]
        self.kept.comparison.skipped = {item.name: item.missing for item in taking_part if item.missing}

    @property
    def prompt(self) -> str:
        return self.prompts[self.position]

    @property
    def question(self) -> int:
        return self._first_question + self.position

    def question_id(self, name: str) -> str:
        return f"{self.question}-{name}"

    def is_current(self, event: dict[str, Any]) -> bool:
        """Whether an event belongs to the question at hand, not to one before it."""
        question = str(event.get("id", ""))
        return not question or question.split("-")[0] == str(self.question)

    def begin(self) -> list[Contestant]:
        """Start the prompt at hand; returns whom to ask: all but those that did not load."""
        skipped = self.kept.comparison.skipped
        asked = [item for item in self._contestants if item.name not in skipped]
        self.texts = {item.name: "" for item in asked}
        self.states = {item.name: "waiting" for item in asked}
        self.answers = {}
        self.waiting = {item.name for item in asked}
        return asked

    def hear(self, event: dict[str, Any]) -> None:
        """Take one event of the worker about a model that is waited for."""
        kind, name = event.get("event"), str(event.get("name", ""))
        if name not in self.waiting:
            return
        if kind == "loaded":
            self._about[name] = event
            self.states[name] = "waiting"
        elif kind == "chunk":
            self.texts[name] += str(event.get("text", ""))
            self.states[name] = "answering"
        elif kind == "answer":
            values = {key: value for key, value in event.items() if key in _ANSWER_FIELDS}
            self._answered(name, Answer(**values))
        elif kind == "load_failed":
            self.kept.comparison.skipped[name] = _reason(event)
            self.waiting.discard(name)
        elif kind == "error":
            self._answered(name, Answer.failure(_reason(event)))

    def lose_worker(self, why: str) -> None:
        """The process is gone: nobody answers any more."""
        self.stopped = True
        for name in sorted(self.waiting):
            self._answered(name, Answer.failure(why))

    @property
    def loading(self) -> str:
        """The model that the worker loads at this moment; empty while it answers."""
        at_work = next((item.name for item in self._contestants if item.name in self.waiting), "")
        return at_work if self.states.get(at_work) == "loading" else ""

    def cancel(self) -> None:
        """Nobody who still owes an answer will give one."""
        self.stopped = True
        for name in sorted(self.waiting):
            self._answered(name, Answer.of("", 0, 0.0, 0.0, "cancelled"))

    def _answered(self, name: str, answer: Answer) -> None:
        self.answers[name] = answer
        self.waiting.discard(name)

    def complete(self) -> Shown | None:
        """Every model has answered the prompt at hand: put the answers into the comparison.

        Returns:
            The answers, or None when none is worth keeping: all failed, or were cancelled before a word.
        """
        comparison = self.kept.comparison
        if not any(answer.tokens for answer in self.answers.values()):
            return None
        for name, answer in self.answers.items():
            model = comparison.models.get(name)
            if model is None:
                model = comparison.models[name] = self._model(name)
            model.answers.append(answer)
        comparison.prompts.append(self.prompt)
        return Shown(self.kept, len(comparison.prompts) - 1)

    def _model(self, name: str) -> ComparedModel:
        contestant = self.setting.contestant(name)
        about = self._about.get(name, {})
        return ComparedModel(
            path=contestant.path,
            mode=contestant.mode,
            parameters=int(about.get("parameters") or 0),
            load_seconds=float(about.get("seconds") or 0.0),
            written=contestant.written,
        )

    def know(self, about: dict[str, dict[str, Any]]) -> None:
        """What the worker said of models that it had loaded before."""
        self._about = {**about, **self._about}

    def go_on(self) -> bool:
        """The next prompt; False when there is none, or none is wanted."""
        if self.stopped or self.position + 1 >= len(self.prompts):
            return False
        self.position += 1
        return True

    def snapshot(self) -> tuple[int, dict[str, Any]]:
        """What is to be saved now, for `save` in a thread."""
        return len(self.kept.comparison.prompts), self.kept.comparison.to_dict()

    def save(self, snapshot: tuple[int, dict[str, Any]]) -> str:
        """Write the comparison, always into the same file. For a worker thread.

        Returns:
            The name it is saved under.

        Raises:
            LabError: when it cannot be written.
        """
        return self._file.write(*snapshot)


class _File:
    """Threads may overtake one another: an older state is never written over a newer one."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._lock = threading.Lock()
        self._newest = 0
        self._path = lab.comparisons / "unsaved"

    def write(self, prompts: int, value: dict[str, Any]) -> str:
        with self._lock:
            if prompts > self._newest:
                if not self._newest:
                    self._path = new_comparison_path(self._lab)
                try:
                    write_json_atomic(self._path, value)
                except OSError as cause:
                    raise LabError(
                        f"The comparison could not be saved to {self._path}: {cause.strerror or cause}",
                        "The answers stay on the screen.",
                    ) from cause
                self._newest = prompts
            return self._path.stem


def _reason(event: dict[str, Any]) -> str:
    return f"{event.get('message', '')}\n\n{event.get('hint', '')}".strip()


def voteable(shown: Shown, names: Iterable[str]) -> list[str]:
    """The models among `names` whose answers can be voted on."""
    answers = shown.comparison.answers_to(shown.index)
    return [name for name in names if name in answers and not answers[name].failed]
