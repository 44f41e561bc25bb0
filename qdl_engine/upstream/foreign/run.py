"""The teacher that a foreign config names, as a teacher of ours, and the words it is asked in.

EasyDistill 1.x jobs that make data: what the teacher is asked, and what becomes of its answers.

The rows that come out have upstream's shape, with one difference: `instruction` is the bare question.
Upstream it is the whole prompt, and a student would learn to need that.

A foreign config of a training job as one that the built-in runtime takes.

A foreign config run here: what its run does, by the teacher and up to what the trainer takes.
"""

from __future__ import annotations

import json
import os
import random
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qdl_engine.config.jobs import TRAIN_ONLY
from qdl_engine.core.errors import DataError, SettingsError
from qdl_engine.core.events import EventSink, Note
from qdl_engine.core.lab import Lab, write_json_atomic, write_text_atomic
from qdl_engine.core.prompts import training_template
from qdl_engine.core.words import is_unicode, money_text, one_line, two_columns
from qdl_engine.data.files import array_file, whole_file
from qdl_engine.data.schemas import merge_input
from qdl_engine.data.sources import read_file
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.settings.address import is_local
from qdl_engine.teachers.base import Question
from qdl_engine.upstream.foreign.config import Imported

KEY_VARIABLE = "QDL_CONFIG_API_KEY"
"""Where a run keeps the key of its config: in its own environment, never in a file."""

# What samples write where a key goes, and what people give to servers that ask for none.
_NO_KEYS = frozenset({"", "token", "empty", "none", "null", "api_key", "your_api_key", "your-api-key"})
_VLLM = ("enable_chunked_prefill", "gpu_memory_utilization", "enforce_eager", "max_model_len")


def teacher_settings(job: Imported, settings: LabSettings) -> tuple[TeacherSettings, list[str]]:
    """Who is asked, and how; with what of the config has no effect.

    A server is the config's own; where the config has only a placeholder, it is the lab's. A local teacher
    is loaded by transformers, or by vLLM where the lab's `teacher.kind` says so.

    Raises:
        SettingsError: when the config names no server and the lab neither, or for a key that others can read.
    """
    if job.by_server:
        return _server(job, settings.teacher)
    return _local(job, settings.teacher)


def system_prompt(job: Imported) -> str:
    """The system prompt that the teacher is asked under.

    Raises:
        SettingsError: when the config's template asks in another shape than ours.
    """
    if job.by_server:
        value = job.inference.get("system_prompt", "")
        if not isinstance(value, str):
            raise SettingsError(f"{job.path}: inference.system_prompt must be a text, not {value!r}")
        return value
    prompt = job.template.system_prompt if job.template is not None else None
    if prompt is None:
        raise SettingsError(
            f"{job.path}: dataset.template is no ChatML, and a teacher of ours is asked in ChatML",
            'Name "chat_template_kd.jinja", which ours stands for, or write ChatML.',
        )
    return prompt


def _server(job: Imported, lab: TeacherSettings) -> tuple[TeacherSettings, list[str]]:
    given = str(job.inference.get("base_url") or "")
    is_address = given.startswith(("http://", "https://"))
    from_lab = lab.kind == "server"
    if not is_address and not (from_lab and lab.url):
        raise SettingsError(
            f"{job.path}: inference.base_url is no http or https address: {given!r}",
            "Write the server's address there, or name one: "
            "--set teacher.kind=server --set teacher.url=http://localhost:8000/v1",
        )
    notes = []
    if job.inference.get("stream"):
        notes.append("inference.stream has no effect: every answer is stored whole as it comes.")
    changes: dict[str, Any] = {
        "kind": "server",
        "url": given if is_address else lab.url,
        # As 1.0 does it, unless the lab names one: the model that the server offers.
        "model": lab.model if from_lab else "",
        "max_new_tokens": _tokens(job, lab),
        "api_key_env": lab.api_key_env,
        "api_key_file": lab.api_key_file,
    }
    if not lab.api_key_env and not lab.api_key_file and _key(job, str(changes["url"])):
        changes["api_key_env"] = KEY_VARIABLE
    return _changed(job, lab, changes), notes


def _key(job: Imported, url: str) -> str:
    """The key that stands in the config; empty when it is a placeholder.

    Raises:
        SettingsError: when others can read the config that holds it.
    """
    value = job.inference.get("api_key")
    key = value.strip() if isinstance(value, str) else ""
    if key.lower().strip("<>") in _NO_KEYS:
        return ""
    if stat.S_IMODE(job.path.stat().st_mode) & 0o077 and not is_local(url):
        raise SettingsError(
            f"Others can read the key in {job.path}",
            f"Close it: chmod 600 {job.path}. Better: take it out, and --set teacher.api_key_env=NAME",
        )
    return key


def hold_key(job: Imported, teacher: TeacherSettings) -> None:
    """Put the config's own key where the teacher looks for it: the environment of this process alone."""
    if teacher.api_key_env == KEY_VARIABLE:
        os.environ[KEY_VARIABLE] = _key(job, teacher.url)


