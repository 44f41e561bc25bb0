"""The answers side by side: their order, scrolling in step, the pair whose differences are highlighted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

from textual import on
from textual.app import ComposeResult

from qdl_engine.compare.comparison import MODELS
from qdl_engine.compare.difference import Difference
from qdl_engine.compare.replies import Chunk, Reply
from qdl_tui.compare.answer_pane import AnswerPane, AnswerScroll
from qdl_tui.compare.lineup import TITLES
from qdl_tui.compare.live import LiveComparison, View
from qdl_tui.compare.saved import Shown
from qdl_tui.shared.split_panes import SplitPanes

Pair = tuple[AnswerPane, AnswerPane]


class AnswerPanes(SplitPanes):
    """One pane for each model; those of models that do not take part are hidden."""

    in_step = True
    """Whether the panes scroll together."""
    _pair = 0
    """Which two answers are highlighted, from 1; 0 is none."""
    _arranged: tuple[tuple[str, str], tuple[str, ...]] | None = None
    """The answers and the models that the panes are in order for."""

    def compose(self) -> ComposeResult:
        for model in MODELS:
            yield AnswerPane(model, TITLES[model])

    def pane(self, model: str) -> AnswerPane:
        return self.query_one(f"#answer-{model}", AnswerPane)

    @property
    def shown(self) -> list[AnswerPane]:
        """The panes that are visible, from left to right."""
        return [pane for pane in self.children if isinstance(pane, AnswerPane) and pane.display]

    def put_in_order(self, view: View, order: Sequence[str]) -> None:
        """Put the panes in order. The same answers keep their places, even once their names are known."""
        if self._arranged == (view.key, view.names):
            return
        self._arranged = view.key, view.names
        for place, model in enumerate(order):
            pane = self.pane(model)
            pane.display = model in view.names
            if self.children[place] is not pane:
                self.move_child(pane, before=place)
        self.apply()  # a size belongs to the place: moving with the model, it would give that away
        for place, pane in enumerate(self.shown):
            pane.set_class(place == 0, "first")
            pane.query_one(AnswerScroll).scroll_home(animate=False)

    def show(self, view: View, missing: Callable[[str], tuple[str, str]], *, hidden: bool) -> None:
        """Fill the panes.

        Args:
            view: The answers.
            missing: Of a model without an answer, its state and an explanation.
            hidden: Whether the models' names are hidden.
        """
        for place, pane in enumerate(self.shown):
            pane.show_title(f"Answer {'ABC'[place]}" if hidden else TITLES[pane.model], hidden=hidden)
            if view.live is not None:
                self._show_live(pane, view.live, hidden)
            elif view.saved is None or not self._show_saved(pane, view.saved):
                pane.show_why(*missing(pane.model))

    def _show_saved(self, pane: AnswerPane, saved: Shown) -> bool:
        """Show a saved answer, or why the model was skipped; False when it was not asked."""
        answer = saved.comparison.answers_to(saved.index).get(pane.model)
        skipped = saved.comparison.skipped.get(pane.model)
        if answer is None and skipped is not None:
            pane.show_why("skipped", skipped)
        elif answer is not None and answer != pane.answer:
            pane.show_answer(answer)
        return answer is not None or skipped is not None

    def _show_live(self, pane: AnswerPane, live: LiveComparison, hidden: bool) -> None:
        """Show an answer on its way; hidden ones all wait until the last model has answered."""
        name = pane.model
        if name in live.skipped:
            pane.show_why("skipped", live.skipped[name])
        elif hidden:
            pane.begin("waiting")
        elif name in live.answers:
            pane.show_answer(live.answers[name])
        else:
            pane.begin(live.states.get(name, ""), live.texts.get(name, ""))

    def show_reply(self, live: LiveComparison, reply: Reply, *, hidden: bool) -> None:
        """Show what one reply of the worker has changed, without drawing the rest again."""
        pane = self.pane(reply.name)
        if isinstance(reply, Chunk) and not hidden:
            pane.add_text(reply.text)
        else:
            self._show_live(pane, live, hidden)

    def show_failures(self, live: LiveComparison) -> None:
        """Show why no model gave an answer, which is not saved."""
        for pane in self.shown:
            if pane.model in live.skipped or (pane.model in live.answers and live.answers[pane.model].failed):
                self._show_live(pane, live, hidden=False)

    def focus_first(self) -> None:
        self.shown[0].query_one(AnswerScroll).focus()

    def focus_beside(self, panes: int) -> None:
        """Focus the answer so many panes to the right."""
        shown = self.shown
        at = next((place for place, pane in enumerate(shown) if pane.has_focus_within), 0)
        shown[(at + panes) % len(shown)].query_one(AnswerScroll).focus()

    @property
    def answered(self) -> list[AnswerPane]:
        """The panes with a whole answer."""
        return [pane for pane in self.shown if pane.answer is not None]

    @property
    def focused_answer(self) -> AnswerPane | None:
        """The pane whose answer has the focus, otherwise the first with an answer."""
        panes = self.answered
        return next((pane for pane in panes if pane.has_focus_within), panes[0] if panes else None)

    def toggle_reasoning(self) -> None:
        shown = not self.pane(MODELS[0]).open
        for model in MODELS:
            self.pane(model).show_reasoning(shown)

    @on(AnswerScroll.Scrolled)
    def follow(self, message: AnswerScroll.Scrolled) -> None:
        if self.in_step:
            for pane in self.shown:
                scroll = pane.query_one(AnswerScroll)
                if scroll is not message.source:
                    scroll.scroll_to(y=message.source.scroll_y, animate=False)

    def next_pair(self) -> bool:
        """Highlight the next two answers, or none after the last two; False when there are no two."""
        pairs = len(self._pairs())
        self._pair = (self._pair + 1) % (pairs + 1)
        return pairs > 0

    @property
    def pair(self) -> Pair | None:
        """The two answers whose differences are wanted, as far as they have arrived."""
        pairs = self._pairs()
        return pairs[self._pair - 1] if 0 < self._pair <= len(pairs) else None

    def _pairs(self) -> list[Pair]:
        return list(combinations(self.answered, 2))

    def mark(self, pair: Pair | None = None, difference: Difference | None = None) -> None:
        """Underline the differences of two answers and nothing else."""
        marks: dict[AnswerPane, tuple[tuple[tuple[int, int], ...], str]] = {}
        if pair is not None and difference is not None:
            cut = ", as far as compared" if difference.cut else ""
            for pane, other, spans in zip(
                pair, reversed(pair), (difference.one, difference.other), strict=True
            ):
                words = (
                    f"same as {other.title}" if difference.same else f"not in {other.title}: underlined{cut}"
                )
                marks[pane] = spans, words
        for pane in self.shown:
            pane.mark(*marks.get(pane, ((), "")))
