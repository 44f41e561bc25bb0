"""The demo's world: samples of the tasks in three splits that never touch, and the raw rows made from them.

A sample's split follows from the md5 of its task and operands: remainder 0 of 10 is `test` (reported, never
looked at while choosing), 1 is `dev` (for choosing), the rest is `train`. The same operands may appear in two
tasks (12 + 30 as a sum and in a story); within a task they never cross. Of a fact, the wording is held out.
An exam asks it only where `train` has the fact in at least two other wordings: one alone does not tell the
fact from its wording.

The raw rows have the shapes of the real data sets, so that the default mappings and filters work on them:
System 1 gets rows like DistilQwen's, System 2 gets questions with several chains each like OmniThought's. The
demo teacher wrote the chains: one with reasoning, one direct answer, and for every third question one that
repeats its working, as long-winded reasoners do.

OmniThought's judges rated two levels; here they follow rules that a reader can check:

- **Reasoning Verbosity** compares a chain's length with that of the world's own working, without spaces:
  three times the ratio, rounded, 9 at most. The plain working gets 3 ("clear and concise" in OmniThought's
  words), the same twice gets 6 ("extensive"), a direct answer 0.
- **Cognitive Difficulty** depends on the task: 0 for recall, 1 for handling digits and letters, 2 for one
  column operation, 3 for one hidden in words or counted round a week, 4 for two in a row.

`thought_correctness_verify` tells whether the chain's answer is right; the world can check every one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from qdl_engine.core.prompts import (
    END_OF_TURN,
    Completion,
    Mode,
    format_completion,
    format_prompt,
    join_reasoning,
    split_completion,
)
from qdl_engine.demo.tasks import TASKS, other_wordings

Split = Literal["train", "dev", "test"]
Style = Mode

SYSTEM_PROMPTS: Final[Mapping[Style, str]] = {
    "system1": "Answer directly.",
    "system2": "Think step by step.",
}
ALL_TASKS: Final = tuple(TASKS)
END: Final = END_OF_TURN

_FOLDS: Final = 10
_PATIENCE: Final = 2_000
_ENOUGH_WORDINGS: Final = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """One question with its only right answer, and the working that leads to it."""

    task: str
    key: str
    question: str
    answer: str
    thought: str

    def prompt(self, style: Style) -> str:
        """The prompt that the model reads."""
        return chat_prompt(self.question, style)

    def completion(self, style: Style) -> str:
        """What the model should write, up to its end token."""
        output = join_reasoning(self.thought, self.answer) if style == "system2" else self.answer
        return format_completion(output)


def chat_prompt(question: str, style: Style) -> str:
    """The prompt of one question, from the function that makes every prompt of the engine."""
    return format_prompt(question, style, system_prompt=SYSTEM_PROMPTS[style])


def final_answer(text: str) -> str:
    """The answer in a completion; empty when its reasoning never ended."""
    return split_completion(text).answer


def split_of(task: str, key: str) -> Split:
    """The split of a task's operands. It must never change: the shipped weights depend on it."""
    fold = int(hashlib.md5(f"{task}|{key}".encode(), usedforsecurity=False).hexdigest(), 16) % _FOLDS
    return "test" if fold == 0 else "dev" if fold == 1 else "train"


def draw(rng: Random, task: str, split: Split) -> Sample:
    """One sample of a task from a split."""
    while True:
        draft = TASKS[task](rng)
        if split_of(task, draft.key) == split and (split == "train" or _told(task, draft.key)):
            return Sample(task, *draft)


def _told(task: str, key: str) -> bool:
    """Whether the training split contains what a held-out question asks for."""
    others = other_wordings(task, key)
    return others is None or sum(split_of(task, other) == "train" for other in others) >= _ENOUGH_WORDINGS


def stream(
    split: Split, seed: str, tasks: Sequence[str] = ALL_TASKS, weights: Sequence[float] | None = None
) -> Iterator[Sample]:
    """Endless samples of the tasks, the same for the same seed; questions may repeat."""
    rng = Random(f"{split}/{seed}")
    while True:
        yield draw(rng, rng.choices(tasks, weights)[0], split)


def distinct(split: Split, seed: str, task: str, count: int) -> list[Sample]:
    """Up to `count` different questions of one task; fewer where the split has no more."""
    rng = Random(f"{split}/{seed}/{task}")
    found: dict[str, Sample] = {}
    misses = 0
    while len(found) < count and misses < _PATIENCE:
        sample = draw(rng, task, split)
        misses = misses + 1 if sample.question in found else 0
        found.setdefault(sample.question, sample)
    return list(found.values())


