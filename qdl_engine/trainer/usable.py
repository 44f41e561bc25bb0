"""Which rows can be trained, and which are held out. Light: preflight asks the same without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdl_engine.data.sampling import row_id
from qdl_engine.data.sources import SourceRow
from qdl_engine.prompts import END_OF_TURN


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
