"""Which rows are trained, which are held out, in which order, and in how many steps.

Imports no torch: preflight forms the same batches without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdl_engine.config.model import TrainConfig
from qdl_engine.core.prompts import END_OF_TURN
from qdl_engine.data.json_rows import SourceRow, read_json_array
from qdl_engine.data.sampling import row_id
from qdl_engine.data.sources import read_file

MOST_DIRECT_LOGITS = 2**25
"""Logits of one batch that a CPU may hold at once: 128 MiB in fp32, and as much for their gradients."""


@dataclass
class RowCounts:
    """What became of the rows of a file."""

    read: int = 0
    kept: int = 0
    broken: int = 0
    too_long: int = 0
    examples: list[str] = field(default_factory=list)
    """The first few broken rows: where, and why."""

    def dropped_in_words(self, max_length: int | None) -> str:
        """Empty when nothing was dropped."""
        parts = [f"{self.too_long:,} over {max_length} tokens"] if self.too_long else []
        parts += [f"{self.broken:,} broken ({'; '.join(self.examples)})"] if self.broken else []
        return (
            f"Dropped {self.read - self.kept:,} of {self.read:,} rows: {', '.join(parts)}." if parts else ""
        )


def labelled_rows(config: TrainConfig) -> Iterator[SourceRow]:
    """The rows of a config: a JSON array where the lab wrote the file, else whatever format it is in.

    Raises:
        DataError: when the file cannot be read, or stops being what it began as.
    """
    read = read_json_array if config.extras.data.get("prepared") is True else read_file
    return read(config.labeled_path)


def usable_rows(rows: Iterable[SourceRow], counts: RowCounts) -> Iterator[tuple[str, str, str]]:
    """Id, instruction and output of each row that has them; the others are counted."""
    for row in rows:
        counts.read += 1
        problem = row.problem or _problem(row.value)
        if problem:
            counts.broken += 1
            if len(counts.examples) < 3:
                counts.examples.append(f"line {row.line}: {problem}")
            continue
        instruction, output = row.value["instruction"], row.value["output"].removesuffix(END_OF_TURN)
        yield str(row.value.get("id") or row_id(instruction, output)), instruction, output


def _problem(value: Any) -> str:
    if not isinstance(value, dict):
        return "not an object"
    for key in ("instruction", "output"):
        if not isinstance(value.get(key), str) or not value[key].strip():
            return f"{key} is missing, empty or no text"
    if END_OF_TURN in value["output"].removesuffix(END_OF_TURN):
        return "an end token inside the answer"
    return ""


def held_out_places(ids: Sequence[str], share: float, seed: int) -> frozenset[int]:
    """Which rows, by their places, are kept out of training.

    Rows are ranked by a hash of seed and id, so their order in the file means nothing, and a row added to it
    moves hardly any other.
    """
    if share <= 0 or len(ids) < 2:
        return frozenset()
    count = min(max(1, round(len(ids) * share)), len(ids) - 1)
    ranks = [hashlib.sha256(f"{seed}\0{identity}".encode()).digest() for identity in ids]
    return frozenset(sorted(range(len(ids)), key=lambda at: ranks[at])[:count])


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
