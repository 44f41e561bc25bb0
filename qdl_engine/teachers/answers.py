"""Answers on disk, and the pass that collects the missing ones and stores each at once.

The file is append-only, one JSON line an answer, and survives a killed writer.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from qdl_engine.core.errors import DataError, ModelError
from qdl_engine.core.events import Event, EventSink, Note, Progress
from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import split_completion
from qdl_engine.core.words import is_unicode
from qdl_engine.models.generate import Reason
from qdl_engine.settings import TeacherSettings
from qdl_engine.teachers.base import Failure, Question, Teacher
from qdl_engine.teachers.make import make_teacher

Keep = Literal["answer", "full"]
"""`answer` strips the reasoning, `full` keeps it. Both share the stored answers."""

REPEATS_TO_STOP = 8
"""So many answers of one repeated token, and more than half of all, are a fault and not a coincidence."""


@dataclass(frozen=True)
class StoredAnswer:
    """One raw completion of the teacher. What to keep of it is decided on reading."""

    key: str
    text: str
    tokens: int
    reason: Reason
    prompt_tokens: int = 0
    """0 where the teacher does not count them."""

    def kept_text(self, keep: Keep, *, keep_cut: bool) -> tuple[str, str]:
        """The text to use and an empty string, or an empty text and why there is none."""
        if self.reason in ("repeated", "too long") or (self.reason == "cut" and not keep_cut):
            return "", self.reason
        completion = split_completion(self.text)
        text = completion.answer if keep == "answer" else self.text.strip()
        return (text, "") if text and completion.answer else ("", self.reason or "empty")


class LabelCache:
    """The stored answers of one lab. Its writer holds the lab's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, keys: Iterable[str]) -> dict[str, StoredAnswer]:
        """The stored answers to `keys`; broken lines, and texts that no file could hold, are skipped."""
        wanted = set(keys)
        found: dict[str, StoredAnswer] = {}
        if not self.path.exists():
            return found
        with open(self.path, "rb") as lines:
            for line in lines:
                answer = _parse(line)
                if answer is not None and answer.key in wanted and is_unicode(answer.text):
                    found[answer.key] = answer
        return found

    def repair(self) -> None:
        """Cut off a last line that a killed writer left unfinished: the next one must stand alone."""
        if not self.path.exists():
            return
        with open(self.path, "rb+") as handle:
            end = handle.seek(0, os.SEEK_END)
            position, tail = end, b""
            while position > 0 and b"\n" not in tail:
                step = min(65536, position)
                position -= step
                handle.seek(position)
                tail = handle.read(step)
            finished = position + tail.rfind(b"\n") + 1
            if finished < end:
                handle.truncate(finished)

    def append(self, answer: StoredAnswer) -> None:
        """Store one answer in one write.

        Once written it outlives this process however it ends. Only a crash of the machine can lose it, and
        then the row is asked again, which is cheaper than a disk flush for every answer.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # ASCII: a lone surrogate in a model's text must not stop the writing.
        line = json.dumps(asdict(answer)).encode("ascii") + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(descriptor, line)
            while written < len(line):
                written += os.write(descriptor, line[written:])
        finally:
            os.close(descriptor)


def _parse(line: bytes) -> StoredAnswer | None:
    try:
        value = json.loads(line)
        return StoredAnswer(
            value["key"], value["text"], value["tokens"], value["reason"], value.get("prompt_tokens", 0)
        )
    except (ValueError, KeyError, TypeError):
        return None


@dataclass
class AnswerPass:
    """One pass over questions: what is answered, what failed, and what it cost.

    Afterwards a question in neither `answers` nor `failures` was not asked: the budget is spent.
    """

    teacher: Teacher
    cache: LabelCache
    on_event: EventSink
    stage: str = "label"
    """Its name in progress events."""
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
        """Answer every question that has no stored answer yet. The caller holds the lab's writer lock.

        Raises:
            ModelError: when the teacher as a whole fails, or repeats one token without end.
        """
        keys = {question: self.teacher.key(question) for question in dict.fromkeys(questions)}
        self.cache.repair()
        stored = _without_repeats(self.cache.read(keys.values()))
        self.answers = {question: stored[key] for question, key in keys.items() if key in stored}
        self.reused = len(self.answers)
        for answer in self.answers.values():
            self.teacher.budget.spend(answer.prompt_tokens, answer.tokens)
        if self.reused:
            self.on_event(Note(f"{self.reused} of {len(keys)} answers are stored already"))
        # At once, because the first answer may take a minute.
        self._progress(Progress(done=0), len(keys))
        missing = [question for question in keys if question not in self.answers]
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
        """Progress over all questions, the reused ones included, with the cost so far."""
        if isinstance(event, Progress):
            budget = self.teacher.budget
            event = replace(
                event,
                stage=self.stage,
                done=(event.done or 0) + self.reused,
                total=total,
                unit="prompts",
                cost=budget.cost if budget.prices else None,
                failed=len(self.failures) or None,
            )
        self.on_event(event)

    def _stop_if_faulty(self) -> None:
        if self._repeated >= REPEATS_TO_STOP and self._repeated * 2 > self.asked:
            raise ModelError(
                f"The teacher repeats one token without end: {self._repeated} of {self.asked} answers",
                'A 16-bit overflow. Set teacher.quantization to "8bit" or "4bit", use a card that has bf16 '
                "(Ampere or later), or choose another teacher.model.",
            )


def _without_repeats(stored: dict[str, StoredAnswer]) -> dict[str, StoredAnswer]:
    """Drop what a faulty teacher left behind, so that its questions are asked again once that is cured."""
    repeated = sum(answer.reason == "repeated" for answer in stored.values())
    if repeated < REPEATS_TO_STOP or repeated * 2 <= len(stored):
        return stored
    return {key: answer for key, answer in stored.items() if answer.reason != "repeated"}


@dataclass
class Replies:
    """The texts that came back, by the place of their question."""

    texts: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Questions without a usable text, by reason: `cut`, `empty`, `failed`, ..."""
    failure: str = ""
    """The message of the first failure."""
    asked: int = 0
    reused: int = 0
    tokens: int = 0
    cost: float | None = None
    """Of all these replies, the reused ones included; None without prices."""

    def counts_in_words(self) -> str:
        """Why questions have no text; empty when all have one."""
        words = ", ".join(f"{count:,} {name}" for name, count in self.counts.most_common())
        return f"{words} ({self.failure})" if words and self.failure else words


