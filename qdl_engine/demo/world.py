"""The demo's world: samples of the checkable tasks, in three splits that never touch.

A sample's split follows from the md5 of its task and operands: remainder 0 of 10 is `test` (reported, never
looked at while choosing), 1 is `dev` (for choosing), the rest is `train`. The same operands may still meet
in two tasks (12 + 30 as a sum and in a story); within a task they never cross.

Of a fact it is the wording that is held out. It is asked only where `train` tells the fact in two other
wordings at least: by one alone nobody could say what is the fact and what its wording.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from qdl_engine.demo.tasks import TASKS, other_wordings
from qdl_engine.prompts import (
    END_OF_TURN,
    Mode,
    format_completion,
    format_prompt,
    join_reasoning,
    split_completion,
)

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
    """One question with its only right answer and the working that leads there."""

    task: str
    key: str
    question: str
    answer: str
    thought: str

    def prompt(self, style: Style) -> str:
        """What the model is given."""
        return chat_prompt(self.question, style)

    def completion(self, style: Style) -> str:
        """What the model should write, up to its end token."""
        output = join_reasoning(self.thought, self.answer) if style == "system2" else self.answer
        return format_completion(output)


def chat_prompt(question: str, style: Style) -> str:
    """The prompt of one question, by the one function that every prompt of the engine comes from."""
    return format_prompt(question, style, system_prompt=SYSTEM_PROMPTS[style])


def final_answer(text: str) -> str:
    """The answer in a completion; nothing when its reasoning never ended."""
    return split_completion(text).answer


def split_of(task: str, key: str) -> Split:
    """The split that a task's operands belong to, now and for ever."""
    fold = int(hashlib.md5(f"{task}|{key}".encode(), usedforsecurity=False).hexdigest(), 16) % _FOLDS
    return "test" if fold == 0 else "dev" if fold == 1 else "train"


def draw(rng: Random, task: str, split: Split) -> Sample:
    """One sample of a task from a split."""
    while True:
        draft = TASKS[task](rng)
        if split_of(task, draft.key) == split and (split == "train" or _told(task, draft.key)):
            return Sample(task, *draft)


def _told(task: str, key: str) -> bool:
    """Whether training can teach what a held-out question asks for."""
    others = other_wordings(task, key)
    return others is None or sum(split_of(task, other) == "train" for other in others) >= _ENOUGH_WORDINGS


def stream(
    split: Split, seed: str, tasks: Sequence[str] = ALL_TASKS, weights: Sequence[float] | None = None
) -> Iterator[Sample]:
    """Endless samples of the given tasks, the same for the same seed; questions may repeat."""
    rng = Random(f"{split}/{seed}")
    while True:
        yield draw(rng, rng.choices(tasks, weights)[0], split)


def distinct(split: Split, seed: str, task: str, count: int) -> list[Sample]:
    """Up to `count` different questions of one task; fewer when the task has no more in that split."""
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
