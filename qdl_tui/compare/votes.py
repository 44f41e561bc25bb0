"""Votes on answers side by side, and the blind mode that hides whose they are."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on, work
from textual.binding import Binding
from textual.message import Message

from qdl_engine.compare.votes import BAD, TIE, Vote, append_vote, make_vote, read_votes
from qdl_engine.core.lab import Lab
from qdl_tui.compare.answer_pane import AnswerPane
from qdl_tui.compare.asking_screen import AskingScreen
from qdl_tui.compare.models import CHOICES, MODELS, Shown
from qdl_tui.compare.session import voteable
from qdl_tui.shared.messages import Said
from qdl_tui.shared.state import CompareTaste


@dataclass
class VotesRead(Message):
    """The votes of a lab."""

    lab: Lab
    votes: list[Vote]


class VotingScreen(AskingScreen):
    """A screen with answers that can be voted on."""

    BINDINGS = [
        Binding(
            "b", "blind", "Blind mode", show=False, tooltip="Hide names until you voted", id="compare.blind"
        ),
        Binding("L", "vote('left')", "Vote: left is best", show=False, id="compare.vote_left"),
        Binding("M", "vote('middle')", "Vote: middle is best", show=False, id="compare.vote_middle"),
        Binding("R", "vote('right')", "Vote: right is best", show=False, id="compare.vote_right"),
        Binding("T", "vote('tie')", "Vote: a tie", show=False, id="compare.vote_tie"),
        Binding("B", "vote('bad')", "Vote: all are bad", show=False, id="compare.vote_bad"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.votes: list[Vote] = []
        self.blind = False

    def shown(self) -> Shown | None:
        """The answers on show."""
        return None

    def panes(self) -> list[AnswerPane]:
        """The panes on show, from left to right."""
        return []

    def hides_names(self) -> bool:
        """Whether the names of the answers on show are hidden."""
        return False

    def redraw(self) -> None:
        """Show everything as it stands now."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "vote":
            places = len(self._voteable())
            return places >= 2 and (places == 3 or parameters != ("middle",))
        return super().check_action(action, parameters)

    def _voteable(self) -> list[str]:
        shown = self.shown()
        return [] if shown is None else voteable(shown, [pane.model for pane in self.panes()])

    def remember_taste(self) -> None:
        """Keep who takes part in this lab's comparisons, and whether names are hidden."""
        self.lab_app.state.compare[str(self.lab.root)] = CompareTaste(self.names, self.blind)
        self.lab_app.save_state()

    def recall_taste(self) -> None:
        """Compare as it was last done in this lab."""
        taste = self.lab_app.state.compare.get(str(self.lab.root), CompareTaste())
        self.names = taste.models if taste.models in CHOICES.values() else MODELS
        self.blind = taste.blind

    def action_blind(self) -> None:
        self.blind = not self.blind
        self.remember_taste()
        self.redraw()
        if not self.blind:
            self.say_below("Not blind any more: names are shown")
        elif not self.hides_names():
            self.say_below("Blind from the next question")

    def action_vote(self, verdict: str) -> None:
        shown = self.shown()
        names = self._voteable()
        if shown is None or len(names) < 2:
            return
        if not shown.kept.name:
            self.notify("It is not saved yet")
            return
        before = shown.vote_in(self.votes)
        if before is not None and before.blind:
            self.notify("Your blind vote stays: the names are seen now")
            return
        places = {"left": names[0], "middle": names[1], "right": names[-1], "tie": TIE, "bad": BAD}
        vote = make_vote(
            shown.comparison,
            shown.kept.name,
            shown.index,
            places[verdict],
            order=names,
            blind=self.hides_names(),
        )
        self.votes = [*self.votes, vote]
        self.redraw()
        self.keep_vote(self.lab, vote)

    @work(thread=True, group="votes", exit_on_error=False)
    def keep_vote(self, lab: Lab, vote: Vote) -> None:
        try:
            append_vote(lab, vote)
        except OSError as cause:
            words = f"The vote could not be saved to {lab.votes}: {cause.strerror or cause}"
            self.app.post_message(Said(words, severe=True))
        self.post_message(VotesRead(lab, read_votes(lab)))

    @on(VotesRead)
    def votes_read(self, message: VotesRead) -> None:
        if message.lab == self.lab:
            self.votes = message.votes
            self.redraw()
