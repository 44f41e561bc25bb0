"""The demo's raw rows, in the shapes of the real data sets: the default mappings and filters work on them.

System 1 gets rows like DistilQwen's, System 2 gets questions with several chains each like OmniThought's. The
chains are the demo teacher's own: one reasoned, one where it was asked to answer directly.

The two levels that OmniThought's judges gave come here from rules a reader can check:

- **Reasoning Verbosity** is the chain's length: one level for each ten characters begun, spaces not counted,
  9 at most. A direct answer has no chain and gets 0.
- **Cognitive Difficulty** is the task's: 0 for recall, 1 for handling digits and letters, 2 for one column
  operation, 3 for one that has to be found in words first or goes round a week, 4 for two in a row.

`thought_correctness_verify` says whether the chain's answer is right; the world can check every one.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from qdl_engine.demo.world import Sample, stream
from qdl_engine.prompts import split_completion

SYSTEM1_SIMPLE: Final = ("sort", "reverse", "capital", "continent", "sequence", "compare")
SYSTEM1_TASKS: Final = (*SYSTEM1_SIMPLE, "add", "sub", "mul", "story", "two", "day")
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
_CHARACTERS_PER_LEVEL: Final = 10
_HIGHEST: Final = 9


def system1_samples(count: int, seed: int) -> list[Sample]:
    """Training questions for System 1. Some come twice, as in real sources: capitals are not many."""
    return list(islice(stream("train", f"system1/{seed}", SYSTEM1_TASKS), count))


def system2_samples(count: int, seed: int) -> list[Sample]:
    """Training questions for System 2, recall among them; multiplication oftener, as it is learnt last."""
    weights = [1.5 if task == "mul" else 0.5 if task in RECALL_TASKS else 1.0 for task in _SYSTEM2_ASKED]
    return list(islice(stream("train", f"system2/{seed}", _SYSTEM2_ASKED, weights), count))


def distilqwen_rows(samples: Iterable[Sample]) -> list[dict[str, str]]:
    """Rows like DistilQwen's. Their answers are the world's; labelling puts the teacher's in their place."""
    return [{"instruction": sample.question, "output": sample.answer} for sample in samples]


def omnithought_rows(samples: Sequence[Sample], *chains: Sequence[str]) -> list[dict[str, Any]]:
    """Rows like OmniThought's: each question with one record from each list of completions.

    Args:
        samples: The questions.
        chains: Lists of the teacher's completions, each as long as `samples` and in their order.
    """
    return [
        {"question": sample.question, "reasoning": [_record(sample, text) for text in texts]}
        for sample, *texts in zip(samples, *chains, strict=True)
    ]


def reasoning_verbosity(thought: str) -> int:
    """The level of a chain by its length."""
    characters = len("".join(thought.split()))
    return min(_HIGHEST, -(-characters // _CHARACTERS_PER_LEVEL))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _record(sample: Sample, completion: str) -> dict[str, Any]:
    parts = split_completion(completion)
    level = reasoning_verbosity(parts.reasoning)
    return {
        "thought": parts.reasoning,
        "solution": parts.answer,
        "full_response": completion,
        "teacher": TEACHER,
        "thought_correctness_verify": parts.answer == sample.answer,
        "Reasoning_Verbosity": {"level": level, "judge": JUDGE},
        "Cognitive_Difficulty": {"level": COGNITIVE_DIFFICULTY[sample.task], "judge": JUDGE},
    }
