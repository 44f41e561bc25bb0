"""What can be done with answers side by side: mark differences, scroll, open, export, copy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from textual import on, work
from textual.binding import Binding
from textual.message import Message

from qdl_engine.compare.comparison import append_prompt, load_comparison
from qdl_engine.compare.difference import Difference, word_difference
from qdl_engine.core.lab import Lab
from qdl_tui.compare.answer_pane import AnswerPane, AnswerScroll
from qdl_tui.compare.models import CHOICES, Kept, read_setting, saved_options
from qdl_tui.compare.votes import VotingScreen
from qdl_tui.shared.dialogs import ChooseScreen
from qdl_tui.shared.held_keys import DIALOG
from qdl_tui.shared.messages import Said


@dataclass
class SavedListed(Message):
    """The saved comparisons that can be opened."""

    options: list[tuple[str, str]]


@dataclass
class ComparisonOpened(Message):
    """A saved comparison was read."""

    lab: Lab
    kept: Kept


@dataclass
class PromptAdded(Message):
    """`sample_prompts.txt` has one more."""

    lab: Lab
    prompts: tuple[str, ...]


@dataclass
class Exported(Message):
    """A comparison was written for others to read."""

    lab: Lab
    place: str


@dataclass
class DifferenceFound(Message):
    """Two answers were compared; the texts tell whether they are still on show."""

    texts: tuple[str, str]
    models: tuple[str, str]
    difference: Difference


class CompareActionsScreen(VotingScreen):
    """A screen with answers at hand."""

    BINDINGS = [
        Binding(
            "d", "difference", "Differences", show=False,
            tooltip="Underline what only one of two answers has; again: two others", id="compare.difference",
        ),
        Binding(
            "m", "models", "Models", show=False, tooltip="Which models take part", id="compare.models"
        ),
        Binding(
            "s", "in_step", "Scroll in step", show=False, tooltip="Scroll the answers in step, or each alone",
            id="compare.in_step",
        ),
        Binding(
            "o", "open", "Open a comparison", show=False, tooltip="A saved comparison, to walk through",
            id="compare.open",
        ),
        Binding(
            "e", "export", "Export", show=False, tooltip="Write the comparison as Markdown and JSON",
            id="compare.export",
        ),
        Binding("y", "copy", "Copy the answer", show=False, id="compare.copy"),
        Binding(
            "a", "add_prompt", "Add the prompt", show=False, tooltip="Add it to sample_prompts.txt",
            id="compare.add",
        ),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.in_step = True
        self.pair = 0
        """Which two answers are held against each other, from 1; 0 is none."""

    def show_comparison(self, kept: Kept) -> None:
        """Walk through another comparison from now on."""

    def action_models(self) -> None:
        def chosen(title: str | None) -> None:
            if title:
                self.names = CHOICES[title]
                self.remember_taste()
                self.redraw()

        options = [(title, "on show" if names == self.names else "") for title, names in CHOICES.items()]
        self.app.push_screen(ChooseScreen("Which models take part?", options), chosen)

    def action_difference(self) -> None:
        pairs = len(self._pairs())
        self.pair = (self.pair + 1) % (pairs + 1)
        if not pairs:
            self.notify("That needs two answers")
        self.mark_differences()

    def _pairs(self) -> list[tuple[AnswerPane, AnswerPane]]:
        answered = [pane for pane in self.panes() if pane.answer is not None]
        return list(combinations(answered, 2))

    def mark_differences(self) -> None:
        """Mark the pair that is wanted, as far as there is one."""
        pairs = self._pairs()
        if 0 < self.pair <= len(pairs):
            one, other = pairs[self.pair - 1]
            self.find_difference((one.answer_text, other.answer_text), (one.model, other.model))
        else:
            for pane in self.panes():
                pane.mark((), "")

    @work(thread=True, exclusive=True, group="difference", exit_on_error=False)
    def find_difference(self, texts: tuple[str, str], models: tuple[str, str]) -> None:
        self.post_message(DifferenceFound(texts, models, word_difference(*texts)))

    @on(DifferenceFound)
    def show_difference(self, message: DifferenceFound) -> None:
        panes = {pane.model: pane for pane in self.panes()}
        one, other = (panes.get(model) for model in message.models)
        if one is None or other is None or (one.answer_text, other.answer_text) != message.texts:
            return  # answered anew, or another prompt
        for pane in panes.values():
            pane.mark((), "")
        same = message.difference.same
        cut = ", as far as compared" if message.difference.cut else ""
        for pane, against, spans in (
            (one, other, message.difference.one),
            (other, one, message.difference.other),
        ):
            words = f"same as {against.title}" if same else f"not in {against.title}: underlined{cut}"
            pane.mark(spans, words)

    def action_in_step(self) -> None:
        self.in_step = not self.in_step
        self.redraw()

    @on(AnswerScroll.Scrolled)
    def follow(self, message: AnswerScroll.Scrolled) -> None:
        if self.in_step:
            for pane in self.panes():
                scroll = pane.query_one(AnswerScroll)
                if scroll is not message.source:
                    scroll.scroll_to(y=message.source.scroll_y, animate=False)

    def action_pane(self, panes: int) -> None:
        """Put the cursor on the answer beside."""
        shown = self.panes()
        at = next((place for place, pane in enumerate(shown) if pane.has_focus_within), 0)
        shown[(at + panes) % len(shown)].query_one(AnswerScroll).focus()

    @work(thread=True, exclusive=True, group=DIALOG, exit_on_error=False)
    def action_open(self) -> None:
        self.post_message(SavedListed(saved_options(self.lab)))

    @on(SavedListed)
    def choose_saved(self, message: SavedListed) -> None:
        lab = self.lab

        def chosen(name: str | None) -> None:
            if name:
                self.open_saved(lab, name)

        if message.options:
            self.app.push_screen(ChooseScreen("Open a saved comparison", message.options), chosen)
        else:
            self.notify(f"No comparison is saved yet: {self.key_of('compare.ask')} asks")

    @work(thread=True, exclusive=True, group=DIALOG, exit_on_error=False)
    def open_saved(self, lab: Lab, name: str) -> None:
        path = lab.comparisons / f"{name}.json"
        self.post_message(ComparisonOpened(lab, Kept(load_comparison(path), name)))

    @on(ComparisonOpened)
    def comparison_opened(self, message: ComparisonOpened) -> None:
        if message.lab == self.lab:
            self.show_comparison(message.kept)

    def action_export(self) -> None:
        shown = self.shown()
        if shown is None:
            self.notify("There are no answers to export")
        elif self.hides_names():
            self.notify("Vote first: the files name the models")
        else:
            self.export(self.lab, shown.kept)

    @work(thread=True, group="export", exit_on_error=False)
    def export(self, lab: Lab, kept: Kept) -> None:
        from qdl_engine.compare.export import export_comparison

        lab.exports.mkdir(parents=True, exist_ok=True)
        path = lab.exports / f"{kept.name or 'unsaved'}.md"
        export_comparison(kept.comparison, path, overwrite=True)
        export_comparison(kept.comparison, path.with_suffix(".json"), overwrite=True)
        self.post_message(Exported(lab, str(path.relative_to(lab.root))))

    @on(Exported)
    def tell_export(self, message: Exported) -> None:
        """In few words, below and in the messages: a place that is broken in two cannot be read or copied."""
        if message.lab == self.lab:
            words = f"Exported: {message.place} and .json"
            self.say_below(words)
            self.notify(f"Exported in the lab:\n{message.place}\nand beside it as .json")

    def action_copy(self) -> None:
        panes = [pane for pane in self.panes() if pane.answer is not None]
        pane = next((pane for pane in panes if pane.has_focus_within), panes[0] if panes else None)
        if pane is None or pane.answer is None:
            self.notify("There is no answer to copy")
        else:
            self.app.copy_to_clipboard(pane.answer.answer, f"the answer of {pane.title}")  # type: ignore[call-arg]

    def action_add_prompt(self) -> None:
        prompt = self.current_prompt()
        known = self.setting.prompts if self.setting is not None else ()
        if prompt in known:
            self.notify("It is in sample_prompts.txt already")
        elif prompt:
            self.add_prompt(self.lab, prompt)

    @work(thread=True, group="prompts", exit_on_error=False)
    def add_prompt(self, lab: Lab, prompt: str) -> None:
        append_prompt(lab.sample_prompts, prompt)
        self.app.post_message(Said("Added to sample_prompts.txt"))
        self.post_message(PromptAdded(lab, read_setting(lab).prompts))