def exam(split: Split, per_task: int, tasks: Sequence[str] = ALL_TASKS, seed: str = "exam") -> list[Sample]:
    """The held-out paper: different questions, task after task."""
    return [sample for task in tasks for sample in distinct(split, seed, task, per_task)]


SYSTEM1_SIMPLE: Final = ("sort", "reverse", "capital", "continent")
"""Recall and handling of symbols: learnt by heart, or done at a glance."""
SYSTEM1_WEIGHTS: Final[Mapping[str, float]] = {
    "sort": 1.8,
    "reverse": 2.4,
    "capital": 2.0,
    "continent": 3.5,
    "compare": 0.5,
    "sequence": 0.4,
    "add": 3.0,
    "sub": 0.2,
    "mul": 0.6,
    "story": 2.6,
    "two": 0.1,
    "day": 0.2,
}
"""How often System 1 learns a task. What suits it must be certain; facts are few, and duplicates are dropped.

Of the tasks that need steps, sums get enough practice to be guessed in part (stories share their columns).
Practice of the others would be lost in the demo's minutes: they show what is out of reach."""
SYSTEM1_TASKS: Final = tuple(SYSTEM1_WEIGHTS)
SYSTEM2_TASKS: Final = ("add", "sub", "mul", "story", "two", "day", "sort", "reverse")
RECALL_TASKS: Final = ("capital", "continent")
"""In System 2's source although they need no reasoning: the difficulty filter has to remove them."""

COGNITIVE_DIFFICULTY: Final[Mapping[str, int]] = {
    "capital": 0,
    "continent": 0,
    "sort": 1,
    "reverse": 1,
    "count": 1,
    "compare": 1,
    "sequence": 2,
    "add": 2,
    "sub": 2,
    "mul": 2,
    "unit": 3,
    "story": 3,
    "day": 3,
    "two": 4,
}
JUDGE: Final = "demo rule"
TEACHER: Final = "demo teacher"

_SYSTEM2_ASKED: Final = (*SYSTEM2_TASKS, *RECALL_TASKS)
_LONG_WINDED_EVERY: Final = 3
_CONCISE: Final = 3
_HIGHEST: Final = 9


def system1_samples(count: int, seed: int) -> list[Sample]:
    """Training questions for System 1. Some repeat, as in real sources: there are few capitals."""
    return list(
        islice(stream("train", f"system1/{seed}", SYSTEM1_TASKS, list(SYSTEM1_WEIGHTS.values())), count)
    )


def system2_samples(count: int, seed: int) -> list[Sample]:
    """Training questions for System 2, with recall; more multiplication, because it is learnt last."""
    weights = [1.5 if task == "mul" else 0.5 if task in RECALL_TASKS else 1.0 for task in _SYSTEM2_ASKED]
    return list(islice(stream("train", f"system2/{seed}", _SYSTEM2_ASKED, weights), count))


def distilqwen_rows(samples: Iterable[Sample]) -> list[dict[str, str]]:
    """Rows like DistilQwen's, with the world's answers; labelling replaces them with the teacher's."""
    return [{"instruction": sample.question, "output": sample.answer} for sample in samples]


def omnithought_rows(
    samples: Sequence[Sample], reasoned: Sequence[str], direct: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows like OmniThought's, from the teacher's completions in the order of the samples."""
    rows = []
    for index, (sample, long, short) in enumerate(zip(samples, reasoned, direct, strict=True)):
        chains = [split_completion(long), split_completion(short)]
        if index % _LONG_WINDED_EVERY == 0:
            first = chains[0]
            chains.append(replace(first, reasoning=f"{first.reasoning}\n{first.reasoning}"))
        rows.append({"question": sample.question, "reasoning": [_record(sample, chain) for chain in chains]})
    return rows


def reasoning_verbosity(thought: str, working: str) -> int:
    """The level of a chain, from its length relative to the world's own working."""
    return min(_HIGHEST, round(_CONCISE * _length(thought) / _length(working)))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _record(sample: Sample, chain: Completion) -> dict[str, Any]:
    level = reasoning_verbosity(chain.reasoning, sample.thought)
    full = join_reasoning(chain.reasoning, chain.answer) if chain.reasoning else chain.answer
    return {
        "thought": chain.reasoning,
        "solution": chain.answer,
        "full_response": full,
        "teacher": TEACHER,
        "thought_correctness_verify": chain.answer == sample.answer,
        "Reasoning_Verbosity": {"level": level, "judge": JUDGE},
        "Cognitive_Difficulty": {"level": COGNITIVE_DIFFICULTY[sample.task], "judge": JUDGE},
    }


def _length(text: str) -> int:
    return len("".join(text.split()))
