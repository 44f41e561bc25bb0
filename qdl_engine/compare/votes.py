"""Votes on answers side by side, and what so few of them can say about a model.

Append-only JSON lines in the lab: a vote is a fact, and a later vote of the same person on the same answers
takes its place only when the votes are counted.
"""

from __future__ import annotations

import getpass
import json
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qdl_engine.compare.comparison import Comparison, now
from qdl_engine.compare.evaluate import wilson_interval
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab

TIE = "tie"
BAD = "bad"
"""All are bad: nobody wins."""


@dataclass(frozen=True)
class Candidate:
    """One model that was voted on. The weights of a later training are another candidate."""

    name: str
    path: str
    written: str


@dataclass(frozen=True)
class Vote:
    """What one person thought of the answers to one prompt."""

    time: str
    who: str
    comparison: str
    """The name of the saved comparison."""
    prompt: str
    models: tuple[Candidate, ...]
    """Those that answered, from the left pane to the right."""
    best: str
    """The name of a model, `tie`, or `bad`."""
    blind: bool
    """Whether the names were hidden, and the panes shuffled, until this vote."""


@dataclass(frozen=True)
class VoteScore:
    """How often one model was the best."""

    model: Candidate
    votes: int
    best: int
    ties: int
    rate: float
    """(best + ties / 2) / votes."""
    low: float
    """Lower end of the Wilson 95 % interval."""
    high: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.rate:.0%} ({self.low:.0%} to {self.high:.0%})"


def blind_order(names: Sequence[str], created: str, prompt: str) -> list[str]:
    """The order of the panes in blind mode: shuffled, but the same whenever the same comparison is shown."""
    order = list(names)
    random.Random(f"{created}\n{prompt}").shuffle(order)
    return order


def make_vote(
    comparison: Comparison,
    name: str,
    index: int,
    best: str,
    *,
    order: Sequence[str] = (),
    blind: bool = False,
) -> Vote:
    """A vote on the answers to the prompt at `index` of a saved comparison.

    Args:
        comparison: What was compared.
        name: The name it is saved under.
        index: Which prompt, from 0.
        best: The name of a model that answered, `tie`, or `bad`.
        order: The models from the left pane to the right; left out, they stand as they were asked.
        blind: Whether the names were hidden until the vote.

    Raises:
        LabError: when fewer than two models answered.
        SettingsError: when there is no such prompt or no such model among them.
    """
    if not 0 <= index < len(comparison.prompts):
        raise SettingsError(
            f"No prompt {index + 1} in comparison {name}", f"It has {len(comparison.prompts)}, from 1."
        )
    answers = comparison.answers_to(index)
    names = [model for model in (order or answers) if model in answers and not answers[model].failed]
    if len(names) < 2:
        raise LabError("A vote needs two answers", f"Prompt {index + 1} has {len(names)}.")
    if best not in (*names, TIE, BAD):
        raise SettingsError(
            f"No answer of {best!r} to vote for", f"Accepted: {', '.join((*names, TIE, BAD))}."
        )
    candidates = tuple(
        Candidate(model, comparison.models[model].path, comparison.models[model].written) for model in names
    )
    return Vote(now(), voter(), name, comparison.prompts[index], candidates, best, blind)


def voter() -> str:
    """Whose votes are cast here: the user's name."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


def append_vote(lab: Lab, vote: Vote) -> None:
    """Store one vote in a single write, on a line of its own even after a line that a crash cut short."""
    lab.votes.parent.mkdir(parents=True, exist_ok=True)
    with open(lab.votes, "ab+", buffering=0) as handle:
        end = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, end - 1))
        gap = b"" if handle.read(1) in (b"", b"\n") else b"\n"
        # ASCII: half a character in a prompt must not lose the vote.
        handle.write(gap + json.dumps(asdict(vote)).encode("ascii") + b"\n")


def read_votes(lab: Lab) -> list[Vote]:
    """The votes that count, oldest first: of one person's votes on the same answers only the last.

    Lines that are no votes are skipped.
    """
    if not lab.votes.exists():
        return []
    counted: dict[tuple[str, str, str], Vote] = {}
    with open(lab.votes, "rb") as lines:
        for line in lines:
            vote = _parse(line)
            if vote is not None:
                key = (vote.who, vote.comparison, vote.prompt)
                counted.pop(key, None)
                counted[key] = vote
    return list(counted.values())


def replaced_by(lab: Lab, vote: Vote) -> Vote | None:
    """The vote that counted until now, and in whose place `vote` comes once it is stored."""
    key = (vote.who, vote.comparison, vote.prompt)
    return next((old for old in read_votes(lab) if (old.who, old.comparison, old.prompt) == key), None)


def _parse(line: bytes) -> Vote | None:
    try:
        value = json.loads(line)
        models = tuple(Candidate(**model) for model in value["models"])
        return Vote(**(value | {"models": models}))
    except (ValueError, KeyError, TypeError):
        return None


def vote_scores(votes: Iterable[Vote]) -> list[VoteScore]:
    """For each model how often it was the best of those beside it, with the interval that so few support.

    A tie is half a win for each; a vote that all are bad is a win for none. The interval is E. B. Wilson's
    ("Probable inference, the law of succession, and statistical inference", JASA 22, 1927): it stays within
    0 and 1, and is honest for few votes.
    """
    counts: dict[Candidate, list[int]] = {}
    for vote in votes:
        for model in vote.models:
            count = counts.setdefault(model, [0, 0, 0])
            count[0] += 1
            count[1] += vote.best == model.name
            count[2] += vote.best == TIE
    scores = []
    for model, (total, best, ties) in counts.items():
        points = best + ties / 2
        low, high = wilson_interval(points, total)
        scores.append(VoteScore(model, total, best, ties, points / total, low, high))
    newest_first = sorted(scores, key=lambda score: score.model.written, reverse=True)
    names = ("teacher", "system1", "system2")
    return sorted(
        newest_first, key=lambda score: names.index(score.model.name) if score.model.name in names else 9
    )


def scores_text(scores: Sequence[VoteScore]) -> str:
    """The scores as a table for a person."""
    lines = [f"{'model':<10}{'weights of':<18}{'votes':>6}{'best':>6}{'ties':>6}{'rate':>7}  95 % interval"]
    for score in scores:
        written = score.model.written[:16].replace("T", " ") or "-"
        interval = f"{score.low:.0%} to {score.high:.0%}"
        lines.append(
            f"{score.model.name:<10}{written:<18}{score.votes:>6}{score.best:>6}{score.ties:>6}"
            f"{score.rate:>7.0%}  {interval}"
        )
    return "\n".join(lines)
