"""The teacher writes the answers of a lab: each is stored as soon as it is there, and none is asked twice."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdl_engine.core.errors import DataError
from qdl_engine.core.events import EventSink, Note, no_sink
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.prompts import Mode, split_completion
from qdl_engine.core.words import is_unicode
from qdl_engine.label.report import LabelReport, Unanswered, looks_refused
from qdl_engine.settings import TeacherSettings
from qdl_engine.settings.arguments import Config, LabLike, as_lab, settings_of
from qdl_engine.teachers.answers import AnswerPass, Keep, LabelCache, StoredAnswer
from qdl_engine.teachers.base import Question, Teacher

if TYPE_CHECKING:
    from qdl_engine.models.load import ModelLike

UNANSWERED_NAMED = 100
"""Rows without an answer that the report names."""


def label_with_teacher(
    lab: LabLike,
    settings: Config | None = None,
    *,
    teacher: ModelLike | Teacher | None = None,
    mode: Mode = "system1",
    keep: Keep = "answer",
    instructions: str | Path | None = None,
    output: str | Path | None = None,
    system_prompt: str | None = None,
    on_event: EventSink = no_sink,
) -> LabelReport:
    """Let the teacher answer every instruction of a lab; the rows keep their order.

    A killed labelling resumes at the row it had reached. The teacher loads only when an answer is missing.
    Equal prompts are asked once. The lab's writer lock is held meanwhile. The report is also written to
    `data/label_report.json`, or beside `output` as `<its name>_report.json`.

    Args:
        lab: The lab, or its directory.
        settings: Its settings or a dict of them, by default those of `qdl.toml`; `[teacher]` decides which
            teacher answers, and how.
        teacher: A teacher already in memory, also as a pair of model and tokenizer, or one of your own.
        mode: Which prompt the teacher gets; `system2` lets it reason.
        keep: `answer` strips the reasoning, `full` keeps it. Both share the stored answers.
        instructions: Rows to label instead of `data/train_instructions.json`.
        output: Where to write instead of `data/train_labeled.json`.
        system_prompt: Replaces the system prompt of the mode's recipe.
        on_event: Takes `progress` (with `tokens_per_second`, `eta_seconds`, `cost`, `failed`) and `note`.

    Raises:
        DataError: when there are no rows, or no answer is kept.
        ModelError: when the teacher cannot be loaded, does not fit, computes NaN or one token without end, or
            its server does not answer.
        BudgetError: when the budget is spent before every row is asked; only the report is written.
        LabBusyError: when another process prepares or labels in this lab.
    """
    started = time.perf_counter()
    lab = as_lab(lab)
    settings = settings_of(lab, settings, mode)
    system = settings.recipe(mode).system_prompt if system_prompt is None else system_prompt
    with lab.writer_lock("labelling"):
        rows = _read_rows(lab, Path(instructions or lab.train_instructions))
        questions = [_question(row, system) for row in rows]
        done = AnswerPass(_teacher(lab, settings.teacher, teacher), LabelCache(lab.label_cache), on_event)
        done.run([question for question in questions if question is not None])
        labels = _Labels(settings.teacher, keep, done)
        for number, (row, question) in enumerate(zip(rows, questions, strict=True), 1):
            labels.take(number, row, question)
        target = Path(output or lab.train_labeled)
        report = labels.report(target, time.perf_counter() - started)
        beside = lab.label_report if output is None else target.with_name(f"{target.stem}_report.json")
        write_json_atomic(beside, report.to_dict())
        if report.left:
            unasked = f"{report.left:,} of {report.rows:,} rows were not asked"
            raise done.teacher.budget.spent_error(unasked)
        if not labels.kept:
            raise DataError("No answer of the teacher was kept", labels.nothing_kept_hint())
        write_json_atomic(target, labels.kept)
    if report.failed:
        on_event(Note(_failed_note(lab, report)))
    return report


def _teacher(lab: Lab, settings: TeacherSettings, given: ModelLike | Teacher | None) -> Teacher:
    from qdl_engine.models.load import as_loaded
    from qdl_engine.teachers.make import make_teacher

    if isinstance(given, Teacher):
        return given
    return make_teacher(settings, lab.root, loaded=None if given is None else as_loaded(given, "teacher"))


def _read_rows(lab: Lab, path: Path) -> list[Any]:
    prepare = f"qdl --lab {lab.word} prepare system1"
    if not path.is_file():
        raise DataError(f"No instructions to label: {path}", f"Prepare them: {prepare}")
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"Not a JSON array of rows: {path}", f"Prepare it again: {prepare}")
    if not rows:
        raise DataError("No data for System 1 distillation", f"{path} has no rows. Run: {prepare}")
    return rows


def _question(row: Any, system_prompt: str) -> Question | None:
    """The row's question; None without an instruction that UTF-8 can hold."""
    instruction = row.get("instruction") if isinstance(row, dict) else None
    if not isinstance(instruction, str) or not instruction.strip() or not is_unicode(instruction):
        return None
    return Question(instruction, system_prompt)


