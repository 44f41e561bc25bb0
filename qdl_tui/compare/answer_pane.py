"""One model's answer: its name and state, the reasoning hidden or shown, the answer, its figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from qdl_engine.compare.comparison import Answer
from qdl_engine.core.prompts import split_completion
from qdl_engine.core.words import printable
from qdl_tui.shared.bars import key_of

FLUSH_SECONDS = 0.1
SHORT = 0.1
"""Seconds below which a wait is shown in milliseconds."""
LONGEST = 20_000
"""Characters of an answer that are drawn; the saved comparison has all of it."""
MARK = "bold underline $warning"
"""For what only one answer has: the underline shows where there is no colour."""
_STATES = {"length": "cut", "cancelled": "cancelled", "failed": "failed"}


class AnswerScroll(VerticalScroll):
    """The part of a pane that scrolls, with vim keys."""

    BINDINGS = [
        Binding("j,down", "scroll_down", "Down", show=False, id="list.down"),
        Binding("k,up", "scroll_up", "Up", show=False, id="list.up"),
        Binding("g,home", "scroll_home", "Start", show=False, id="list.first"),
        Binding("G,end", "scroll_end", "End", show=False, id="list.last"),
        Binding("ctrl+d,pagedown", "page_down", "Page down", show=False, id="list.page_down"),
        Binding("ctrl+u,pageup", "page_up", "Page up", show=False, id="list.page_up"),
        Binding("l,right", "screen.pane(1)", "Next answer", show=False, id="list.right"),
        Binding("h,left", "screen.pane(-1)", "Previous answer", show=False, id="list.left"),
    ]

    @dataclass
    class Scrolled(Message):
        """The focused answer was scrolled."""

        source: AnswerScroll

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, AnswerScroll.Scrolled)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        # Only the focused one leads: those that follow must not pull it back.
        if self.has_focus and round(old_value) != round(new_value):
            self.post_message(self.Scrolled(self))


class AnswerPane(Vertical):
    """One column of the comparison. Text arrives in pieces and is drawn at most ten times a second."""

    def __init__(self, model: str, title: str) -> None:
        super().__init__(id=f"answer-{model}", classes="answer")
        self.model = model
        self.title = title
        """The heading: the model's name, or a letter while names are hidden."""
        self.open = False
        """Whether the reasoning is shown."""
        self.hidden = False
        """Whether reasoning and figures are hidden, because they would give the model away."""
        self.answer: Answer | None = None
        """The whole answer; None until it has arrived."""
        self._text = ""
        self._state = ""
        self._why = ""
        self._marks: tuple[tuple[int, int], ...] = ()
        self._note = ""
        self._dirty = False

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, classes="answer-title")
        with AnswerScroll():
            yield Static("", markup=False, classes="answer-text")
        yield Static("", markup=False, classes="answer-figures")

    def on_mount(self) -> None:
        self._timer = self.set_interval(FLUSH_SECONDS, self._flush, pause=True)
        self._draw()

    @property
    def answer_text(self) -> str:
        """The answer as it is drawn: the text in which marks count characters."""
        return _cut(self.answer.answer) if self.answer is not None else ""

    def show_title(self, title: str, *, hidden: bool) -> None:
        self.title, self.hidden = title, hidden
        self._draw()

    def show_why(self, state: str, why: str) -> None:
        """Show why there is no answer."""
        self._forget()
        self._state, self._why = state, why
        self._draw()

    def begin(self, state: str, text: str = "") -> None:
        """Show an answer on its way, with the text that has arrived."""
        self._forget()
        self._state, self._text = state, text
        self._draw()

    def add_text(self, text: str) -> None:
        self._text += text
        self._state = "answering"
        self._dirty = True
        self._timer.resume()

    def show_answer(self, answer: Answer) -> None:
        """Show a whole answer with its figures."""
        if answer.failed:
            self.show_why("failed", answer.reason)
            return
        self._forget()
        self.answer = answer
        self._state = _STATES.get(answer.stopped, "done")
        self._draw()

    def show_reasoning(self, shown: bool) -> None:
        self.open = shown
        self._draw()

    def mark(self, spans: Iterable[tuple[int, int]], note: str) -> None:
        """Underline parts of the answer, and explain that above it."""
        marks = tuple(spans)
        if (marks, note) != (self._marks, self._note):
            self._marks, self._note = marks, note
            self._draw()

    def _forget(self) -> None:
        self._text, self._why, self._note, self._marks = "", "", "", ()
        self.answer = None

    def _flush(self) -> None:
        if self._dirty:
            self._dirty = False
            self._draw()
        else:
            self._timer.pause()

    def _draw(self) -> None:
        state = Content.styled(f": {printable(self._state)}" if self._state else "", "$text-muted")
        title = Content.assemble((printable(self.title), "bold $accent"), state)
        self.query_one(".answer-title", Static).update(title)
        self.query_one(".answer-text", Static).update(self._body())
        self.query_one(".answer-figures", Static).update(Content.styled(self._figures(), "$text-muted"))

    def _figures(self) -> str:
        answer = self.answer
        if answer is None or self.hidden or not answer.tokens:
            return ""
        wait = answer.first_token_seconds
        first = f"{wait * 1000:.0f} ms" if wait < SHORT else f"{wait:.2f} s"
        return (
            f"{answer.tokens:,} tok in {answer.seconds:.{2 if answer.seconds < 10 else 0}f} s\n"
            f"{answer.tokens_per_second:.0f} tok/s, first {first}"
        )

    def _body(self) -> Content:
        if self._why:
            return Content.styled(printable(self._why), "$text-muted")
        if self.answer is not None:
            return self._parts(self.answer.reasoning, self.answer.answer, closed=True)
        parts = split_completion(self._text)
        return self._parts(parts.reasoning, parts.answer, closed=parts.reasoning_closed)

    def _parts(self, reasoning: str, answer: str, *, closed: bool) -> Content:
        pieces: list[Content] = []
        if self._note:
            pieces.append(Content.styled(printable(self._note), "italic $text-muted"))
        if reasoning and not self.hidden:
            pieces.append(self._reasoning(reasoning, closed))
        if answer:
            pieces.append(self._marked(Content(_cut(answer))))
        elif self.answer is not None:
            pieces.append(Content.styled(printable(self.answer.shown), "$text-muted"))
        return Content("\n\n").join(pieces)

    def _reasoning(self, reasoning: str, closed: bool) -> Content:
        if self.open:
            return Content.styled(f"reasoning\n{_cut(reasoning)}", "$text-muted italic")
        still = "" if closed else ", not finished"
        words = len(reasoning.split())
        key = key_of(self.screen, "compare.reasoning")
        said = f"[{key}] reasoning: {words:,} word{'s' if words != 1 else ''}{still}"
        return Content.styled(said, "$text-muted")

    def _marked(self, text: Content) -> Content:
        for start, end in self._marks:
            text = text.stylize(MARK, start, end)
        return text


def _cut(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
