"""`python -m qdl_engine.demo.exam PAPERS`: examines models on held-out questions, in its own process.

PAPERS is a JSON list of `Paper`s. Each result is an `examined` event: in the run's events, or on stdout
without a run.
"""

import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from qdl_engine.core.events import Examined, append_event, to_json
from qdl_engine.demo.world import Sample, Split, Style, exam, final_answer

BATCH: Final = 64


@dataclass(frozen=True)
class Paper:
    """Which model answers which questions."""

    name: str
    model: str
    style: Style
    tasks: tuple[str, ...]
    per_task: int
    split: Split = "test"
    longest: int = 120


@dataclass(frozen=True)
class Marks:
    """The result: right answers and questions per task, and the tokens and seconds of the answers."""

    name: str
    right: dict[str, int]
    asked: dict[str, int]
    tokens: int
    seconds: float
    parameters: int


def sit(paper: Paper) -> Marks:
    """Let the model answer its paper: greedy, batched, exact match on the answer."""
    from qdl_engine.models.generate import generate
    from qdl_engine.models.load import load_student

    loaded = load_student(paper.model)
    samples = exam(paper.split, paper.per_task, paper.tasks)
    started = time.perf_counter()
    answers = generate(
        loaded,
        [sample.prompt(paper.style) for sample in samples],
        max_new_tokens=paper.longest,
        batch_size=BATCH,
    )
    seconds = time.perf_counter() - started
    # A cut answer is wrong, even when it happens to contain the right number.
    texts = ["" if answer.reason else answer.text for answer in answers]
    tokens = sum(answer.tokens for answer in answers)
    return Marks(paper.name, *_mark(samples, texts), tokens, seconds, loaded.parameters)


def _mark(samples: Iterable[Sample], texts: Iterable[str]) -> tuple[dict[str, int], dict[str, int]]:
    right: dict[str, int] = {}
    asked: dict[str, int] = {}
    for sample, text in zip(samples, texts, strict=True):
        asked[sample.task] = asked.get(sample.task, 0) + 1
        right[sample.task] = right.get(sample.task, 0) + int(final_answer(text) == sample.answer)
    return right, asked


def dump_papers(papers: Iterable[Paper]) -> str:
    """Papers as this module's command takes them."""
    return json.dumps([asdict(paper) for paper in papers])


def marks_of(event: Examined) -> Marks:
    """The marks in an `examined` event."""
    return Marks(**event.marks)


def main() -> None:
    """Examine every paper of the command line."""
    papers: list[dict[str, Any]] = json.loads(sys.argv[1])
    events_file = os.environ.get("QDL_EVENTS")
    for paper in papers:
        event = Examined(asdict(sit(Paper(**paper))))
        if events_file:
            append_event(Path(events_file), event)
        else:
            print(to_json(event), flush=True)


if __name__ == "__main__":
    main()
