"""How often a model is right, with the interval that this many prompts support."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qdl_engine.core.events import EventSink, no_sink
from qdl_engine.core.prompts import Mode, format_prompt, split_completion

if TYPE_CHECKING:
    from qdl_engine.models.load import LoadedModel

Z_95 = 1.959964


@dataclass(frozen=True)
class Score:
    """Exact matches on prompts whose answer is known."""

    correct: int
    total: int
    accuracy: float
    low: float
    """Lower end of the Wilson 95 % interval; near 0 and 1 the normal one leaves the scale."""
    high: float
    tokens_per_second: float
    mean_tokens: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} ({self.low:.1%} to {self.high:.1%}, {self.correct} of {self.total})"


def exact_match(
    loaded: LoadedModel,
    samples: Sequence[tuple[str, str]],
    mode: Mode = "system1",
    system_prompt: str | None = None,
    *,
    max_new_tokens: int = 512,
    batch_size: int = 64,
    normalise: Callable[[str], str] = str.strip,
    on_event: EventSink = no_sink,
) -> Score:
    """Ask greedily and compare the answers, without their reasoning, with the known ones.

    Args:
        loaded: The model.
        samples: Pairs of instruction and right answer.
        mode: How the model is asked.
        system_prompt: Replaces the mode's own system prompt.
        max_new_tokens: Longest completion; a cut one counts as wrong even if it contains the right answer.
        batch_size: Prompts generated together.
        normalise: Applied to both sides before they are compared.
        on_event: Takes `progress`.
    """
    import time

    from qdl_engine.models.generate import generate

    prompts = [format_prompt(instruction, mode, system_prompt=system_prompt) for instruction, _ in samples]
    started = time.perf_counter()
    answers = generate(
        loaded, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, on_event=on_event
    )
    seconds = time.perf_counter() - started
    correct = sum(
        not answer.reason and normalise(split_completion(answer.text).answer) == normalise(expected)
        for answer, (_, expected) in zip(answers, samples, strict=True)
    )
    tokens = sum(answer.tokens for answer in answers)
    total = len(samples)
    low, high = wilson_interval(correct, total)
    return Score(
        correct=correct,
        total=total,
        accuracy=correct / total if total else 0.0,
        low=low,
        high=high,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        mean_tokens=tokens / total if total else 0.0,
    )


def wilson_interval(correct: float, total: int) -> tuple[float, float]:
    """The Wilson 95 % interval of a share; 0 to 1 when nothing was asked."""
    if total == 0:
        return 0.0, 1.0
    share, square = correct / total, Z_95 * Z_95
    centre = share + square / (2 * total)
    spread = Z_95 * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    scale = 1 + square / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
