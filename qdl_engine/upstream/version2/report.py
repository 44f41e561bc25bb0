"""What became of the rows of a job of EasyDistill 2.x: counted, and those without an answer named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qdl_engine.core.words import one_line, two_columns
from qdl_engine.upstream.version2.harvest import Harvest

Question = tuple[str, str]
"""What is asked, and the answer to compare with, which may be empty."""

NAMED = 5
"""Rows without an answer that a terminal shows; the report's file has all of them."""


@dataclass(frozen=True)
class Lost:
    """A row without an answer."""

    row: int
    """Its place among the distinct questions of the input, from 1."""
    question: str


@dataclass(frozen=True)
class ShardReport:
    """What became of the rows of a job."""

    job: str
    requested: int
    answered: int
    written: int
    counts: dict[str, int]
    shards: int
    reused: int
    """Shards that an earlier start had finished."""
    recovered: int
    """Rows that were answered when they were asked again."""
    seconds: float
    output: str
    lost: list[Lost] = field(default_factory=list)
    """Rows without an answer, though asked again."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lost_text(self) -> str:
        """The rows without an answer in a line; empty when there are none."""
        if not self.lost:
            return ""
        named = ", ".join(f"{lost.row} ({one_line(lost.question, 40)})" for lost in self.lost[:NAMED])
        more = ", ..." if len(self.lost) > NAMED else ""
        return f"Rows without an answer, though asked again: {len(self.lost):,}: {named}{more}"

    def table(self) -> str:
        """The report as lines for a terminal."""
        lines = [("requested", f"{self.requested:,}"), ("answered", f"{self.answered:,}")]
        if self.recovered:
            lines += [("  when asked again", f"{self.recovered:,}")]
        lines += [(name, f"{count:,}") for name, count in self.counts.items() if count]
        lines += [("written", f"{self.written:,}")]
        lines += [("shards", f"{self.shards:,}"), ("already done", f"{self.reused:,}")]
        lines += [("seconds", f"{self.seconds:,.0f}")]
        return "\n".join(part for part in (two_columns(lines), self.lost_text(), self.output) if part)


def still_lost(found: Sequence[Harvest], again: Sequence[Harvest]) -> list[int]:
    """Places of the rows without an answer, after those that were answered when asked again."""
    lost = {place for part in found for place in part.lost}
    for part in again:
        lost -= part.asked - set(part.lost)
    return sorted(lost)


def shard_report(
    job: str,
    questions: Sequence[Question],
    found: Sequence[Harvest],
    again: Sequence[Harvest],
    *,
    left_out: int,
    reused: int,
    seconds: float,
    output: Path,
) -> ShardReport:
    """Count the rows of the shards in `found`, and of those `again` that asked for their lost rows."""
    counts: Counter[str] = Counter()
    for part in (*found, *again):
        counts.update(part.counts)
    counts["left out, not valid Unicode"] = left_out
    recovered = sum(part.answered for part in again)
    return ShardReport(
        job=job,
        requested=sum(part.requested for part in found),
        answered=sum(part.answered for part in found) + recovered,
        written=sum(len(part.rows) for part in (*found, *again)),
        counts=dict(counts),
        shards=len(found),
        reused=reused,
        recovered=recovered,
        seconds=seconds,
        output=str(output),
        lost=[Lost(place + 1, questions[place][0]) for place in still_lost(found, again)],
    )
