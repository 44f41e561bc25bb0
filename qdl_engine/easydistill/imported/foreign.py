"""A foreign config run here: what its run does, by the teacher and up to what the trainer takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qdl_engine.data.files import whole_file
from qdl_engine.easydistill.imported.config import Imported
from qdl_engine.easydistill.imported.convert import rows_to_label, rows_to_train, write_training_config
from qdl_engine.easydistill.imported.generate import asks_of, rows_text, sort_answers
from qdl_engine.easydistill.imported.teacher import hold_key, system_prompt, teacher_settings
from qdl_engine.errors import DataError
from qdl_engine.events import EventSink, make_event
from qdl_engine.lab import Lab
from qdl_engine.settings import LabSettings
from qdl_engine.teachers.base import Question
from qdl_engine.text import money_text, one_line, two_columns


def check_teacher(job: Imported, settings: LabSettings) -> list[str]:
    """Refuse at once what the teacher would be refused for later; what has no effect comes back."""
    if job.kind == "train":
        return []
    _, notes = teacher_settings(job, settings)
    system_prompt(job)
    if job.kind == "generate":
        asks_of(job)
    return notes


def make_ready(
    job: Imported, lab: Lab, settings: LabSettings, workspace: Path, config: Path, on_event: EventSink
) -> Path:
    """Label what has no answers, and write the config to train from.

    Args:
        job: A job that trains.
        lab: Holds the answers of the teacher, so that a killed labelling goes on at the row.
        settings: Of the lab.
        workspace: A directory of the run's own.
        config: Where the config goes.
        on_event: Takes the progress.

    Returns:
        `config`.
    """
    if job.kind == "train":
        labeled = rows_to_train(job, workspace / "labeled.json")
        if labeled != job.rows:
            on_event(make_event("note", message="The column input is merged into instruction."))
    else:
        labeled = _label(job, lab, settings, workspace, on_event)
    return write_training_config(job, lab, labeled, config)


def _label(job: Imported, lab: Lab, settings: LabSettings, workspace: Path, on_event: EventSink) -> Path:
    """The config's labelled file, made; `full` because a config may well distil the reasoning."""
    from qdl_engine.data.label import label_with_teacher

    assert job.written is not None
    teacher, _ = teacher_settings(job, settings)
    hold_key(job, teacher)
    asked = workspace / "questions.json"
    rows_to_label(job, asked)
    report = label_with_teacher(
        lab, settings.model_copy(update={"teacher": teacher}), keep="full", instructions=asked,
        output=job.written, system_prompt=system_prompt(job), on_event=on_event,
    )  # fmt: skip
    print(report.table(), flush=True)
    return job.written


@dataclass(frozen=True)
class GenerationReport:
    """What became of every question of a generation job."""

    job: str
    questions: int
    written: int
    untagged: int
    """Answers without the tags that the prompt asks for."""
    repeated: int
    """Instructions that came before."""
    unanswered: dict[str, int]
    """Questions without an answer that can be used, by the reason."""
    unusable: dict[str, int]
    """Rows of the input that cannot be asked about, by what they lack."""
    asked: int
    reused: int
    tokens: int
    cost: float | None
    """What all these answers cost, the earlier ones included; None without prices."""
    output: str
    examples: list[str] = field(default_factory=list)
    """The first few answers without tags."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """The report as lines for a terminal."""
        counts = {
            "questions": self.questions,
            "written": self.written,
            "without the tags": self.untagged,
            "repeated": self.repeated,
            **{f"no answer: {name}": count for name, count in self.unanswered.items()},
            **{f"row {name}": count for name, count in self.unusable.items()},
            "asked now": self.asked,
            "reused": self.reused,
        }
        told = [(name, f"{count:,}") for name, count in counts.items() if count or name == "written"]
        told += [] if self.cost is None else [("cost", money_text(self.cost))]
        lines = [two_columns(told, 28)]
        lines += [f"No tags in: {example}" for example in self.examples]
        return "\n".join([*lines, self.output])


def make_rows(job: Imported, lab: Lab, settings: LabSettings, on_event: EventSink) -> GenerationReport:
    """Ask the teacher what a generation job asks, and write the rows; a killed job goes on at the row.

    Raises:
        DataError: when no row came of it.
    """
    from qdl_engine.data.replies import ask_all

    assert job.written is not None
    teacher, _ = teacher_settings(job, settings)
    hold_key(job, teacher)
    system = system_prompt(job)
    asks, unusable = asks_of(job)
    replies = ask_all(
        lab, teacher, [Question(ask.prompt, system) for ask in asks], stage="generate",
        keep="full" if job.job_type.startswith("cot") else "answer", on_event=on_event,
    )  # fmt: skip
    made = sort_answers(job.job_type, asks, replies.texts)
    examples = [one_line(text, 80) for text in made.untagged[:3]]
    if not made.rows:
        said = f"It says: {examples[0]}" if examples else f"Of the questions: {replies.counts_in_words()}."
        raise DataError(f"{job.job_type} gave no rows for {len(asks)} questions", said)
    with lab.writer_lock(job.job_type), whole_file(job.written) as handle:
        handle.write(rows_text(job.job_type, made.rows))
    if job.job_type.startswith("cot"):
        message = "instruction is the bare question; EasyDistill 1.x writes its whole prompt there."
        on_event(make_event("note", message=message))
    lost = replies.counts + Counter({"without the tags": len(made.untagged), "repeated": made.repeated})
    words = ", ".join(f"{count:,} {name}" for name, count in lost.items() if count)
    left = f"; {lost.total():,} of {len(asks):,} questions gave none ({words})" if words else ""
    on_event(make_event("note", message=f"Wrote {len(made.rows):,} rows to {job.written}{left}"))
    return GenerationReport(
        job=job.job_type,
        questions=len(asks),
        written=len(made.rows),
        untagged=len(made.untagged),
        repeated=made.repeated,
        unanswered=dict(replies.counts),
        unusable=dict(unusable),
        asked=replies.asked,
        reused=replies.reused,
        tokens=replies.tokens,
        cost=replies.cost,
        output=str(job.written),
        examples=examples,
    )


def judge_rows(job: Imported, lab: Lab, settings: LabSettings, on_event: EventSink) -> str:
    """`cot_eval_api`: score the chains of a file, by our judge; the report as text."""
    from qdl_engine.data.score import score_chains

    teacher, _ = teacher_settings(job, settings)
    hold_key(job, teacher)
    report = score_chains(
        lab, settings.model_copy(update={"teacher": teacher}), source=job.rows, output=job.written,
        everything=True, reasoning_only=False, on_event=on_event,
    )  # fmt: skip
    on_event(make_event("note", message=f"Wrote {report.chains:,} scored chains to {job.written}"))
    return report.table()
