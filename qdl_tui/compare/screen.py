"""Screen 6, the comparison: teacher, System 1 and System 2 side by side under one prompt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from qdl_engine.compare.comparison import Answer
from qdl_engine.compare.votes import BAD, TIE, Candidate, Vote, blind_order
from qdl_engine.core.words import printable
from qdl_tui.compare.answer_pane import AnswerPane, AnswerScroll
from qdl_tui.compare.models import MODELS, TITLES, Shown, date_text, scores_line
from qdl_tui.compare.session import Asking, voteable
from qdl_tui.compare.walking import PromptInput, WalkingScreen
from qdl_tui.shared.split_panes import SplitPanes


class CompareScreen(WalkingScreen):
    """One prompt, up to three answers, streamed in as they are written."""

    MODE = "compare"
    TICK = 0.0
    CSS_PATH = "compare.tcss"
    BINDINGS = [
        Binding("t", "reasoning", "Reasoning", tooltip="Fold or open the reasoning", id="compare.reasoning"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._drawn: tuple[tuple[str, str], tuple[str, ...]] | None = None
        """Of which answers, and of which models, the panes have their order."""
        self._seen: set[tuple[str, str]] = set()
        """Answers that were shown with their names: no vote on them is blind."""
        self._order: list[str] = list(MODELS)
        self._said_below = ""
        """What was told last, until something else is done."""

    def compose_body(self) -> Iterable[Widget]:
        with Horizontal(id="prompt-row"):
            yield Static("Prompt", markup=False, id="prompt-place")
            yield PromptInput(id="prompt", placeholder=f"{self.key_of('compare.edit')}: type a prompt")
        with SplitPanes(name="answers", kept=self.lab_app.state.splits, id="answers"):
            for model in MODELS:
                yield AnswerPane(model, TITLES[model])
        yield Static("", markup=False, id="compare-about")
        yield Static("", markup=False, id="compare-score")

    def on_mount(self) -> None:
        self.query(AnswerScroll).first().focus()

    def action_reasoning(self) -> None:
        opened = not self.query(AnswerPane).first().open
        for pane in self.query(AnswerPane):
            pane.toggle_reasoning(opened)

    def panes(self) -> list[AnswerPane]:
        return [self.query_one(f"#answer-{name}", AnswerPane) for name in self._order if name in self.names]

    def _key(self) -> tuple[str, str]:
        """Tells the answers on show, or on their way, from others."""
        if self.asking is not None and self.is_live():
            return self.asking.kept.comparison.created, self.asking.prompt
        shown = self.known.get(self.current_prompt())
        return shown.key if shown is not None else ("", self.current_prompt())

    def hides_names(self) -> bool:
        if not self.blind or self._key() in self._seen:
            return False
        if self.is_live():
            return True
        shown = self.shown()
        if shown is None:
            return False
        return len(voteable(shown, self.names)) > 1 and shown.vote_in(self.votes) is None

    def redraw(self) -> None:
        self._arrange()
        hidden = self.hides_names()
        if not hidden and (self.is_live() or self.shown() is not None):
            self._seen.add(self._key())
        for place, pane in enumerate(self.panes()):
            pane.show_title(f"Answer {'ABC'[place]}" if hidden else TITLES[pane.model], hidden=hidden)
            self._fill(pane)
        self._show_place()
        self._show_about(hidden)
        self.mark_differences()
        self.refresh_bindings()

    def _arrange(self) -> None:
        """Put the panes in their order; once it is found, answers keep their places."""
        drawn = (self._key(), self.names)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self._order = list(MODELS)
        if self.hides_names():
            created, prompt = self._key()
            there = self._answering()
            shuffled = blind_order([name for name in MODELS if name in there], created, prompt)
            self._order = [*shuffled, *(name for name in MODELS if name not in shuffled)]
        answers = self.query_one(SplitPanes)
        for place, name in enumerate(self._order):
            pane = self.query_one(f"#answer-{name}", AnswerPane)
            pane.display = name in self.names
            if answers.children[place] is not pane:
                answers.move_child(pane, before=place)
        answers.apply()  # a size is the place's, not the model's: it would tell which one it is
        for pane in self.query(AnswerPane):
            pane.set_class(pane is self.panes()[0], "first")
            pane.query_one(AnswerScroll).scroll_home(animate=False)

    def _answering(self) -> set[str]:
        """The models that answer, or have answered, the prompt on show."""
        if self.asking is not None and self.is_live():
            return set(self.asking.states)
        shown = self.shown()
        return set() if shown is None else set(voteable(shown, self.names))

    def _fill(self, pane: AnswerPane) -> None:
        if self.asking is not None and self.is_live():
            self._fill_live(pane, self.asking)
            return
        shown = self.shown()
        if shown is not None:
            answer = shown.comparison.answers_to(shown.index).get(pane.model)
            if answer is not None:
                if answer != pane.answer:
                    pane.show_answer(answer)
                return
            if pane.model in shown.comparison.skipped:
                pane.show_why("skipped", shown.comparison.skipped[pane.model])
                return
        missing = self.problem or (self.setting and self.setting.contestant(pane.model).missing) or ""
        asks = f"{self.key_of('compare.ask')} asks."
        not_asked = f"Not asked in this comparison. {asks}" if shown is not None else asks
        pane.show_why("not there" if missing else "", missing or (not_asked if self.current_prompt() else ""))

    def _fill_live(self, pane: AnswerPane, asking: Asking) -> None:
        """A pane while its answer is on its way; hidden ones all wait until the last has answered."""
        name = pane.model
        skipped = asking.kept.comparison.skipped.get(name)
        if skipped is not None:
            pane.show_why("skipped", skipped)
        elif self.hides_names():
            pane.begin("waiting")
        elif name in asking.answers:
            pane.show_answer(asking.answers[name])
        else:
            pane.begin(asking.states.get(name, ""), asking.texts.get(name, ""))

    def show_asking(self) -> None:
        self.redraw()

    def show_event(self, asking: Asking, event: dict[str, Any]) -> None:
        name = str(event.get("name", ""))
        if name not in self.names or not self.is_live():
            return
        pane = self.query_one(f"#answer-{name}", AnswerPane)
        if event.get("event") == "chunk" and not self.hides_names():
            pane.add_text(str(event.get("text", "")))
        else:
            self._fill_live(pane, asking)

    def show_answered(self, asking: Asking, shown: Shown | None) -> None:
        """Show what came; when all prompts are asked in turn, go along, unless another one was walked to."""
        watched = self.current_prompt()
        last = shown.prompt if shown is not None else watched
        if shown is not None:
            self.known[shown.prompt] = shown
        if self.asking is not None and watched == last:
            self.go_to(asking.prompt)
        self.redraw()
        if shown is None and self.asking is None:
            self._show_failures(asking)

    def _show_failures(self, asking: Asking) -> None:
        failed: dict[str, Answer] = {name: one for name, one in asking.answers.items() if one.failed}
        for pane in self.panes():
            if pane.model in failed:
                pane.show_answer(failed[pane.model])
            elif pane.model in asking.kept.comparison.skipped:
                pane.show_why("skipped", asking.kept.comparison.skipped[pane.model])

    def show_saved(self) -> None:
        self.redraw()

    def say_below(self, words: str) -> None:
        self._said_below = words
        self.redraw()

    def on_key(self) -> None:
        """The next key takes it away, as it does with all that is only told."""
        if self._said_below:
            self.say_below("")

    def _show_place(self) -> None:
        at = self.current_prompt()
        there = bool(self.prompts) and self.prompts[self.position] == at
        place = f"Prompt {self.position + 1}/{len(self.prompts)}" if there else "Prompt"
        self.query_one("#prompt-place", Static).update(Content.styled(place, "bold $accent"))

    def _show_about(self, hidden: bool) -> None:
        alone = "" if self.in_step else "each scrolls alone"
        text = "  ".join(filter(None, [self._about_text(hidden), self._blind_text(hidden), alone]))
        if hidden and len(text) > self.size.width - 2:
            text = self._about_text(hidden)  # that names are hidden is seen
        self.query_one("#compare-about", Static).update(Content(printable(text)))
        score = self.query_one("#compare-score", Static)
        scores = "" if hidden else scores_line(self.votes, self._candidates())
        line = "  ".join(filter(None, [self._said_below, scores]))
        score.display = bool(line)
        score.update(Content(printable(line)))

    def _blind_text(self, hidden: bool) -> str:
        """Whether names are hidden; answers that were seen with theirs cannot be voted on blind any more."""
        if not self.blind:
            return ""
        shown = self.shown()
        if hidden or shown is None:
            return "blind mode"
        voted = shown.vote_in(self.votes) is not None
        return "" if voted else "blind mode: these were seen with their names"

    def _about_text(self, hidden: bool) -> str:
        if self.asking is not None:
            total = len(self.asking.prompts)
            of = f" {self.asking.position + 1} of {total}" if total > 1 else ""
            return f"Asking{of}: {self.key_of('compare.cancel')} cancels"
        shown = self.shown()
        if shown is None:
            return ""
        if hidden:
            places = ("left", "middle", "right") if len(self._answering()) == 3 else ("left", "right")
            keys = [f"{self.key_of(f'compare.vote_{place}')} {place}" for place in places]
            tie, bad = self.key_of("compare.vote_tie"), self.key_of("compare.vote_bad")
            votes = f"{'  '.join(keys)}  {tie} tie  {bad} all bad"
            question = "Which is best?"
            # Narrow, and with keys of one's own, the keys matter more.
            return votes if len(question) + 2 + len(votes) > self.size.width - 2 else f"{question}  {votes}"
        vote = shown.vote_in(self.votes)
        date = date_text(shown.comparison.created)
        how = "You voted blind" if vote is not None and vote.blind else "You voted"
        voted = f"  {how}: {_verdict(vote)}." if vote is not None else ""
        return f"{date}{'' if shown.kept.name else ', not saved yet'}{voted}"

    def _candidates(self) -> list[Candidate]:
        """The models that votes are counted for: those on show, otherwise those that would be asked."""
        shown = self.shown()
        if shown is not None:
            models = shown.comparison.models
            return [Candidate(name, models[name].path, models[name].written) for name in models]
        contestants = self.setting.contestants if self.setting is not None else ()
        return [Candidate(item.name, item.path, item.written) for item in contestants]


def _verdict(vote: Vote) -> str:
    words = {TIE: "a tie", BAD: "all are bad"}
    return words.get(vote.best) or f"{TITLES.get(vote.best, vote.best)} is best"
