"""How many optimizer steps are too few, and how many of them may warm up. Imports no torch."""

from __future__ import annotations

FEW_STEPS = 10
"""Adam moves a weight by about the learning rate a step, so fewer than these at a usual rate of 1e-5 to 1e-3
move hardly any by more than the weight's own size; and the warm-up and the decay take most of them."""


def warmup_steps(asked: int, total: int) -> int:
    """Warm-up steps of a training: those asked for, but never all of it.

    The first warm-up step has a learning rate of 0, so a training that only warms up learns little, and one
    of a single step nothing.
    """
    return max(0, min(asked, total - 1))


def few_steps(total: int) -> str:
    """A warning when a training has so few optimizer steps that little can be learnt; else empty."""
    if total >= FEW_STEPS:
        return ""
    steps = "1 step" if total == 1 else f"{total:,} steps"
    return (
        f"Only {steps} of training: little can be learnt in fewer than {FEW_STEPS}. "
        "Take more rows or epochs, or a smaller gradient_accumulation or batch_size."
    )
