"""Questions put to a teacher once: what is stored is not asked again, what is new is stored at once.

The teacher writes the answers: each stored the moment it is done, none asked twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qdl_engine.core.errors import DataError, ModelError
from qdl_engine.core.events import Event, EventSink, Note, Progress, no_sink
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.core.prompts import Mode, split_completion
from qdl_engine.core.words import is_unicode
from qdl_engine.label.report import LabelReport, Unanswered, looks_refused
from qdl_engine.settings import TeacherSettings
from qdl_engine.settings.given import Config, LabLike, as_lab, settings_of
from qdl_engine.teachers.answers import LabelCache, StoredAnswer
from qdl_engine.teachers.base import Asking, Failure, Question, Teacher
from qdl_engine.teachers.budget import BudgetError

if TYPE_CHECKING:
    from qdl_engine.models.load import ModelLike


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
            self.on_event(Note(f"{self.reused} of {len(questions)} answers are already there"))
        # Seen at once: the first answer may take a minute.
        self._progress(Progress(done=0), len(questions))
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


__all__ = ["Keep", "LabelReport", "label_with_teacher"]

Keep = Literal["answer", "full"]
Row = dict[str, Any]

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
    """Let the teacher answer every instruction of a lab; the rows come out in the order they went in.

    A killed labelling goes on at the row it had reached. The teacher is loaded only when something is left to
    ask. Equal prompts are asked once. The lab's writer's lock is held meanwhile. The report is also written
    to `data/label_report.json`, or beside `output` as `<its name>_report.json`.

    Args:
        lab: The lab, or its directory.
        settings: Its settings or a dict of them, by default those of `qdl.toml`; the teacher's decide which
            teacher is asked, and how.
        teacher: A teacher already in memory, also as a pair of model and tokenizer, or one of your own.
        mode: How the teacher is asked; `system2` lets it reason.
        keep: `answer` strips the reasoning, `full` keeps it. Both share one labelling.
        instructions: Rows to label instead of `data/train_instructions.json`.
        output: Where to write instead of `data/train_labeled.json`.
        system_prompt: Replaces the system prompt of the mode's recipe.
        on_event: Takes `progress` (with `tokens_per_second`, `eta_seconds`, `cost`, `failed`) and `note`.

    Raises:
        DataError: when there are no rows, or no answer was kept.
        ModelError: when the teacher cannot be loaded, does not fit, computes NaN or one token without end, or
            its server does not answer.
        BudgetError: when the budget is spent before all is asked; nothing is written but the report.
        LabBusyError: when another process prepares or labels in this lab.
    """
    started = time.perf_counter()
    lab = as_lab(lab)
    settings = settings_of(lab, settings, mode)
    system = settings.recipe(mode).system_prompt if system_prompt is None else system_prompt
    with lab.writer_lock("labelling"):
        rows = _read_rows(lab, Path(instructions or lab.train_instructions))
        questions = [_question(row, system) for row in rows]
        chosen = _teacher(lab, settings.teacher, teacher)
        asked = Asked(chosen, LabelCache(lab.label_cache), on_event)
        asked.run([question for question in questions if question is not None])
        labels = _Labels(settings.teacher, keep, asked)
        for number, (row, question) in enumerate(zip(rows, questions, strict=True), 1):
            labels.take(number, row, question)
        target = Path(output or lab.train_labeled)
        report = labels.report(target, time.perf_counter() - started)
        beside = lab.label_report if output is None else target.with_name(f"{target.stem}_report.json")
        write_json_atomic(beside, report.to_dict())
        if report.left:
            raise _budget_spent(asked, report)
        if not labels.kept:
            raise DataError("No answer of the teacher was kept", _nothing_kept_hint(labels))
        write_json_atomic(target, labels.kept)
    if report.failed:
        on_event(Note(_failed_note(lab, report)))
    return report


def _teacher(lab: Lab, settings: TeacherSettings, given: ModelLike | Teacher | None) -> Teacher:
    """The teacher to ask: a loaded model counts as the kind that the settings would load."""
    from qdl_engine.models.load import as_loaded
    from qdl_engine.teachers.hf import HfTeacher
    from qdl_engine.teachers.make import make_teacher

    if given is None:
        return make_teacher(settings, lab.root)
    if isinstance(given, Teacher):
        return given
    loaded = as_loaded(given, "teacher")
    return HfTeacher(
        loaded.path,
        Asking(settings.max_new_tokens, settings.temperature),
        quantization=settings.quantization,
        batch_size=settings.batch_size,
        loaded=loaded,
    )


@dataclass
class _Labels:
    """The rows on their way out, and the count of what became of each."""

    settings: TeacherSettings
    keep: Keep
    asked: Asked
    kept: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unanswered: list[Unanswered] = field(default_factory=list)
    refused: int = 0
    duplicated: int = 0
    _seen: dict[str, str] = field(default_factory=dict)
    """An answer, and the instruction it was first given to."""

    def take(self, number: int, row: Any, question: Question | None) -> None:
        failure = self.asked.failures.get(question) if question else None
        answer = self.asked.answers.get(question) if question else None
        if failure is not None:
            self.failed[failure.kind] += 1
            self.counts["failed"] += 1
            if len(self.unanswered) < UNANSWERED_NAMED:
                self.unanswered.append(Unanswered(number, failure.kind, failure.message))
        elif question is None:
            self.counts["broken"] += 1
        elif answer is None:
            self.counts["left"] += 1
        else:
            self._take_answer(row, question, answer)

    def _take_answer(self, row: Row, question: Question, answer: StoredAnswer) -> None:
        text, outcome = self._judge(answer)
        self.counts[outcome] += 1
        if outcome == "kept":
            self.duplicated += self._seen.setdefault(text, question.instruction) != question.instruction
            self.kept.append(row | {"output": text})

    def _judge(self, answer: StoredAnswer) -> tuple[str, str]:
        """The text to train on, and what became of the row."""
        if answer.reason in ("repeated", "too long"):
            return "", answer.reason
        if answer.reason == "cut" and not self.settings.keep_cut_answers:
            return "", "cut"
        completion = split_completion(answer.text)
        text = completion.answer if self.keep == "answer" else answer.text.strip()
        if not text or not completion.answer:
            return "", answer.reason or "empty"
        if looks_refused(completion.answer):
            self.refused += 1
            if not self.settings.keep_refused_answers:
                return "", "refused"
        return text, "kept"

    def report(self, target: Path, seconds: float) -> LabelReport:
        asked, counts = self.asked, self.counts
        budget = asked.teacher.budget
        return LabelReport(
            teacher=asked.teacher.name,
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
            asked=asked.asked,
            reused=asked.reused,
            tokens=asked.tokens,
            prompt_tokens=asked.prompt_tokens,
            cost=budget.cost if budget.prices else None,
            seconds=seconds,
            tokens_per_second=asked.tokens / asked.seconds if asked.seconds else 0.0,
            output=str(target),
            unanswered=self.unanswered,
        )


def _read_rows(lab: Lab, path: Path) -> list[Row]:
    prepare = f"qdl --lab {lab.word} prepare system1"
    if not path.is_file():
        raise DataError(f"No instructions to label: {path}", f"Make them: {prepare}")
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"Not a JSON array of rows: {path}", f"Make it again: {prepare}")
    if not rows:
        raise DataError("No data for System 1 distillation", f"{path} has no rows. Run: {prepare}")
    return rows


def _question(row: Any, system_prompt: str) -> Question | None:
    """What the row asks, or None for a row without an instruction that can be written."""
    instruction = row.get("instruction") if isinstance(row, dict) else None
    if not isinstance(instruction, str) or not instruction.strip() or not is_unicode(instruction):
        return None
    return Question(instruction, system_prompt)


def _budget_spent(asked: Asked, report: LabelReport) -> BudgetError:
    spent = asked.teacher.budget.text()
    return BudgetError(
        f"The budget is spent: {spent}. {report.left:,} of {report.rows:,} rows are not asked",
        "What is answered stays. Raise teacher.budget_tokens or teacher.budget_money and label again: "
        "it goes on where it stopped.",
    )


def _failed_note(lab: Lab, report: LabelReport) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.failed.items()))
    first = report.unanswered[0]
    count = sum(report.failed.values())
    again = f"To ask them again: qdl --lab {lab.word} label"
    if set(report.failed) == {"unknown"}:
        # A file of answers says the same however often it is asked.
        again = f"Add their answers to that file, then: qdl --lab {lab.word} label"
    return (
        f"{count:,} {'row has' if count == 1 else 'rows have'} no answer ({kinds}); "
        f"the first is row {first.row}: {first.message}. {again}"
    )


def _nothing_kept_hint(labels: _Labels) -> str:
    counts = labels.counts
    what = f"Of the rows: {', '.join(f'{count} {outcome}' for outcome, count in counts.most_common())}."
    if labels.unanswered:
        return f"{what} The first failure: {labels.unanswered[0].message}"
    return f"{what} Raise teacher.max_new_tokens." if counts["cut"] else what