def _local(job: Imported, lab: TeacherSettings) -> tuple[TeacherSettings, list[str]]:
    kind = "vllm" if lab.kind == "vllm" else "hf"
    notes = [
        "inference.temperature and seed have no effect: with them too, 1.0 takes the likeliest token.",
    ]
    if job.inference.get("trust_remote_code"):
        notes.append("inference.trust_remote_code has no effect: code from a hub is never run.")
    unused = [key for key in _VLLM if key in job.inference]
    if unused:
        notes.append(f"inference.{', '.join(unused)}: the teacher here finds its own.")
    changes = {
        "kind": kind,
        "model": job.teacher,
        "max_new_tokens": _tokens(job, lab),
        "temperature": 0.0,
    }
    return _changed(job, lab, changes), notes


def _tokens(job: Imported, lab: TeacherSettings) -> Any:
    return job.inference.get("max_new_tokens", lab.max_new_tokens)


def _changed(job: Imported, lab: TeacherSettings, changes: dict[str, Any]) -> TeacherSettings:
    from qdl_engine.settings.toml import checked_settings

    return checked_settings({"teacher": lab.model_dump() | changes}, str(job.path)).teacher


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


def write_training_config(job: Imported, lab: Lab, labeled: Path, path: Path) -> Path:
    """Write the config that the runtime trains from, and the template it names.

    Everything in `training` is kept as the user wrote it; paths become absolute, and a generation section,
    with the key it may hold, stays behind.

    Args:
        job: What was read.
        lab: Holds the template, when ours stands in for the config's.
        labeled: The labelled rows.
        path: Where to write.

    Returns:
        `path`.
    """
    assert job.template is not None and job.output_dir is not None
    template = job.template_file
    extras = dict(job.extras)
    if template is None:
        system_prompt = job.template.system_prompt or ""
        template = lab.configs / f"{path.stem}_template.jinja"
        write_text_atomic(template, training_template(system_prompt))
        extras |= {"system_prompt": system_prompt, "template_sha256": job.template.sha256}
    extras["data"] = {"path": str(labeled), "source": str(job.rows)}
    config: dict[str, Any] = {
        "job_type": TRAIN_ONLY,
        "dataset": {"labeled_path": str(labeled), "template": str(template), "seed": job.seed},
        "models": {"student": job.student},
        "training": job.training | {"output_dir": str(job.output_dir)},
        "qdl": extras,
    }
    write_json_atomic(path, config)
    return path


def rows_to_label(job: Imported, path: Path) -> int:
    """Write the instructions of a job that labels, as labelling takes them.

    EasyDistill reads `instruction` only and leaves an Alpaca `input` out; here it is part of the question.

    Returns:
        How many rows there are.

    Raises:
        DataError: when there is none.
    """
    count = _write(_merged(job.rows, with_output=False), path)
    if not count:
        raise DataError(f"No rows with an instruction in {job.rows}", "Each needs a text under instruction.")
    return count


def rows_to_train(job: Imported, path: Path) -> Path:
    """The labelled rows to train on: the config's own file, or a copy with every Alpaca `input` merged."""
    if not any(_has_input(row.value) for row in read_file(job.rows)):
        return job.rows
    _write(_merged(job.rows, with_output=True), path)
    return path


def _has_input(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("input"), str) and bool(row["input"].strip())


def _merged(path: Path, *, with_output: bool) -> Iterator[dict[str, Any]]:
    for row in read_file(path):
        value = row.value
        if not isinstance(value, dict) or not isinstance(value.get("instruction"), str):
            continue
        extra = value["input"] if _has_input(value) else ""
        merged: dict[str, Any] = {"instruction": merge_input(value["instruction"], extra)}
        if with_output:
            # The trainer drops and counts what is no text.
            merged["output"] = value.get("output")
        yield {"id": value["id"]} | merged if isinstance(value.get("id"), str) else merged


def _write(rows: Iterator[dict[str, Any]], path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with array_file(path) as handle:
        for row in rows:
            handle.write((",\n" if count else "") + json.dumps(row, ensure_ascii=False))
            count += 1
    return count


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
            on_event(Note("The column input is merged into instruction."))
    else:
        labeled = _label(job, lab, settings, workspace, on_event)
    return write_training_config(job, lab, labeled, config)


def _label(job: Imported, lab: Lab, settings: LabSettings, workspace: Path, on_event: EventSink) -> Path:
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
    from qdl_engine.teachers.answers import ask_all

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
        on_event(Note(message))
    lost = replies.counts + Counter({"without the tags": len(made.untagged), "repeated": made.repeated})
    words = ", ".join(f"{count:,} {name}" for name, count in lost.items() if count)
    left = f"; {lost.total():,} of {len(asks):,} questions gave none ({words})" if words else ""
    on_event(Note(f"Wrote {len(made.rows):,} rows to {job.written}{left}"))
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
    from qdl_engine.label.score import score_chains

    teacher, _ = teacher_settings(job, settings)
    hold_key(job, teacher)
    report = score_chains(
        lab, settings.model_copy(update={"teacher": teacher}), source=job.rows, output=job.written,
        everything=True, reasoning_only=False, on_event=on_event,
    )  # fmt: skip
    on_event(Note(f"Wrote {report.chains:,} scored chains to {job.written}"))
    return report.table()
