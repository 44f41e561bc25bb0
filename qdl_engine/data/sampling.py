"""From source rows to a sample: the recipe's filter, exact duplicates, a seeded order, and token counts.

Memory does not grow with the number of rows, nor with their length beyond one batch.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import join_reasoning
from qdl_engine.data.json_rows import RowPlace, SourceRow
from qdl_engine.data.report import EXAMPLES_KEPT, Tally
from qdl_engine.data.schemas import Chain, Drop, Schema, chains_of
from qdl_engine.models.checkpoint import (
    TOKENIZER_FILES,
    check_place,
    hub_reachable,
    invalid_model,
    load_error,
    student_reference,
)
from qdl_engine.settings import System1Settings, System2Settings

Recipe = System1Settings | System2Settings

_CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True, slots=True)
class FilteredRow:
    """A row that passed the filter, in the text it would be trained on."""

    place: RowPlace
    instruction: str
    output: str
    rv: float | None = None
    cd: float | None = None

    @property
    def id(self) -> str:
        """A hash of instruction and output: equal rows have equal ids."""
        return row_id(self.instruction, self.output)

    @property
    def size(self) -> int:
        """Characters of its texts."""
        return len(self.instruction) + len(self.output)

    def to_dict(self, *, levels: bool) -> dict[str, Any]:
        """The row as the lab's files hold it."""
        value: dict[str, Any] = {"id": self.id, "instruction": self.instruction, "output": self.output}
        return value | {"rv": whole(self.rv), "cd": whole(self.cd)} if levels else value


def row_id(instruction: str, output: str) -> str:
    """The stable id of a row, from the source to the batch.

    The separator keeps ("ab", "c") apart from ("a", "bc").
    """
    return hashlib.sha256(f"{instruction}\0{output}".encode()).hexdigest()[:16]


def whole(level: float | None) -> float | None:
    """A level as an int where it is a whole number, as JSON files write it."""
    return int(level) if level is not None and level.is_integer() else level


# Filter ------------------------------------------------------------------------------------------


def filter_row(row: SourceRow, schema: Schema, recipe: Recipe) -> Iterator[FilteredRow | Drop]:
    """Each chain of a source row, as it would be trained on or with the step that drops it."""
    chains = [Drop("broken", row.problem)] if row.problem else chains_of(row.value, schema)
    for chain in chains:
        yield chain if isinstance(chain, Drop) else _filter_chain(row.place, chain, recipe)


def _filter_chain(place: RowPlace, chain: Chain, recipe: Recipe) -> FilteredRow | Drop:
    """The trained row of one chain, or the first step of the report that drops it."""
    for name in ("instruction", "thought", "answer"):
        text = getattr(chain, name)
        # The tokenizer would read one as the end of a turn.
        if "<|" in text and (token := next((t for t in _CONTROL_TOKENS if t in text), None)):
            return Drop("broken", f"{name} holds the chat control token {token}")
    if not chain.instruction.strip():
        return Drop("empty", "no instruction")
    if isinstance(recipe, System2Settings):
        return _filter_reasoning(place, chain, recipe)
    if not chain.answer.strip() and not recipe.label:
        return Drop("empty", f"no answer to: {chain.instruction}")
    if chain.verified is False and not recipe.label:
        return Drop("found wrong", chain.instruction)
    return FilteredRow(place, chain.instruction, chain.answer)


def _filter_reasoning(place: RowPlace, chain: Chain, recipe: System2Settings) -> FilteredRow | Drop:
    if chain.cut:
        return Drop("no reasoning", f"reasoning never closed: {chain.instruction}")
    if not chain.answer.strip():
        return Drop("empty", f"no answer to: {chain.instruction}")
    if not chain.thought.strip():
        return Drop("no reasoning", chain.instruction)
    if recipe.require_verified and chain.verified is False:
        return Drop("found wrong", chain.instruction)
    for name, level, low, high in (
        ("RV", chain.rv, recipe.rv_min, recipe.rv_max),
        ("CD", chain.cd, recipe.cd_min, recipe.cd_max),
    ):
        if level is None and (low, high) != (0, 9):
            return Drop("no level", f"no {name}: {chain.instruction}")
        if level is not None and not low <= level <= high:
            return Drop(f"outside {name}", f"{name} {level:g}: {chain.instruction}")
    output = join_reasoning(chain.thought, chain.answer)
    return FilteredRow(place, chain.instruction, output, chain.rv, chain.cd)


