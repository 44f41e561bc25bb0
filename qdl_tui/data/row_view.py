"""One row as the student meets it: the prompt, and behind a bar the part that it is trained on."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from qdl_engine.core.words import printable


class RowView(VerticalScroll, can_focus=False):
    """The bar runs beside every line of the trained part, wrapped ones too: colour alone says nothing."""

    DEFAULT_CSS = """
    RowView {
        height: 1fr;
        padding: 0 1;
        & > Static { height: auto; }
        & > .trained { border-left: outer $success; padding-left: 1; text-style: bold; }
        & > .legend { color: $text-muted; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, classes="prompt")
        yield Static("", markup=False, classes="trained")
        yield Static("", markup=False, classes="legend")

    def show(self, prompt: str, trained: str) -> None:
        """Draw a row."""
        self.query_one(".prompt", Static).update(Content(printable(prompt.removesuffix("\n"))))
        shown = self.query_one(".trained", Static)
        shown.display = True
        shown.update(Content(printable(trained)))
        self.query_one(".legend", Static).update("the bar marks what is trained")

    def say(self, text: str) -> None:
        """Say why there is no row."""
        self.query_one(".prompt", Static).update(Content(printable(text)))
        self.query_one(".trained").display = False
        self.query_one(".legend", Static).update("")

    def to_top(self) -> None:
        """Another row begins at its beginning."""
        self.scroll_to(y=0, animate=False)
