"""A stranger's config, run here: the questions for the teacher, and the rows that its answers make.

The rows that come out have upstream's shape, with one difference: `instruction` is the bare question.
Upstream it is the whole prompt, and a student would learn to need that.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.events import EventSink, Note
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import is_unicode, money_text, one_line, two_columns
from qdl_engine.data.files import array_file, whole_file
from qdl_engine.data.schemas import merge_input
from qdl_engine.data.sources import read_file
from qdl_engine.settings import LabSettings
from qdl_engine.teachers.base import Question
from qdl_engine.upstream.foreign.convert import (
    hold_key,
    system_prompt,
    teacher_settings,
    write_training_config,
)
from qdl_engine.upstream.foreign.job import ForeignJob

Row = dict[str, Any]


def check_teacher(job: ForeignJob, settings: LabSettings) -> list[str]:
    """Refuse at once what the teacher would be refused for later; notes on what has no effect come back."""
    if job.kind == "train":
        return []
    _, notes = teacher_settings(job, settings)
    system_prompt(job)
    if job.kind == "generate":
        asks_of(job)
    return notes


def make_ready(
    job: ForeignJob, lab: Lab, settings: LabSettings, workspace: Path, config: Path, on_event: EventSink
) -> Path:
    """Label what has no answers, and write the config to train from.

    Args:
        job: A job that trains.
        lab: Holds the answers of the teacher, so that a killed labelling resumes at the row.
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
            on_event(Note("The column input is merged into instruction."))
    else:
        labeled = _label(job, lab, settings, workspace, on_event)
    return write_training_config(job, lab, labeled, config)


def _label(job: ForeignJob, lab: Lab, settings: LabSettings, workspace: Path, on_event: EventSink) -> Path:
    """The config's labelled file, made; `full` because a config may well distil the reasoning."""
    from qdl_engine.label.label import label_with_teacher

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


def rows_to_label(job: ForeignJob, path: Path) -> int:
    """Write the instructions of a job that labels, as labelling takes them.

    EasyDistill reads `instruction` only and leaves an Alpaca `input` out; here it is part of the question.

    Returns:
        How many rows there are.

    Raises:
        DataError: when no row has an instruction.
    """
    count = _write_merged(job.rows, path, with_output=False)
    if not count:
        raise DataError(f"No rows with an instruction in {job.rows}", "Each needs a text under instruction.")
    return count


def rows_to_train(job: ForeignJob, path: Path) -> Path:
    """The labelled rows to train on: the config's own file, or a copy with every Alpaca `input` merged."""
    if not any(_input_of(row.value) for row in read_file(job.rows)):
        return job.rows
    _write_merged(job.rows, path, with_output=True)
    return path


def _input_of(row: Any) -> str:
    value = row.get("input") if isinstance(row, dict) else None
    return value if isinstance(value, str) and value.strip() else ""


def _write_merged(source: Path, path: Path, *, with_output: bool) -> int:
    count = 0
    with array_file(path) as handle:
        for row in read_file(source):
            value = row.value
            if not isinstance(value, dict) or not isinstance(value.get("instruction"), str):
                continue
            merged: Row = {"id": value["id"]} if isinstance(value.get("id"), str) else {}
            merged["instruction"] = merge_input(value["instruction"], _input_of(value))
            if with_output:
                # The trainer drops and counts what is no text.
                merged["output"] = value.get("output")
            handle.write((",\n" if count else "") + json.dumps(merged, ensure_ascii=False))
            count += 1
    return count


@dataclass(frozen=True)
class Ask:
    """One thing to ask the teacher."""

    question: str
    """The bare question of the row; empty where the answer brings its own."""
    prompt: str


