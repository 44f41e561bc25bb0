"""Rows to tokens: prompt and answer are tokenised apart, so that the loss covers the answer only."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from qdl_engine.config.template import PromptTemplate
from qdl_engine.core.prompts import format_completion
from qdl_engine.data.json_rows import SourceRow
from qdl_engine.trainer.selection import RowCounts, held_out_places, training_order, usable_rows

IGNORED = -100
"""The label of a token that is not trained."""

_CHUNK = 1000


@dataclass(frozen=True)
class TokenRow:
    """One row ready for training."""

    id: str
    input_ids: array[int]
    """Four bytes a token: a list of integers takes ten times that, and 100,000 rows gigabytes."""
    prompt_length: int

    @property
    def labels(self) -> Any:
        """The tokens, with those of the prompt not to be trained."""
        labels = np.array(self.input_ids, dtype=np.int32)
        labels[: self.prompt_length] = IGNORED
        return labels

    @property
    def trained_tokens(self) -> int:
        """Tokens that the loss covers: the answer and its end token."""
        return len(self.input_ids) - self.prompt_length


def tokenise_rows(
    rows: Iterable[SourceRow], tokenizer: Any, template: PromptTemplate, max_length: int | None
) -> tuple[list[TokenRow], RowCounts]:
    """Tokenise labelled rows (`instruction`, `output`, maybe `id`).

    A row over `max_length` is dropped and counted, never cut: an answer without its end teaches a student
    never to conclude.
    """
    counts = RowCounts()
    kept: list[TokenRow] = []
    usable = usable_rows(rows, counts)
    while chunk := list(islice(usable, _CHUNK)):
        # Apart, because a tokenizer may join the last letters of the prompt with the first of the answer.
        prompts = encode_texts(tokenizer, [template.prompt(instruction) for _, instruction, _ in chunk])
        answers = encode_texts(tokenizer, [format_completion(output) for _, _, output in chunk])
        for (identity, _, _), prompt, answer in zip(chunk, prompts, answers, strict=True):
            if max_length is not None and len(prompt) + len(answer) > max_length:
                counts.too_long += 1
            else:
                kept.append(TokenRow(identity, array("i", prompt + answer), len(prompt)))
    counts.kept = len(kept)
    return kept, counts


def encode_texts(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The tokens of each text, and nothing around them."""
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return encoded


def split_held_out(rows: list[TokenRow], share: float, seed: int) -> tuple[list[TokenRow], list[TokenRow]]:
    """Training rows and held-out rows; see `held_out_places`."""
    chosen = held_out_places([row.id for row in rows], share, seed)
    held_out = [rows[at] for at in sorted(chosen)]
    # Of like length together: half the padding, and the same loss, which is counted by tokens.
    held_out.sort(key=lambda row: len(row.input_ids), reverse=True)
    return [row for at, row in enumerate(rows) if at not in chosen], held_out


def to_dataset(rows: list[TokenRow]) -> Dataset:
    """As TRL takes it. `row_index` leads from a row of a batch back to its id."""
    return Dataset.from_dict(
        {
            "input_ids": [np.asarray(row.input_ids, dtype=np.int32) for row in rows],
            "labels": [row.labels for row in rows],
            "row_index": list(range(len(rows))),
        }
    )


@dataclass
class RowCollator:
    """TRL's own collator, with the rows' indices beside the tokens."""

    tokens: DataCollatorForLanguageModeling

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = self.tokens(examples)
        batch["row_index"] = torch.tensor([example["row_index"] for example in examples])
        return batch


EpochOrder = Callable[[int], list[int]]
"""The rows' indices in an epoch, by seeds and epoch alone."""


class EpochSampler(Sampler[int]):
    """Rows in an order that a resume can repeat.

    The library's samplers draw from the global generator, whose state differs after a resume, and then repeat
    some rows and miss others.
    """

    def __init__(self, rows: int, order: EpochOrder) -> None:
        self.rows = rows
        self.order = order
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch: the order differs from epoch to epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch))


def lab_order(
    lengths: Sequence[int], step_rows: int, seed: int, *, group_by_length: bool, longest_first: bool
) -> EpochOrder:
    """Shuffled, rows of like length together where wanted; see `training_order`.

    The longest rows come first in the first epoch only: what they need no later step exceeds.
    """

    def order(epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
        return training_order(
            lengths,
            step_rows,
            lambda count: _shuffled(count, generator),
            group_by_length=group_by_length,
            longest_first=longest_first and epoch == 0,
        )

    return order


def upstream_order(rows: int, dataset_seed: int, seed: int) -> EpochOrder:
    """The order of EasyDistill 1.0: rows shuffled once by `datasets`, then in each epoch by accelerate.

    Args:
        rows: How many there are.
        dataset_seed: Of the shuffle before training: `Dataset.shuffle(seed)` is NumPy's default generator.
        seed: `training.data_seed`, or `training.seed`: accelerate's `SeedableRandomSampler` adds the epoch.
    """
    once: list[int] = np.random.default_rng(dataset_seed).permutation(rows).tolist()
    return lambda epoch: [once[at] for at in _shuffled(rows, torch.Generator().manual_seed(seed + epoch))]


def _shuffled(count: int, generator: torch.Generator) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
