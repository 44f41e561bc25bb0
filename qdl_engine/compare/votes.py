"""Votes on answers side by side, and what a few votes can say about a model.

Append-only JSON lines in the lab. A later vote by the same person on the same answers replaces the earlier
one only when the votes are counted; the file keeps both.
"""

from __future__ import annotations

import getpass
import json
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qdl_engine.compare.comparison import MODELS, Comparison, now
from qdl_engine.compare.evaluate import wilson_interval
from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab

TIE = "tie"
BAD = "bad"
"""All answers are bad: no model wins."""


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
    """The order of the panes in blind mode: shuffled, and always the same for the same comparison."""
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
        order: The models from the left pane to the right; by default in the order they were asked.
        blind: Whether the names were hidden until the vote.

    Raises:
        LabError: when fewer than two models answered.
        SettingsError: when the comparison has no such prompt, or no answer from that model.
    """
    if not 0 <= index < len(comparison.prompts):
        raise SettingsError(
            f"No prompt {index + 1} in comparison {name}", f"It has {len(comparison.prompts)}, from 1."
        )
    names = comparison.votable(index, order or comparison.models)
    if len(names) < 2:
        raise LabError("A vote needs two answers", f"Prompt {index + 1} has {len(names)}.")
    if best not in (*names, TIE, BAD):
        raise SettingsError(
            f"No answer of {best!r} to vote for", f"Accepted: {', '.join((*names, TIE, BAD))}."
        )
    models = tuple(candidates(comparison, names))
    return Vote(now(), voter(), name, comparison.prompts[index], models, best, blind)


def candidates(comparison: Comparison, names: Iterable[str]) -> list[Candidate]:
    """What votes on the answers of these models count for."""
    return [Candidate(name, comparison.models[name].path, comparison.models[name].written) for name in names]


def voter() -> str:
    """The name that votes are stored under: the user's."""
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
    """The votes that count, oldest first: only the last vote of each person on the same answers.

    Lines that are not votes are skipped.
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
    """The stored vote that `vote` will replace."""
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
    """How often each model was the best of those shown beside it, with its 95 % interval.

    A tie is half a win for each; "all bad" is a win for none. The interval is E. B. Wilson's
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
    places: dict[str, int] = {name: place for place, name in enumerate(MODELS)}
    return sorted(newest_first, key=lambda score: places.get(score.model.name, len(places)))


def scores_text(scores: Sequence[VoteScore]) -> str:
    """The scores as a table."""
    lines = [f"{'model':<10}{'weights of':<18}{'votes':>6}{'best':>6}{'ties':>6}{'rate':>7}  95 % interval"]
    for score in scores:
        written = score.model.written[:16].replace("T", " ") or "-"
        interval = f"{score.low:.0%} to {score.high:.0%}"
        lines.append(
            f"{score.model.name:<10}{written:<18}{score.votes:>6}{score.best:>6}{score.ties:>6}"
            f"{score.rate:>7.0%}  {interval}"
        )
    return "\n".join(lines)