def asks_of(job: ForeignJob) -> tuple[list[Ask], Counter[str]]:
    """What to ask, in the order of the rows; and the rows that cannot be asked, by what they lack.

    Raises:
        DataError: when no row can be asked.
        SettingsError: for a key the job needs that is missing.
    """
    prompt = job.config.text("inference.prompt")
    lacking: Counter[str] = Counter()
    rows = list(_usable(job, lacking))
    if not rows:
        counts = ", ".join(f"{count} {what}" for what, count in lacking.items()) or "the file is empty"
        raise DataError(f"No rows to ask about in {job.rows}", f"Of the rows: {counts}.")
    if job.job_type.startswith("instruction_expansion"):
        return _expansions(job, prompt, [question for question, _ in rows]), lacking
    if _rewrites(job.job_type):
        aim = "The shorter reasoning:" if "long2short" in job.job_type else "The longer reasoning:"
        return [
            Ask(question, f"{prompt}\n\nProblem:\n{question}\n\nAnswer:\n{output}\n\n{aim}")
            for question, output in rows
        ], lacking
    return [Ask(question, f"{prompt}\n{question}") for question, _ in rows], lacking


def _rewrites(job_type: str) -> bool:
    """Whether a job makes given reasoning shorter or longer."""
    return job_type.startswith(("cot_long2short", "cot_short2long"))


def _usable(job: ForeignJob, lacking: Counter[str]) -> Iterator[tuple[str, str]]:
    """The question (or the raw text) of each row, and its output where the job needs one."""
    names = ("data", "instruction") if "response_extraction" in job.job_type else ("instruction",)
    for row in read_file(job.rows):
        value = row.value if isinstance(row.value, dict) else {}
        question = next((text for name in names if isinstance(text := value.get(name), str)), "")
        output = text if isinstance(text := value.get("output"), str) else ""
        if row.problem or not isinstance(row.value, dict) or not is_unicode(f"{question}{output}"):
            lacking["broken"] += 1
        elif not question.strip():
            lacking[f"without {' or '.join(names)}"] += 1
        elif _rewrites(job.job_type) and not output.strip():
            lacking["without output"] += 1
        else:
            yield question, output


def _expansions(job: ForeignJob, prompt: str, questions: list[str]) -> list[Ask]:
    """Prompts with some rows as examples, drawn by the config's seed so that a resume draws the same."""
    dataset = job.config.dataset
    shown, wanted = dataset.num_in_context_samples, dataset.num_output_samples
    if shown is None or wanted is None:
        missing = "num_in_context_samples" if shown is None else "num_output_samples"
        raise SettingsError(f"{job.path}: dataset.{missing} is missing", "A whole number of at least 1.")
    if shown > len(questions):
        raise SettingsError(
            f"{job.path}: dataset.num_in_context_samples is {shown}, but there are {len(questions)} rows",
            f"Set it to {len(questions)} or less.",
        )
    draw = random.Random(job.seed)
    return [
        Ask("", prompt + "\n" + "".join(f"{text}\n" for text in draw.sample(questions, shown)))
        for _ in range(wanted)
    ]


def _row(job_type: str, ask: Ask, text: str) -> Row | None:
    """The row that an answer makes; None for an answer without the tags that the job asks for."""
    if job_type.startswith(("instruction_expansion", "instruction_refinement")):
        instruction = _tagged("answer", text)
        return {"instruction": instruction} if instruction else None
    if job_type.startswith("instruction_response_extraction"):
        instruction, response = _tagged("instruction", text), _tagged("response", text)
        return {"instruction": instruction, "output": response} if instruction and response else None
    return {"instruction": ask.question, "output": text}


def _tagged(tag: str, text: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return found[1].strip() if found else ""


def _rows_text(job_type: str, rows: list[Row]) -> str:
    """The rows as upstream would write them: for some jobs JSON Lines, for the others a JSON array."""
    if job_type == "cot_generation_batch" or _rewrites(job_type):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True)
