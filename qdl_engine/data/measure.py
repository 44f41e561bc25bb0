"""The student's tokenizer, and the tokens of rows: in batches of bounded size, however long a row is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from qdl_engine.checkpoints import TOKENIZER_FILES, check_place, hub_reachable, invalid_model, load_error
from qdl_engine.data.sampling import Candidate
from qdl_engine.easydistill.config import student_reference
from qdl_engine.lab import Lab

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


def load_tokenizer(lab: Lab, student: str) -> Tokenizer:
    """The student's own tokenizer, from a directory (in the lab or here) or from the hub.

    Raises:
        ModelError: when `student` has none.
    """
    from transformers import AutoTokenizer

    place = student_reference(lab, student)
    here = os.path.isdir(place)
    if not here:
        check_place(student, "student", lab.root)
    elif not any((Path(place) / file).is_file() for file in TOKENIZER_FILES):
        lack = "has no tokenizer" if os.listdir(place) else "is empty"
        raise invalid_model(student, "student", f"the directory {lack}")
    reachable = here or hub_reachable()
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=not reachable)
    except (OSError, ValueError, KeyError) as cause:
        raise load_error(student, "student", cause, reachable=reachable) from cause
    # It only warns about longer texts; here `max_length` is the limit, and longer rows are counted.
    tokenizer.model_max_length = sys.maxsize
    loaded: Tokenizer = tokenizer
    return loaded