# Duplicates and order ----------------------------------------------------------------------------

_BUFFER_CHARACTERS = 1 << 25
_BUFFER_ROWS = 10_000


def _priority(row: FilteredRow, seed: int, by_instruction: bool) -> int:
    """A number made of the row and the seed alone: equal rows get equal numbers, others random ones."""
    text = row.instruction if by_instruction else f"{row.instruction}\0{row.output}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=seed.to_bytes(8)).digest())


def sampled_from_all(
    rows: Iterable[FilteredRow], *, seed: int, by_instruction: bool, directory: Path, tally: Tally
) -> Iterator[FilteredRow]:
    """All rows without duplicates, in an order that `seed` draws and that does not depend on theirs.

    The rows wait in a temporary file; only 24 bytes of each stay in memory.
    """
    import numpy as np

    priorities, offsets = array("Q"), array("Q")
    with TemporaryFile(dir=directory) as spool:
        offset = 0
        for row in rows:
            priorities.append(_priority(row, seed, by_instruction))
            offsets.append(offset)
            value = [row.place, row.instruction, row.output, row.rv, row.cd]
            offset += spool.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        if not priorities:
            return

        def fetch(index: int) -> FilteredRow:
            spool.seek(offsets[index])
            place, *rest = json.loads(spool.readline())
            return FilteredRow(RowPlace(*place), *rest)

        keys = np.frombuffer(priorities, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        repeated = np.zeros(len(order), dtype=bool)
        repeated[1:] = keys[order[1:]] == keys[order[:-1]]
        for index in np.sort(order[repeated])[:EXAMPLES_KEPT]:
            again = fetch(int(index))
            tally.drop("duplicate", again.place, again.instruction)
        tally.counts["duplicate"] = int(repeated.sum())
        for index in order[~repeated]:
            yield fetch(int(index))


def sampled_from_stream(
    rows: Iterable[FilteredRow], *, wanted: int, seed: int, by_instruction: bool, tally: Tally
) -> Iterator[FilteredRow]:
    """A stream's rows through a shuffle buffer, without duplicates; read only as far as needed.

    The buffer holds chains, not source rows, so that the chains of one question do not come out in a bunch.
    It is bounded in characters too: ten thousand OmniThought chains would be 100 MB.
    """
    draw = random.Random(seed)
    buffer: list[FilteredRow] = []
    size, limit = 0, min(4 * wanted, _BUFFER_ROWS)
    for row in _unique(rows, seed, by_instruction, tally):
        buffer.append(row)
        size += row.size
        while len(buffer) > limit or size > _BUFFER_CHARACTERS:
            place = draw.randrange(len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            chosen = buffer.pop()
            size -= chosen.size
            yield chosen
    draw.shuffle(buffer)
    yield from buffer


def _unique(
    rows: Iterable[FilteredRow], seed: int, by_instruction: bool, tally: Tally
) -> Iterator[FilteredRow]:
    seen: set[int] = set()
    for row in rows:
        key = _priority(row, seed, by_instruction)
        if key in seen:
            tally.drop("duplicate", row.place, row.instruction)
            continue
        seen.add(key)
        yield row


# Tokens ------------------------------------------------------------------------------------------

_BATCH_ROWS = 64
_BATCH_CHARACTERS = 400_000


class Tokenizer(Protocol):
    """All that preparing needs of a tokenizer."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any: ...


def batches(rows: Iterator[FilteredRow]) -> Iterator[list[FilteredRow]]:
    """Batches bounded in rows and in characters: a tokenizer needs some hundred bytes for each token."""
    batch: list[FilteredRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.size
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def token_counts(texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> list[tuple[int, bool]]:
    """The tokens of each text, and whether the text has more than were counted.

    Of a huge text only the beginning is tokenised first. When that alone has over twice `limit`, the rest
    cannot make it fit, and its gigabytes of tokens are never made.
    """
    counts = _count([text[:_BATCH_CHARACTERS] for text in texts], tokenizer)
    result = []
    for text, count in zip(texts, counts, strict=True):
        cut = len(text) > _BATCH_CHARACTERS
        if cut and count <= 2 * limit:
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
    # Its own limit only warns about longer texts; `max_length` is the limit here, and longer rows count.
    tokenizer.model_max_length = sys.maxsize
    loaded: Tokenizer = tokenizer
    return loaded
