"""Questions put to a teacher once: what is stored is not asked again, what is new is stored at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from qdl_engine.data.label_cache import LabelCache, StoredAnswer
from qdl_engine.errors import ModelError
from qdl_engine.events import Event, EventSink, make_event
from qdl_engine.teachers.base import Failure, Question, Teacher

FAULTS_TO_STOP = 8
"""So many answers of one repeated token, and more than half of all, are a fault and not a coincidence."""


@dataclass
class Asked:
    """One pass over questions: what is answered, what failed, and what it cost.

    A question that is in neither `answers` nor `failures` afterwards was not asked: the budget was spent.
    """

    teacher: Teacher
    cache: LabelCache
    on_event: EventSink
    stage: str = "label"
    """What progress events call it."""
    answers: dict[Question, StoredAnswer] = field(default_factory=dict)
    failures: dict[Question, Failure] = field(default_factory=dict)
    reused: int = 0
    asked: int = 0
    tokens: int = 0
    """Tokens generated now."""
    prompt_tokens: int = 0
    """Prompt tokens read now, where the teacher counts them."""
    seconds: float = 0.0
    _repeated: int = 0

    def run(self, questions: Sequence[Question]) -> None:
        """Answer all that have no stored answer yet. Whoever calls holds the lock of the cache's lab.

        Raises:
            ModelError: when the teacher as a whole fails, or repeats one token without end.
        """
        questions = list(dict.fromkeys(questions))
        keys = {question: self.teacher.key(question) for question in questions}
        self.cache.repair()
        stored = _without_faults(self.cache.read(keys.values()))
        self.answers = {question: stored[key] for question, key in keys.items() if key in stored}
        self.reused = len(self.answers)
        for answer in self.answers.values():
            self.teacher.budget.spend(answer.prompt_tokens, answer.tokens)
        missing = [question for question in questions if question not in self.answers]
        if self.reused:
            self.on_event(
                make_event("note", message=f"{self.reused} of {len(questions)} answers are already there")
            )
        # Seen at once: the first answer may take a minute.
        self._progress(make_event("progress", done=0), len(questions))
        if missing:
            self._ask(missing, keys)

    def _ask(self, missing: list[Question], keys: dict[Question, str]) -> None:
        started = time.perf_counter()
        total = len(keys)
        results = self.teacher.answer_each(missing, on_event=lambda event: self._progress(event, total))
        # Closed, whatever interrupts it: requests under way must not outlive this.
        with closing(results):
            for index, result in results:
                question = missing[index]
                self.seconds = time.perf_counter() - started
                self.asked += 1
                if isinstance(result, Failure):
                    self.failures[question] = result
                    continue
                stored = StoredAnswer(
                    keys[question], result.completion, result.tokens, result.reason, result.prompt_tokens
                )
                self.cache.append(stored)
                self.answers[question] = stored
                self.tokens += result.tokens
                self.prompt_tokens += result.prompt_tokens
                self._repeated += result.reason == "repeated"
                self._stop_if_faulty()

    def _progress(self, event: Event, total: int) -> None:
        """Progress over all questions, those answered earlier included, with what it has cost so far."""
        if event["event"] == "progress":
            event = event | {
                "stage": self.stage,
                "done": event["done"] + self.reused,
                "total": total,
                "unit": "prompts",
            }
            budget = self.teacher.budget
            if budget.prices:
                event["cost"] = budget.cost
            if self.failures:
                event["failed"] = len(self.failures)
        self.on_event(event)

    def _stop_if_faulty(self) -> None:
        if self._repeated >= FAULTS_TO_STOP and self._repeated * 2 > self.asked:
            raise ModelError(
                f"The teacher repeats one token without end: {self._repeated} of {self.asked} answers",
                'A 16-bit overflow. Set teacher.quantization to "8bit" or "4bit", use a card that has bf16 '
                "(Ampere or later), or choose another teacher.model.",
            )


def _without_faults(stored: dict[str, StoredAnswer]) -> dict[str, StoredAnswer]:
    """Drop what a broken labelling left behind, so that it is asked again once the cause is cured."""
    repeated = sum(answer.reason == "repeated" for answer in stored.values())
    if repeated < FAULTS_TO_STOP or repeated * 2 <= len(stored):
        return stored
    return {key: answer for key, answer in stored.items() if answer.reason != "repeated"}