class GenerationReport:
    """What became of every question of a generation job."""

    counts: dict[str, int]
    """Questions, rows written, and what gave none by the reason, under the words that the table shows."""
    cost: float | None
    """What all these answers cost, the earlier ones included; None without prices."""
    examples: list[str]
    """The first few answers without the tags that the prompt asks for."""
    output: Path

    def table(self) -> str:
        """The report as lines for a terminal."""
        shown = [(name, f"{count:,}") for name, count in self.counts.items() if count or name == "written"]
        shown += [] if self.cost is None else [("cost", money_text(self.cost))]
        examples = [f"No tags in: {example}" for example in self.examples]
        return "\n".join([two_columns(shown, 28), *examples, str(self.output)])


def make_rows(job: ForeignJob, lab: Lab, settings: LabSettings, on_event: EventSink) -> GenerationReport:
    """Ask the teacher what a generation job asks, and write the rows; a killed job resumes at the row.

    Raises:
        DataError: when no row came of it.
    """
    from qdl_engine.teachers.answers import ask_all

    assert job.written is not None
    teacher, _ = teacher_settings(job, settings)
    hold_key(job, teacher)
    system = system_prompt(job)
    is_chain = job.job_type.startswith("cot")
    asks, unusable = asks_of(job)
    replies = ask_all(
        lab, teacher, [Question(ask.prompt, system) for ask in asks], stage="generate",
        keep="full" if is_chain else "answer", on_event=on_event,
    )  # fmt: skip
    rows, untagged, repeated = _rows_of(job.job_type, asks, replies.texts)
    examples = [one_line(text, 80) for text in untagged[:3]]
    if not rows:
        why = f"It says: {examples[0]}" if examples else f"Of the questions: {replies.counts_in_words()}."
        raise DataError(f"{job.job_type} gave no rows for {len(asks)} questions", why)
    with lab.writer_lock(job.job_type), whole_file(job.written) as handle:
        handle.write(_rows_text(job.job_type, rows))
    if is_chain:
        message = "instruction is the bare question; EasyDistill 1.x writes its whole prompt there."
        on_event(Note(message))
    lost = replies.counts + Counter({"without the tags": len(untagged), "repeated": repeated})
    words = ", ".join(f"{count:,} {name}" for name, count in lost.items() if count)
    left = f"; {lost.total():,} of {len(asks):,} questions gave none ({words})" if words else ""
    on_event(Note(f"Wrote {len(rows):,} rows to {job.written}{left}"))
    counts = {
        "questions": len(asks),
        "written": len(rows),
        "without the tags": len(untagged),
        "repeated": repeated,
        **{f"no answer: {name}": count for name, count in replies.counts.items()},
        **{f"row {name}": count for name, count in unusable.items()},
        "asked now": replies.asked,
        "reused": replies.reused,
    }
    return GenerationReport(counts, replies.cost, examples, job.written)


def _rows_of(job_type: str, asks: list[Ask], texts: dict[int, str]) -> tuple[list[Row], list[str], int]:
    """The rows that the answers make, in the order of what was asked.

    Returns:
        The rows, the answers without the tags that the job asks for, and how many instructions came before.
    """
    rows: list[Row] = []
    untagged: list[str] = []
    seen: set[str] = set()
    repeated = 0
    for place, ask in enumerate(asks):
        if place not in texts:
            continue
        row = _row(job_type, ask, texts[place])
        if row is None:
            untagged.append(texts[place])
        elif job_type.startswith("instruction_expansion") and row["instruction"] in seen:
            repeated += 1
        else:
            seen.add(row["instruction"])
            rows.append(row)
    return rows, untagged, repeated


def judge_rows(job: ForeignJob, lab: Lab, settings: LabSettings, on_event: EventSink) -> str:
    """`cot_eval_api`: score the chains of a file, by our judge; the report as text."""
    from qdl_engine.label.score import score_chains

    teacher, _ = teacher_settings(job, settings)
    hold_key(job, teacher)
    report = score_chains(
        lab, settings.model_copy(update={"teacher": teacher}), source=job.rows, output=job.written,
        everything=True, reasoning_only=False, on_event=on_event,
    )  # fmt: skip
    on_event(Note(f"Wrote {report.chains:,} scored chains to {job.written}"))
    return report.table()
