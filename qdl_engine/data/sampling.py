"""The recipe's own filter, exact duplicates, and seeded sampling whose memory does not grow with the rows.

The student's tokenizer, and the tokens of rows: in batches of bounded size, however long a row is.
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
from qdl_engine.data.report import EXAMPLES_KEPT, Tally
from qdl_engine.data.schemas import Chain, Drop
from qdl_engine.models.checkpoint import (
    TOKENIZER_FILES,
    check_place,
    hub_reachable,
    invalid_model,
    load_error,
    student_reference,
)
from qdl_engine.settings import System1Settings, System2Settings

_CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_BUFFER_CHARACTERS = 1 << 25
_BUFFER_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that passed the filter, as it will be trained on."""

    place: tuple[int, int]
    """Line and row of the source, for the report."""
    instruction: str
    output: str
    rv: float | None = None
    cd: float | None = None

    @property
    def id(self) -> str:
        return row_id(self.instruction, self.output)


def row_id(instruction: str, output: str) -> str:
    """The stable id of a row: it follows the row from the source to the batch.

    The separator keeps ("ab", "c") apart from ("a", "bc").
    """
    return hashlib.sha256(f"{instruction}\0{output}".encode()).hexdigest()[:16]


def candidate(
    place: tuple[int, int], chain: Chain, settings: System1Settings | System2Settings
) -> Candidate | Drop:
    """The trained row of one chain, or the step that drops it. Steps are tried in the report's order."""
    for name, text in (
        ("instruction", chain.instruction),
        ("thought", chain.thought),
        ("answer", chain.answer),
    ):
        if (problem := _unusable(text)) is not None:
            return Drop("broken", f"{name} {problem}")
    if not chain.instruction.strip():
        return Drop("empty", "no instruction")
    if isinstance(settings, System2Settings):
        return _system2(place, chain, settings)
    if not chain.answer.strip() and not settings.label:
        return Drop("empty", f"no answer to: {chain.instruction}")
    if chain.verified is False and not settings.label:
        return Drop("found wrong", chain.instruction)
    return Candidate(place, chain.instruction, chain.answer)


def _unusable(text: str) -> str | None:
    """Why this text must not be put into a prompt; None when it may."""
    if "<|" in text and (token := next((t for t in _CONTROL_TOKENS if t in text), None)):
        return f"holds the chat control token {token}"
    return None


def _system2(place: tuple[int, int], chain: Chain, settings: System2Settings) -> Candidate | Drop:
    if chain.cut:
        return Drop("no reasoning", f"reasoning never closed: {chain.instruction}")
    if not chain.answer.strip():
        return Drop("empty", f"no answer to: {chain.instruction}")
    if not chain.thought.strip():
        return Drop("no reasoning", chain.instruction)
    if settings.require_verified and chain.verified is False:
        return Drop("found wrong", chain.instruction)
    for name, level, low, high in (
        ("RV", chain.rv, settings.rv_min, settings.rv_max),
        ("CD", chain.cd, settings.cd_min, settings.cd_max),
    ):
        if level is None and (low, high) != (0, 9):
            return Drop("no level", f"no {name}: {chain.instruction}")
        if level is not None and not low <= level <= high:
            return Drop(f"outside {name}", f"{name} {level:g}: {chain.instruction}")
    return Candidate(
        place, chain.instruction, join_reasoning(chain.thought, chain.answer), chain.rv, chain.cd
    )


def _priority(row: Candidate, seed: int, by_instruction: bool) -> int:
    """A number made of the row and the seed alone: equal rows get equal numbers, others random ones."""
    text = row.instruction if by_instruction else f"{row.instruction}\0{row.output}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=seed.to_bytes(8)).digest())


def sampled_from_all(
    rows: Iterable[Candidate], *, seed: int, by_instruction: bool, directory: Path, tally: Tally
) -> Iterator[Candidate]:
    """All rows, without duplicates, in an order drawn by `seed` that does not depend on theirs.

    The rows wait in a temporary file, and 24 bytes of each in memory.
    """
    import numpy as np

    priorities, offsets = array("Q"), array("Q")
    with TemporaryFile(dir=directory) as spool:
        offset = 0
        for row in rows:
            priorities.append(_priority(row, seed, by_instruction))
            offsets.append(offset)
            offset += spool.write(_pack(row))
        if not priorities:
            return

        def fetch(index: int) -> Candidate:
            spool.seek(offsets[index])
            place, *rest = json.loads(spool.readline())
            return Candidate(tuple(place), *rest)

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


def _pack(row: Candidate) -> bytes:
    return (
        json.dumps([row.place, row.instruction, row.output, row.rv, row.cd], ensure_ascii=False).encode()
        + b"\n"
    )


def sampled_from_stream(
    rows: Iterable[Candidate], *, wanted: int, seed: int, by_instruction: bool, tally: Tally
) -> Iterator[Candidate]:
    """Rows of a stream through a shuffle buffer, without duplicates; it is read only as far as needed.

    The buffer holds chains, not source rows, so that the chains of one question do not come out in a bunch.
    It is bounded in characters as well: ten thousand OmniThought chains would be 100 MB.
    """
    draw = random.Random(seed)
    buffer: list[Candidate] = []
    size, limit = 0, min(4 * wanted, _BUFFER_ROWS)
    for row in _unique(rows, seed, by_instruction, tally):
        buffer.append(row)
        size += len(row.instruction) + len(row.output)
        while len(buffer) > limit or size > _BUFFER_CHARACTERS:
            place = draw.randrange(len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            chosen = buffer.pop()
            size -= len(chosen.instruction) + len(chosen.output)
            yield chosen
    draw.shuffle(buffer)
    yield from buffer


def _unique(rows: Iterable[Candidate], seed: int, by_instruction: bool, tally: Tally) -> Iterator[Candidate]:
    seen: set[int] = set()
    for row in rows:
        key = _priority(row, seed, by_instruction)
        if key in seen:
            tally.drop("duplicate", row.place, row.instruction)
            continue
        seen.add(key)
        yield row


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
