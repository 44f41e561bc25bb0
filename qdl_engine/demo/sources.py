"""The demo's raw rows, in the shapes of the real data sets: the default mappings and filters work on them.

System 1 gets rows like DistilQwen's, System 2 gets questions with several chains each like OmniThought's. The
chains come from the demo teacher: one reasoned, one where it was asked to answer directly, and for every
third question one that goes through the same working twice, as long-winded reasoners do.

The two levels that OmniThought's judges gave come here from rules a reader can check:

- **Reasoning Verbosity** compares a chain's length with that of the world's own working, spaces not counted:
  three times the ratio, rounded, 9 at most. The plain working gets 3 ("clear and concise" in OmniThought's
  words), the same twice gets 6 ("extensive"), a direct answer 0.
- **Cognitive Difficulty** is the task's: 0 for recall, 1 for handling digits and letters, 2 for one column
  operation, 3 for one that has to be found in words first or goes round a week, 4 for two in a row.

`thought_correctness_verify` says whether the chain's answer is right; the world can check every one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from qdl_engine.demo.world import Sample, stream
from qdl_engine.prompts import Completion, join_reasoning, split_completion

SYSTEM1_SIMPLE: Final = ("sort", "reverse", "capital", "continent")
"""Recall and handling of symbols: what can be learnt by heart or done at a glance."""
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
"""How often System 1 is taught a task. What suits it has to be sure; facts are few, duplicates go.

Of what needs steps in between, sums get enough to be guessed at in part (stories share their columns);
practice of the others would be lost in the demo's minutes: they show what is out of reach."""
SYSTEM1_TASKS: Final = tuple(SYSTEM1_WEIGHTS)
SYSTEM2_TASKS: Final = ("add", "sub", "mul", "story", "two", "day", "sort", "reverse")
RECALL_TASKS: Final = ("capital", "continent")
"""Asked in System 2's source although they need no reasoning: the difficulty filter has to take them away."""

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
    """Training questions for System 1. Some come twice, as in real sources: capitals are not many."""
    return list(
        islice(stream("train", f"system1/{seed}", SYSTEM1_TASKS, list(SYSTEM1_WEIGHTS.values())), count)
    )


def system2_samples(count: int, seed: int) -> list[Sample]:
    """Training questions for System 2, recall among them; multiplication oftener, as it is learnt last."""
    weights = [1.5 if task == "mul" else 0.5 if task in RECALL_TASKS else 1.0 for task in _SYSTEM2_ASKED]
    return list(islice(stream("train", f"system2/{seed}", _SYSTEM2_ASKED, weights), count))


def distilqwen_rows(samples: Iterable[Sample]) -> list[dict[str, str]]:
    """Rows like DistilQwen's. Their answers are the world's; labelling puts the teacher's in their place."""
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
    """The level of a chain by its length beside the world's own working."""
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