def ask_all(
    lab: Lab,
    teacher: TeacherSettings,
    questions: Sequence[Question],
    *,
    stage: str,
    keep: Keep,
    on_event: EventSink,
) -> Replies:
    """Ask the teacher every question that has no stored answer; each is stored at once, with the labels.

    Args:
        lab: Its label cache keeps the answers, and its writer lock is held meanwhile.
        teacher: Who answers, and how.
        questions: Equal ones are asked once.
        stage: The name in progress events and of the lock.
        keep: What to keep of each answer.
        on_event: Takes the progress.

    Raises:
        ModelError: when the teacher as a whole fails.
        BudgetError: when the budget is spent before every question is asked.
        DataError: when there is no question.
        LabBusyError: when another process prepares or labels in this lab.
    """
    if not questions:
        raise DataError("Nothing to ask the teacher", "The source has no usable row.")
    with lab.writer_lock(stage), closing(make_teacher(teacher, lab.root)) as chosen:
        done = AnswerPass(chosen, LabelCache(lab.label_cache), on_event, stage=stage)
        done.run(questions)
        replies = Replies(asked=done.asked, reused=done.reused, tokens=done.tokens)
        replies.cost = chosen.budget.known_cost
        for place, question in enumerate(questions):
            if (failure := done.failures.get(question)) is not None:
                replies.counts["failed"] += 1
                replies.failure = replies.failure or failure.message
            elif (answer := done.answers.get(question)) is None:
                replies.counts["not asked"] += 1
            else:
                text, reason = answer.kept_text(keep, keep_cut=teacher.keep_cut_answers)
                if reason:
                    replies.counts[reason] += 1
                else:
                    replies.texts[place] = text
        if unasked := replies.counts["not asked"]:
            raise chosen.budget.spent_error(f"{unasked:,} of {len(questions):,} questions were not asked")
    return replies
