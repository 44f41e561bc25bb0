"""Small modal screens: yes or no, and one line of text."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from qdl_engine.text import printable
from qdl_tui.widgets.bars import KeyBar


class ConfirmScreen(ModalScreen[bool]):
    """Asks before something is stopped or deleted."""

    BINDINGS = [
        Binding("y,enter", "answer(True)", "Yes", key_display="y", id="confirm.yes"),
        Binding("n,escape,q", "answer(False)", "No", key_display="n", id="confirm.no"),
    ]

    def __init__(self, question: str, detail: str = "") -> None:
        super().__init__()
        self.question = question
        self.detail = detail

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(printable(self.question), markup=False, classes="dialog-title")
            if self.detail:
                yield Static(printable(self.detail), markup=False)
            yield KeyBar()

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class LineInput(Input):
    """One line of text that Enter accepts; a blinking cursor would be sent over SSH all day."""

    BINDINGS = [Binding("enter", "submit", "Accept", key_display="enter", id="input.accept")]

    def __init__(self, value: str = "", *, id: str | None = None, placeholder: str = "") -> None:  # noqa: A002
        super().__init__(value, id=id, placeholder=placeholder, select_on_focus=False)
        self.cursor_blink = False


class AskScreen(ModalScreen[str]):
    """Asks for one line; an empty answer means the user went back."""

    BINDINGS = [
        Binding("escape", "back", "Back", id="ask.back"),
    ]

    def __init__(self, question: str, value: str = "", detail: str = "") -> None:
        super().__init__()
        self.question = question
        self.value = value
        self.detail = detail

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(printable(self.question), markup=False, classes="dialog-title")
            if self.detail:
                yield Static(printable(self.detail), markup=False)
            yield LineInput(self.value, id="ask")
            yield KeyBar()

    @on(Input.Submitted)
    def accept(self) -> None:
        self.dismiss(self.query_one(Input).value.strip())

    def action_back(self) -> None:
        self.dismiss("")
