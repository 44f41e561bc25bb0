"""The teacher writes the answers: each stored the moment it is done, none asked twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qdl_engine.checkpoints import fingerprint
from qdl_engine.data.label_cache import LabelCache, StoredAnswer, answer_key
from qdl_engine.errors import DataError, ModelError
from qdl_engine.events import Event, EventSink, make_event, no_sink
from qdl_engine.lab import Lab, read_json, write_json_atomic
from qdl_engine.prompts import Mode, format_prompt, split_completion
from qdl_engine.settings import LabSettings

if TYPE_CHECKING:
    from qdl_engine.models import LoadedModel

Keep = Literal["answer", "full"]
Row = dict[str, Any]

FAULTS_TO_STOP = 8
"""So many answers of one repeated token, and more than half of all, are a fault and not a coincidence."""


@dataclass(frozen=True)
class LabelReport:
    """What became of every row, and what it cost."""

    rows: int
    kept: int
    empty: int
    """No answer after the reasoning was taken off."""
    cut: int
    """Stopped at max_new_tokens; dropped unless keep_cut_answers."""
    repeated: int
    """One token without end."""
    too_long: int
    """A prompt that fills the teacher's context."""
    broken: int
    """A row without an instruction."""
    asked: int
    """Prompts put to the teacher now."""
    reused: int
    """Prompts answered by an earlier labelling."""
    tokens: int
    """Tokens generated now."""
    seconds: float
    tokens_per_second: float
    output: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """The report as lines for a terminal."""
        lines = [("rows", f"{self.rows:,}"), ("kept", f"{self.kept:,}")]
        dropped = {
            "empty": self.empty,
            "cut at the limit": self.cut,
            "one token repeated": self.repeated,
            "prompt too long": self.too_long,
            "broken": self.broken,
        }
        lines += [(name, f"{count:,}") for name, count in dropped.items() if count]
        lines += [("asked now", f"{self.asked:,}"), ("reused", f"{self.reused:,}")]
        lines += [("speed", f"{self.tokens_per_second:,.0f} tokens/s ({self.seconds:,.0f} s)")]
        return "\n".join(f"{name:<20}{value:>12}" for name, value in lines)


def label_with_teacher(
    lab: Lab,
    settings: LabSettings,
    *,
    teacher: LoadedModel | None = None,
    mode: Mode = "system1",
    keep: Keep = "answer",
    instructions: Path | None = None,
    output: Path | None = None,
    system_prompt: str | None = None,
    on_event: EventSink = no_sink,
) -> LabelReport:
    """Let the teacher answer every instruction of a lab; the rows come out in the order they went in.

    A killed labelling goes on at the row it had reached. The teacher is loaded only when something is left to
    ask. Equal prompts are asked once. The lab's writer's lock is held meanwhile.

    Args:
        lab: The lab.
        settings: Its settings; `settings.teacher` decides how the teacher is loaded and asked.
        teacher: A teacher already in memory.
        mode: How the teacher is asked; `system2` lets it reason.
        keep: `answer` strips the reasoning, `full` keeps it. Both share one labelling.
        instructions: Rows to label instead of `data/train_instructions.json`.
        output: Where to write instead of `data/train_labeled.json`.
        system_prompt: Replaces the system prompt of the mode's recipe.
        on_event: Takes `progress` and `note`.

    Raises:
        DataError: when there are no rows, or no answer was kept.
        ModelError: when the teacher cannot be loaded, does not fit, or computes NaN or one token without end.
        LabBusyError: when another process prepares or labels in this lab.
    """
    started = time.perf_counter()
    system = settings.recipe(mode).system_prompt if system_prompt is None else system_prompt
    with lab.writer_lock("labelling"):
        rows = _read_rows(instructions or lab.train_instructions)
        prompts = [_prompt(row, mode, system) for row in rows]
        labelling = _Labelling(lab, settings, teacher, on_event)
        answers = labelling.run(list(dict.fromkeys(prompt for prompt in prompts if prompt is not None)))
        counts: Counter[str] = Counter()
        kept = []
        for row, prompt in zip(rows, prompts, strict=True):
            text, outcome = _judge(answers.get(prompt or ""), keep, settings.teacher.keep_cut_answers)
            counts[outcome] += 1
            if outcome == "kept":
                kept.append(row | {"output": text})
        target = output or lab.train_labeled
        if not kept:
            raise DataError("No answer of the teacher was kept", _nothing_kept_hint(counts))
        write_json_atomic(target, kept)
    seconds = time.perf_counter() - started
    return LabelReport(
        rows=len(rows),
        kept=counts["kept"],
        empty=counts["empty"],
        cut=counts["cut"],
        repeated=counts["repeated"],
        too_long=counts["too long"],
        broken=counts["broken"],
        asked=labelling.asked,
        reused=labelling.reused,
        tokens=labelling.tokens,
        seconds=seconds,
        tokens_per_second=labelling.tokens / labelling.seconds if labelling.seconds else 0.0,
        output=str(target),
    )


