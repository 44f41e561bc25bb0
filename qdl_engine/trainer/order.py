"""The order in which rows are trained. Light: preflight forms the same batches without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

WINDOW = 64
"""Optimizer steps whose rows are sorted together: enough for like lengths, few enough to stay mixed."""

Shuffle = Callable[[int], list[int]]
"""Gives a random order of so many things."""


def training_order(
    lengths: Sequence[int],
    step_rows: int,
    shuffle: Shuffle,
    *,
    group_by_length: bool,
    longest_first: bool,
) -> list[int]:
    """One pass over all rows.

    Args:
        lengths: Tokens of each row.
        step_rows: Rows of one optimizer step: all passes and processes. Only whole steps are moved, so that
            `longest_first` changes when a step is trained and never what is in it.
        shuffle: Called for the rows, and then for the steps when they are grouped.
        group_by_length: Rows of like length go into one step.
        longest_first: The two steps with the longest rows come first; see `_longest_first`.

    Returns:
        The rows' indices. A step that is not full stays last, or all after it would be cut differently.
    """
    order = shuffle(len(lengths))
    if group_by_length:
        order = _grouped(order, lengths, step_rows, shuffle)
    return _longest_first(order, lengths, step_rows) if longest_first else order


def _grouped(order: list[int], lengths: Sequence[int], step_rows: int, shuffle: Shuffle) -> list[int]:
    window = step_rows * WINDOW
    steps: list[list[int]] = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda index: lengths[index], reverse=True)
        steps += [part[at : at + step_rows] for at in range(0, len(part), step_rows)]
    full = [step for step in steps if len(step) == step_rows]
    rest = [index for step in steps if len(step) < step_rows for index in step]
    return [index for at in shuffle(len(full)) for index in full[at]] + rest


def _longest_first(order: list[int], lengths: Sequence[int], step_rows: int) -> list[int]:
    """The step with the longest row second, the next longest first, and their longest rows at their ends.

    Memory is fullest not in the first step but in the second: the optimizer makes its two moments at the end
    of the first, and gradients of earlier passes lie there while a later pass runs. So what is too large for
    the device fails within two steps, or never.
    """
    count = len(order) // step_rows
    steps = [order[at * step_rows : (at + 1) * step_rows] for at in range(count)]
    longest = sorted(range(count), key=lambda at: max(lengths[index] for index in steps[at]), reverse=True)[
        :2
    ]
    first = [sorted(steps[at], key=lambda index: lengths[index]) for at in reversed(longest)]
    others = [step for at, step in enumerate(steps) if at not in longest]
    return [index for step in (*first, *others) for index in step] + order[count * step_rows :]
