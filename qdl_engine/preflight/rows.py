"""The rows of a training: which are kept, in which passes, and how many tokens that makes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from qdl_engine.lab import Lab
from qdl_engine.preflight.lengths import Origin, RowLengths, row_lengths
from qdl_engine.preflight.memory import Pass
from qdl_engine.settings import LabSettings, System
from qdl_engine.trainer.order import training_order
from qdl_engine.trainer.usable import held_out_places


@dataclass(frozen=True)
class RowFigures:
    """What will be trained on."""

    origin: Origin
    read: int
    trained_rows: int
    held_out_rows: int
    broken_rows: int
    too_long_rows: int
    trained_tokens: int
    """Answer tokens in one epoch: those with a loss."""
    masked_tokens: int
    """Prompt tokens in one epoch: read, and not trained."""
    dropped_tokens: int
    """Tokens of rows over max_length."""
    longest: int
    median: int
    padding: float
    """Share of the padded batches that is padding."""
    passes: int
    """Forward and backward passes in one epoch, on each device."""
    steps: int
    """Optimizer steps of the whole training."""
    steps_per_epoch: int
    epochs: float
    """Passes over the data, after max_steps."""
    note: str = ""

    @property
    def tokens(self) -> int:
        """Real tokens in one epoch, prompts included."""
        return self.trained_tokens + self.masked_tokens

    @property
    def padded_tokens(self) -> float:
        """Tokens in one epoch as the device sees them."""
        return self.tokens / max(1e-9, 1 - self.padding)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Rows:
    """The rows that are kept, ready to be put into passes."""

    lengths: RowLengths
    kept: list[int]
    """Places of the rows that are trained."""
    held_out: int
    too_long: int
    dropped_tokens: int
    seed: int
    grouped: bool

    def total(self, place: int) -> int:
        return self.lengths.prompts[place] + self.lengths.answers[place]

    def passes(self, batch_size: int, accumulation: int, devices: int) -> list[Pass]:
        """The passes of the first epoch, formed as the trainer forms them, from another shuffle."""
        totals = [self.total(place) for place in self.kept]
        chance = random.Random(self.seed)
        order = training_order(
            totals,
            batch_size * accumulation * devices,
            lambda count: chance.sample(range(count), count),
            group_by_length=self.grouped,
            longest_first=True,
        )
        return [self._pass(order[at : at + batch_size]) for at in range(0, len(order), batch_size)]

    def _pass(self, rows: list[int]) -> Pass:
        places = [self.kept[row] for row in rows]
        return Pass(
            len(places),
            max(self.total(place) for place in places),
            sum(self.lengths.answers[place] for place in places),
        )


def load_rows(lab: Lab, settings: LabSettings, system: System) -> Rows:
    """The rows that training would take now, with what would be dropped."""
    recipe = settings.recipe(system)
    lengths = row_lengths(lab, settings, system)
    fits = [
        place
        for place in range(len(lengths.ids))
        if lengths.prompts[place] + lengths.answers[place] <= recipe.max_length
    ]
    held = held_out_places([lengths.ids[place] for place in fits], recipe.held_out, recipe.seed)
    inside = set(fits)
    dropped = [place for place in range(len(lengths.ids)) if place not in inside]
    return Rows(
        lengths=lengths,
        kept=[place for number, place in enumerate(fits) if number not in held],
        held_out=len(held),
        too_long=len(dropped),
        dropped_tokens=sum(lengths.prompts[place] + lengths.answers[place] for place in dropped),
        seed=recipe.seed,
        grouped=recipe.group_by_length,
    )


def row_figures(rows: Rows, settings: LabSettings, system: System, devices: int = 1) -> RowFigures:
    """Sums over the rows and the passes they are put into."""
    recipe, lengths = settings.recipe(system), rows.lengths
    passes = rows.passes(recipe.batch_size, recipe.gradient_accumulation, devices)
    totals = sorted(rows.total(place) for place in rows.kept)
    trained = sum(lengths.answers[place] for place in rows.kept)
    masked = sum(lengths.prompts[place] for place in rows.kept)
    padded = sum(batch.tokens for batch in passes)
    per_device = math.ceil(len(passes) / devices)
    per_epoch = max(1, math.ceil(per_device / recipe.gradient_accumulation))
    steps = recipe.max_steps or math.ceil(per_epoch * recipe.epochs)
    return RowFigures(
        origin=lengths.origin,
        read=len(lengths.ids) + lengths.broken,
        trained_rows=len(rows.kept),
        held_out_rows=rows.held_out,
        broken_rows=lengths.broken,
        too_long_rows=rows.too_long,
        trained_tokens=trained,
        masked_tokens=masked,
        dropped_tokens=rows.dropped_tokens,
        longest=totals[-1] if totals else 0,
        median=totals[(len(totals) - 1) // 2] if totals else 0,
        padding=1 - (trained + masked) / padded if padded else 0.0,
        passes=per_device,
        steps=steps,
        steps_per_epoch=per_epoch,
        epochs=steps / per_epoch,
        note=lengths.note,
    )


def fullest(passes: Iterable[Pass]) -> list[Pass]:
    """The passes that can need the most memory: the largest, and the one with the most answer tokens."""
    listed = list(passes)
    if not listed:
        return []
    return [max(listed, key=lambda batch: batch.tokens), max(listed, key=lambda batch: batch.trained)]
