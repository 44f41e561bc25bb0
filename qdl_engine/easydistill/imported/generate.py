"""EasyDistill 1.x jobs that make data: what the teacher is asked, and what becomes of its answers.

The rows that come out have upstream's shape, with one difference: `instruction` is the bare question.
Upstream it is the whole prompt, and a student would learn to need that.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qdl_engine.data.sources import read_file
from qdl_engine.easydistill.imported.config import Imported
from qdl_engine.errors import DataError, SettingsError
from qdl_engine.text import is_unicode

Row = dict[str, Any]

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_INSTRUCTION = re.compile(r"<instruction>(.*?)</instruction>", re.DOTALL)
_RESPONSE = re.compile(r"<response>(.*?)</response>", re.DOTALL)
_SAMPLES = ("num_in_context_samples", "num_output_samples")


@dataclass(frozen=True)
class Ask:
    """One thing to ask the teacher."""

    question: str
    """The bare question of the row; empty where the answer brings its own."""
    prompt: str


@dataclass
class Sorted:
    """Answers made into rows, and how many gave none."""

    rows: list[Row] = field(default_factory=list)
    untagged: list[str] = field(default_factory=list)
    """Answers without the tags that the job asks for."""
    repeated: int = 0
    """Instructions that came before."""


def asks_of(job: Imported) -> tuple[list[Ask], Counter[str]]:
    """What to ask, in the order of the rows; and the rows that cannot be asked, by what they lack.

    Raises:
        DataError: when no row can be asked.
        SettingsError: for a key the job needs that is missing.
    """
    prompt = job.inference.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise SettingsError(f"{job.path}: inference.prompt is missing", "It says what the teacher is to do.")
    lacking: Counter[str] = Counter()
    rows = list(_usable(job, lacking))
    if not rows:
        counts = ", ".join(f"{count} {what}" for what, count in lacking.items()) or "the file is empty"
        raise DataError(f"No rows to ask about in {job.rows}", f"Of the rows: {counts}.")
    if job.job_type.startswith("instruction_expansion"):
        return _expansions(job, prompt, [row[0] for row in rows]), lacking
    if job.job_type.startswith(("cot_long2short", "cot_short2long")):
        aim = "The shorter reasoning:" if "long2short" in job.job_type else "The longer reasoning:"
        return [
            Ask(question, f"{prompt}\n\nProblem:\n{question}\n\nAnswer:\n{output}\n\n{aim}")
            for question, output in rows
        ], lacking
    return [Ask(question, f"{prompt}\n{question}") for question, _ in rows], lacking


def _usable(job: Imported, lacking: Counter[str]) -> Iterator[tuple[str, str]]:
    """The question (or the raw text) of each row, and its output where the job needs one."""
    names = ("data", "instruction") if "response_extraction" in job.job_type else ("instruction",)
    needs_output = job.job_type.startswith(("cot_long2short", "cot_short2long"))
    for row in read_file(job.rows):
        if row.problem or not isinstance(row.value, dict):
            lacking["broken"] += 1
            continue
        question = next((value for name in names if isinstance(value := row.value.get(name), str)), "")
        output = row.value.get("output")
        if not is_unicode(f"{question}{output}"):
            lacking["broken"] += 1
        elif not question.strip():
            lacking[f"without {' or '.join(names)}"] += 1
        elif needs_output and not (isinstance(output, str) and output.strip()):
            lacking["without output"] += 1
        else:
            yield question, output if isinstance(output, str) else ""


def _expansions(job: Imported, prompt: str, questions: list[str]) -> list[Ask]:
    """Prompts with some rows as examples, drawn by the config's seed so that a resume draws the same."""
    shown, wanted = (_count(job, key) for key in _SAMPLES)
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


def _count(job: Imported, key: str) -> int:
    value = job.dataset.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{job.path}: dataset.{key} must be a whole number from 1, not {value!r}")
    return value


def sort_answers(job_type: str, asks: list[Ask], answers: dict[int, str]) -> Sorted:
    """The rows that the answers make, in the order of what was asked.

    Args:
        job_type: Of EasyDistill 1.x.
        asks: What was asked.
        answers: The teacher's answers by their place in `asks`; those it did not give are absent.
    """
    result = Sorted()
    seen: set[str] = set()
    for place, ask in enumerate(asks):
        text = answers.get(place)
        if text is None:
            continue
        row = _row(job_type, ask, text)
        if row is None:
            result.untagged.append(text)
        elif job_type.startswith("instruction_expansion") and row["instruction"] in seen:
            result.repeated += 1
        else:
            seen.add(row["instruction"])
            result.rows.append(row)
    return result


def _row(job_type: str, ask: Ask, text: str) -> Row | None:
    if job_type.startswith(("instruction_expansion", "instruction_refinement")):
        instruction = _tagged(_ANSWER, text)
        return {"instruction": instruction} if instruction else None
    if job_type.startswith("instruction_response_extraction"):
        instruction, response = _tagged(_INSTRUCTION, text), _tagged(_RESPONSE, text)
        return {"instruction": instruction, "output": response} if instruction and response else None
    return {"instruction": ask.question, "output": text}


def _tagged(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1].strip() if found else ""


def writes_lines(job_type: str) -> bool:
    """Whether upstream writes JSON Lines for this job, and not a JSON array."""
    return job_type == "cot_generation_batch" or job_type.startswith(("cot_long2short", "cot_short2long"))


def rows_text(job_type: str, rows: list[Row]) -> str:
    """The rows as upstream would write them."""
    if writes_lines(job_type):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
