"""One model's answer: its name and state, the reasoning folded or open, the answer, its figures."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from qdl_engine.prompts import split_completion
from qdl_engine.text import printable

FLUSH_SECONDS = 0.1
LONGEST = 20_000
"""Characters of an answer that are laid out; the whole of it is in the saved comparison."""


class AnswerScroll(VerticalScroll):
    """The scrolled part, with vim keys."""

    BINDINGS = [
        Binding("j,down", "scroll_down", "Down", show=False, id="list.down"),
        Binding("k,up", "scroll_up", "Up", show=False, id="list.up"),
        Binding("g,home", "scroll_home", "Start", show=False, id="list.first"),
        Binding("G,end", "scroll_end", "End", show=False, id="list.last"),
        Binding("ctrl+d,pagedown", "page_down", "Page down", show=False, id="list.page_down"),
        Binding("ctrl+u,pageup", "page_up", "Page up", show=False, id="list.page_up"),
    ]


class AnswerPane(Vertical):
    """One column of the comparison. Text arrives in pieces and is drawn at most ten times a second."""

    def __init__(self, model: str, title: str) -> None:
        super().__init__(id=f"answer-{model}", classes="answer")
        self.model = model
        self.title = title
        self.text = ""
        self.open = False
        """Whether the reasoning is shown."""
        self._state = ""
        self._why = ""
        self._figures = ""
        self._dirty = False

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, classes="answer-title")
        with AnswerScroll():
            yield Static("", markup=False, classes="answer-text")
        yield Static("", markup=False, classes="answer-figures")

    def on_mount(self) -> None:
        self._timer = self.set_interval(FLUSH_SECONDS, self._flush, pause=True)
        self._draw()

    def show_why(self, state: str, why: str) -> None:
        """Say why there is no answer here."""
        self.text, self._why, self._figures = "", why, ""
        self.show_state(state)

    def show_state(self, state: str) -> None:
        self._state = state
        self._draw()

    def begin(self, state: str) -> None:
        """A new question: forget the answer before."""
        self.text, self._why, self._figures = "", "", ""
        self.show_state(state)
        self.query_one(AnswerScroll).scroll_home(animate=False)

    def add_text(self, text: str) -> None:
        self.text += text
        self._state = "answering"
        self._dirty = True
        self._timer.resume()

    def finish(self, answer: dict[str, Any]) -> None:
        """The whole answer is there, with its figures."""
        tokens, seconds = answer.get("tokens"), answer.get("seconds")
        rate, first = answer.get("tokens_per_second"), answer.get("first_token_seconds")
        parts = [
            f"{tokens} tok" if tokens is not None else "",
            f"{seconds:.1f} s" if seconds is not None else "",
        ]
        parts.append(f"{rate:.0f} tok/s" if rate is not None else "")
        parts.append(f"first {first:.2f} s" if first is not None and self.size.width >= 36 else "")
        self._figures = " ".join(part for part in parts if part)
        stopped = str(answer.get("stopped", ""))
        self.show_state({"length": "cut", "cancelled": "cancelled"}.get(stopped, "done"))

    def toggle_reasoning(self, shown: bool) -> None:
        self.open = shown
        self._draw()

    def _flush(self) -> None:
        if self._dirty:
            self._dirty = False
            self._draw()
        else:
            self._timer.pause()

    def _draw(self) -> None:
        title = Content.assemble(
            (printable(self.title), "bold $accent"), (f"  {printable(self._state)}", "$text-muted")
        )
        self.query_one(".answer-title", Static).update(title)
        self.query_one(".answer-text", Static).update(self._body())
        self.query_one(".answer-figures", Static).update(Content.styled(self._figures, "$text-muted"))

    def _body(self) -> Content:
        if self._why:
            return Content.styled(printable(self._why), "$text-muted")
        parts = split_completion(self.text)
        pieces: list[Content] = []
        if parts.reasoning and self.open:
            pieces.append(Content.styled(f"reasoning\n{_cut(parts.reasoning)}", "$text-muted italic"))
        elif parts.reasoning:
            words = len(parts.reasoning.split())
            still = "" if parts.reasoning_closed else ", not finished"
            pieces.append(Content.styled(f"[t] reasoning: {words} words{still}", "$text-muted"))
        if parts.answer:
            pieces.append(Content(_cut(parts.answer)))
        elif self._figures and not parts.reasoning:
            pieces.append(Content.styled("(an empty answer)", "$text-muted"))
        return Content("\n\n").join(pieces)


def _cut(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
