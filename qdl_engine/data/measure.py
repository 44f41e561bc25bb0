"""How many tokens rows have, counted in batches whose size is bounded however long a row is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from qdl_engine.data.sampling import Candidate

_BATCH_ROWS = 64
_BATCH_CHARACTERS = 400_000


class Tokenizer(Protocol):
    """All that preparing asks of a tokenizer."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any: ...


def batches(rows: Iterator[Candidate]) -> Iterator[list[Candidate]]:
    """Batches bounded in rows and in characters: a tokenizer needs some hundred bytes for each token."""
    batch: list[Candidate] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.instruction) + len(row.output)
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def token_counts(texts: Sequence[str], tokenizer: Tokenizer, most: int) -> list[tuple[int, bool]]:
    """The tokens of each text, and whether there are more than that.

    Of a huge text first the beginning is counted: where that alone has twice what is accepted, the rest
    cannot make it fit, and its gigabytes of tokens are never made.
    """
    counts = _count([text[:_BATCH_CHARACTERS] for text in texts], tokenizer)
    result = []
    for text, count in zip(texts, counts, strict=True):
        cut = len(text) > _BATCH_CHARACTERS
        if cut and count <= 2 * most:
            result.append((_count([text], tokenizer)[0], False))
        else:
            result.append((count, cut))
    return result


def _count(texts: list[str], tokenizer: Tokenizer) -> list[int]:
    return [len(tokens) for tokens in tokenizer(texts, add_special_tokens=False)["input_ids"]]