class _Labelling:
    """One pass over the prompts that have no answer yet."""

    def __init__(
        self, lab: Lab, settings: LabSettings, teacher: LoadedModel | None, on_event: EventSink
    ) -> None:
        self.cache = LabelCache(lab.label_cache)
        self.settings = settings.teacher
        self.model = _teacher_path(lab, settings.teacher.model)
        self.teacher = teacher
        self.on_event = on_event
        self.asked = self.reused = self.tokens = self.repeated = 0
        self.seconds = 0.0

    def run(self, prompts: list[str]) -> dict[str, StoredAnswer]:
        """Answers by prompt."""
        name = fingerprint(self.teacher.path if self.teacher else self.model)
        asking = self.settings
        keys = {
            prompt: answer_key(prompt, name, asking.quantization, asking.max_new_tokens, asking.temperature)
            for prompt in prompts
        }
        self.cache.repair()
        stored = _without_faults(self.cache.read(keys.values()))
        answers = {prompt: stored[key] for prompt, key in keys.items() if key in stored}
        self.reused = len(answers)
        missing = [prompt for prompt in prompts if prompt not in answers]
        if self.reused:
            self.on_event(
                make_event("note", message=f"{self.reused} of {len(prompts)} answers are already there")
            )
        if missing:
            for prompt, answer in self._ask(missing, keys, len(prompts)):
                answers[prompt] = answer
        else:
            self.on_event(self._as_label(make_event("progress", done=0), len(prompts)))
        return answers

    def _ask(
        self, missing: list[str], keys: dict[str, str], total: int
    ) -> Iterator[tuple[str, StoredAnswer]]:
        from qdl_engine.models import generate_each, load_teacher

        if self.teacher is None:
            self.on_event(make_event("note", message=f"Loading the teacher {self.model}"))
            self.teacher = load_teacher(self.model, quantization=self.settings.quantization)
        started = time.perf_counter()
        for index, answer in generate_each(
            self.teacher,
            missing,
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            batch_size=self.settings.batch_size,
            on_event=lambda event: self.on_event(self._as_label(event, total)),
        ):
            stored = StoredAnswer(keys[missing[index]], answer.text, answer.tokens, answer.reason)
            self.cache.append(stored)
            self.asked += 1
            self.tokens += answer.tokens
            self.repeated += answer.reason == "repeated"
            self.seconds = time.perf_counter() - started
            self._stop_if_faulty()
            yield missing[index], stored

    def _as_label(self, event: Event, total: int) -> Event:
        """Progress over all prompts, the ones of an earlier labelling included."""
        if event["event"] != "progress":
            return event
        done = event["done"] + self.reused
        return event | {"stage": "label", "done": done, "total": total, "unit": "prompts"}

    def _stop_if_faulty(self) -> None:
        if self.repeated >= FAULTS_TO_STOP and self.repeated * 2 > self.asked:
            raise ModelError(
                f"The teacher repeats one token without end: {self.repeated} of {self.asked} answers",
                'A 16-bit overflow. Set teacher.quantization to "8bit" or "4bit", use a card that has bf16 '
                "(Ampere or later), or choose another teacher.model.",
            )


def _without_faults(stored: dict[str, StoredAnswer]) -> dict[str, StoredAnswer]:
    """Drop what a broken labelling left behind, so that it is asked again once the cause is cured."""
    repeated = sum(answer.reason == "repeated" for answer in stored.values())
    if repeated < FAULTS_TO_STOP or repeated * 2 <= len(stored):
        return stored
    return {key: answer for key, answer in stored.items() if answer.reason != "repeated"}


def _teacher_path(lab: Lab, model: str) -> str:
    """A directory in the lab, or else what the setting says: a path or a hub id."""
    local = lab.root / Path(model).expanduser()
    return str(local) if local.is_dir() else model


def _read_rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise DataError(f"No instructions to label: {path}", "Make them: qdl prepare system1")
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"Not a JSON array of rows: {path}", "Make it again: qdl prepare system1")
    if not rows:
        raise DataError("No data for System 1 distillation", f"{path} has no rows. Run: qdl prepare system1")
    return rows


def _prompt(row: Any, mode: Mode, system_prompt: str) -> str | None:
    """The rendered prompt, or None for a row without an instruction."""
    instruction = row.get("instruction") if isinstance(row, dict) else None
    if not isinstance(instruction, str) or not instruction.strip():
        return None
    return format_prompt(instruction, mode, system_prompt=system_prompt)


def _judge(answer: StoredAnswer | None, keep: Keep, keep_cut: bool) -> tuple[str, str]:
    """The text to train on, and what became of the row."""
    if answer is None:
        return "", "broken"
    if answer.reason in ("repeated", "too long") or (answer.reason == "cut" and not keep_cut):
        return "", answer.reason
    completion = split_completion(answer.text)
    text = completion.answer if keep == "answer" else answer.text.strip()
    return (text, "kept") if text and completion.answer else ("", answer.reason or "empty")


def _nothing_kept_hint(counts: Counter[str]) -> str:
    what = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    if counts["cut"]:
        return f"Of the rows: {what}. Raise teacher.max_new_tokens."
    return f"Of the rows: {what}."
