"""A teacher's replies to questions that are no rows of a student: a judge's, or a generation job's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

from qdl_engine.data.asked import Asked
from qdl_engine.data.label_cache import LabelCache, StoredAnswer
from qdl_engine.errors import DataError
from qdl_engine.events import EventSink
from qdl_engine.lab import Lab
from qdl_engine.prompts import split_completion
from qdl_engine.settings import TeacherSettings
from qdl_engine.teachers.base import Question
from qdl_engine.teachers.budget import BudgetError
from qdl_engine.teachers.make import make_teacher

Keep = Literal["answer", "full"]


@dataclass
class Replies:
    """What came back, by the place of its question."""

    texts: dict[int, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Questions without a text that can be used, by the reason: `cut`, `empty`, `failed`, ..."""
    failure: str = ""
    """The first failure in words."""
    asked: int = 0
    reused: int = 0
    tokens: int = 0
    cost: float | None = None
    """Of all these replies, the earlier ones included; None without prices."""

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
    """Ask the teacher all questions that have no stored answer; each is stored at once, with the labels.

    Args:
        lab: Its label cache keeps the answers, and its writer's lock is held.
        teacher: Who is asked, and how.
        questions: What to ask; equal ones are asked once.
        stage: What progress events call it.
        keep: `answer` strips the reasoning, `full` keeps it.
        on_event: Takes the progress.

    Raises:
        ModelError: when the teacher as a whole fails.
        BudgetError: when the budget is spent before all is asked.
        DataError: when there is no question.
        LabBusyError: when another process prepares or labels in this lab.
    """
    if not questions:
        raise DataError("Nothing to ask the teacher", "The source holds no row that can be asked about.")
    with lab.writer_lock(stage), closing(make_teacher(teacher, lab.root)) as chosen:
        asked = Asked(chosen, LabelCache(lab.label_cache), on_event, stage=stage)
        asked.run(questions)
        replies = Replies(asked=asked.asked, reused=asked.reused, tokens=asked.tokens)
        replies.cost = chosen.budget.cost if chosen.budget.prices else None
        for place, question in enumerate(questions):
            if (failure := asked.failures.get(question)) is not None:
                replies.counts["failed"] += 1
                replies.failure = replies.failure or failure.message
            elif (answer := asked.answers.get(question)) is not None:
                _take(replies, place, answer, keep, teacher.keep_cut_answers)
            else:
                replies.counts["not asked"] += 1
        left = replies.counts["not asked"]
        if left:
            raise BudgetError(
                f"The budget is spent: {chosen.budget.text()}. {left:,} of {len(questions):,} wait",
                "What is answered stays. Raise teacher.budget_tokens or teacher.budget_money; do it again.",
            )
    return replies


def _take(replies: Replies, place: int, answer: StoredAnswer, keep: Keep, keep_cut: bool) -> None:
    if answer.reason in ("repeated", "too long") or (answer.reason == "cut" and not keep_cut):
        replies.counts[answer.reason] += 1
        return
    completion = split_completion(answer.text)
    text = completion.answer if keep == "answer" else answer.text.strip()
    if text and completion.answer:
        replies.texts[place] = text
    else:
        replies.counts[answer.reason or "empty"] += 1