@dataclass
class _Labels:
    """The labelled rows, and the count of what became of each row."""

    settings: TeacherSettings
    keep: Keep
    done: AnswerPass
    kept: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unanswered: list[Unanswered] = field(default_factory=list)
    refused: int = 0
    duplicated: int = 0
    _seen: dict[str, str] = field(default_factory=dict)
    """An answer, and the instruction it was first given to."""

    def take(self, number: int, row: Any, question: Question | None) -> None:
        """Count row `number`, from 1, and keep it where its answer is good enough."""
        if question is None:
            self.counts["broken"] += 1
        elif (failure := self.done.failures.get(question)) is not None:
            self.failed[failure.kind] += 1
            self.counts["failed"] += 1
            if len(self.unanswered) < UNANSWERED_NAMED:
                self.unanswered.append(Unanswered(number, failure.kind, failure.message))
        elif (answer := self.done.answers.get(question)) is None:
            self.counts["left"] += 1
        else:
            text, dropped = self._text(answer)
            self.counts[dropped or "kept"] += 1
            if not dropped:
                first = self._seen.setdefault(text, question.instruction)
                self.duplicated += first != question.instruction
                self.kept.append(row | {"output": text})

    def _text(self, answer: StoredAnswer) -> tuple[str, str]:
        """The text to train on and an empty string, or an empty text and why the row is dropped."""
        text, dropped = answer.kept_text(self.keep, keep_cut=self.settings.keep_cut_answers)
        if not dropped and looks_refused(split_completion(answer.text).answer):
            self.refused += 1
            if not self.settings.keep_refused_answers:
                return "", "refused"
        return text, dropped

    def report(self, target: Path, seconds: float) -> LabelReport:
        done, counts = self.done, self.counts
        return LabelReport(
            teacher=done.teacher.name,
            rows=sum(counts.values()),
            kept=counts["kept"],
            empty=counts["empty"],
            cut=counts["cut"],
            repeated=counts["repeated"],
            too_long=counts["too long"],
            broken=counts["broken"],
            refused=self.refused,
            duplicated=self.duplicated,
            failed=dict(self.failed),
            left=counts["left"],
            asked=done.asked,
            reused=done.reused,
            tokens=done.tokens,
            prompt_tokens=done.prompt_tokens,
            cost=done.teacher.budget.known_cost,
            seconds=seconds,
            tokens_per_second=done.tokens / done.seconds if done.seconds else 0.0,
            output=str(target),
            unanswered=self.unanswered,
        )

    def nothing_kept_hint(self) -> str:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.most_common())
        if self.unanswered:
            return f"Rows: {counts}. The first failure: {self.unanswered[0].message}"
        return f"Rows: {counts}." + (" Raise teacher.max_new_tokens." if self.counts["cut"] else "")


def _failed_note(lab: Lab, report: LabelReport) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.failed.items()))
    first = report.unanswered[0]
    count = sum(report.failed.values())
    # A file of answers says the same however often it is asked.
    cure = "Add their answers to that file, then" if set(report.failed) == {"unknown"} else "To ask again"
    return (
        f"{count:,} {'row has' if count == 1 else 'rows have'} no answer ({kinds}); "
        f"the first is row {first.row}: {first.message}. {cure}: qdl --lab {lab.word} label"
    )
