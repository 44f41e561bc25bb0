"""The votes of a lab, and the blind mode that hides whose the answers are until the user has voted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qdl_engine.compare.comparison import MODELS
from qdl_engine.compare.votes import (
    BAD,
    TIE,
    Candidate,
    Vote,
    blind_order,
    make_vote,
    vote_scores,
    voter,
)
from qdl_tui.compare.lineup import TITLES
from qdl_tui.compare.live import View
from qdl_tui.compare.saved import Shown

_VERDICTS = {TIE: "a tie", BAD: "all are bad"}


class Voting:
    """What was voted, and whether names are hidden now."""

    def __init__(self, *, blind: bool = False) -> None:
        self.votes: list[Vote] = []
        self.blind = blind
        self._seen: set[tuple[str, str]] = set()
        """Answers that were shown with their names: no vote on them is blind."""

    def own_vote(self, saved: Shown | None) -> Vote | None:
        """The user's last vote on these answers; what others voted must not tell the names."""
        if saved is None:
            return None
        mine = (voter(), saved.kept.name, saved.prompt)
        found = [vote for vote in self.votes if (vote.who, vote.comparison, vote.prompt) == mine]
        return found[-1] if found else None

    def hides_names(self, view: View) -> bool:
        """Whether the names of these answers are hidden."""
        if not self.blind or view.key in self._seen:
            return False
        return view.live is not None or (len(view.votable) > 1 and self.own_vote(view.saved) is None)

    def see(self, view: View) -> None:
        """These answers are now on show with their names."""
        if view.live is not None or view.saved is not None:
            self._seen.add(view.key)

    def order(self, view: View) -> list[str]:
        """The models from left to right: shuffled while their names are hidden."""
        if not self.hides_names(view):
            return list(MODELS)
        shuffled = blind_order([name for name in MODELS if name in view.answering], *view.key)
        return [*shuffled, *(name for name in MODELS if name not in shuffled)]

    def vote(self, view: View, saved: Shown, verdict: str, names: Sequence[str]) -> Vote:
        """Vote on saved answers.

        Args:
            view: What is on show.
            saved: Its answers.
            verdict: `left`, `middle`, `right`, `tie` or `bad`.
            names: The models whose answers can be voted on, from left to right.
        """
        best = {"left": names[0], "middle": names[1], "right": names[-1], "tie": TIE, "bad": BAD}[verdict]
        blind = self.hides_names(view)
        vote = make_vote(saved.comparison, saved.kept.name, saved.index, best, order=names, blind=blind)
        self.votes = [*self.votes, vote]
        return vote

    def verdict_text(self, saved: Shown) -> str:
        """What the user voted on these answers; empty without a vote."""
        vote = self.own_vote(saved)
        if vote is None:
            return ""
        verdict = _VERDICTS.get(vote.best) or f"{TITLES.get(vote.best, vote.best)} is best"
        return f"You voted{' blind' if vote.blind else ''}: {verdict}."

    def mode_text(self, view: View) -> str:
        """What blind mode does to these answers; empty when it is off or has done its part."""
        if not self.blind:
            return ""
        if view.saved is None or self.hides_names(view):
            return "blind mode"
        voted = self.own_vote(view.saved) is not None
        return "" if voted else "Already seen with names; blind mode starts with the next prompt."

    def scores_text(self, models: Iterable[Candidate]) -> str:
        """How often each of these models was the best, in one line; empty without votes on them."""
        wanted = list(models)
        scores = [score for score in vote_scores(self.votes) if score.model in wanted]
        if not scores:
            return ""
        most = max(score.votes for score in scores)
        parts = [
            f"{TITLES[score.model.name]} {score.rate:.0%} ({score.low * 100:.0f}-{score.high * 100:.0f})"
            for score in scores
        ]
        return "  ".join([f"{most} vote{'s' if most != 1 else ''}", *parts])
