"""Small modal screens: yes or no, and one line of text."""

from __future__ import annotations

from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Paste
from textual.screen import ModalScreen, ScreenResultType
from textual.widgets import Input, OptionList, Static

from qdl_engine.core.words import printable
from qdl_tui.shared.bars import KeyBar
from qdl_tui.shared.nav_list import NavList

FRAME = 5
"""Lines of a dialog beside its text: border, title, a blank, the keys."""


DIALOGS_CSS = Path(__file__).with_name("dialogs.tcss")
"""Absolute, for Textual looks for a relative path beside the subclass's own module."""


class ScrollingScreen(ModalScreen[ScreenResultType]):
    """A dialog whose text may be longer than the terminal is high."""

    def compose_text(self, text: str) -> ComposeResult:
        with VerticalScroll(can_focus=False, id="text-scroll"):
            yield Static(printable(text), markup=False, id="text")

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """As high as the text, and no higher than there is room: an automatic height leaves blank lines."""
        room = self.size.height * 9 // 10 - FRAME
        for scroll in self.query("#text-scroll"):
            lines = max(1, min(self.query_one("#text").size.height, room))
            scroll.styles.height = scroll.styles.max_height = lines

    def action_scroll(self, lines: int) -> None:
        for scroll in self.query("#text-scroll"):
            scroll.scroll_relative(y=lines, animate=False)


class ConfirmScreen(ScrollingScreen[bool]):
    """Asks before something is stopped or deleted."""

    CSS_PATH = DIALOGS_CSS
    BINDINGS = [
        Binding("y,enter", "answer(True)", "Yes", key_display="y", id="confirm.yes"),
        Binding("n,escape,q", "answer(False)", "No", key_display="n", id="confirm.no"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="confirm.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="confirm.up"),
        Binding("ctrl+d,pagedown", "scroll(10)", "Page down", show=False, id="confirm.page_down"),
        Binding("ctrl+u,pageup", "scroll(-10)", "Page up", show=False, id="confirm.page_up"),
    ]

    def __init__(self, question: str, detail: str = "") -> None:
        super().__init__()
        self.question = question
        self.detail = detail

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(printable(self.question), markup=False, classes="dialog-title")
            if self.detail:
                yield from self.compose_text(self.detail)
            yield KeyBar()

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class TextScreen(ScrollingScreen[None]):
    """Shows a longer text, to be scrolled by keys."""

    CSS_PATH = DIALOGS_CSS
    BINDINGS = [
        Binding("escape,q,enter", "close", "Close", key_display="esc", id="text.close"),
        Binding("j,down", "scroll(1)", "Down", key_display="j", id="text.down"),
        Binding("k,up", "scroll(-1)", "Up", key_display="k", id="text.up"),
        Binding("ctrl+d,pagedown", "scroll(10)", "Page down", show=False, id="text.page_down"),
        Binding("ctrl+u,pageup", "scroll(-10)", "Page up", show=False, id="text.page_up"),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.heading = title
        self.text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Static(printable(self.heading), markup=False, classes="dialog-title")
            yield from self.compose_text(self.text)
            yield KeyBar()

    def action_close(self) -> None:
        self.dismiss()


class ChooseScreen(ModalScreen[str]):
    """One of a few things, each with what it is for; an empty answer means the user went back."""

    CSS_PATH = DIALOGS_CSS
    BINDINGS = [Binding("escape,q", "back", "Back", key_display="esc", id="choose.back")]

    def __init__(self, question: str, options: list[tuple[str, str]], *, now: str = "") -> None:
        super().__init__()
        self.question = question
        self.options = options
        self.now = now
        """The option that holds now: the cursor begins on it."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Static(printable(self.question), markup=False, classes="dialog-title")
            yield ChoiceList(id="choices")
            yield KeyBar()

    def on_mount(self) -> None:
        width = max(len(name) for name, _purpose in self.options) + 2
        choices = self.query_one(ChoiceList)
        choices.show_options(
            [
                (name, Content(f"{printable(name):{width}}{printable(purpose)}"))
                for name, purpose in self.options
            ]
        )
        names = [name for name, _purpose in self.options]
        choices.highlighted = names.index(self.now) if self.now in names else 0
        choices.focus()

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id or "")

    def action_back(self) -> None:
        self.dismiss("")


class ChoiceList(NavList):
    """The things to choose from."""

    BINDINGS = [Binding("enter", "select", "Choose", key_display="enter", id="choose.take")]


class LineInput(Input):
    """One line of text that Enter accepts; a blinking cursor would be sent over SSH all day."""

    BINDINGS = [Binding("enter", "submit", "Accept", key_display="enter", id="input.accept")]

    def __init__(self, value: str = "", *, id: str | None = None, placeholder: str = "") -> None:  # noqa: A002
        super().__init__(value, id=id, placeholder=placeholder, select_on_focus=False)
        self.cursor_blink = False

    def in_one_line(self, text: str) -> str:
        """Text of several lines as this line takes it."""
        return printable(text).replace("\n", " ").replace("\t", " ")

    def _on_paste(self, event: Paste) -> None:
        """Take all of it: Textual's own input drops what is behind the first line without a word."""
        event.prevent_default()
        event.stop()
        lines = event.text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
        self.replace(self.in_one_line(lines), *self.selection)


class AskScreen(ModalScreen[str]):
    """Asks for one line; an empty answer means the user went back."""

    CSS_PATH = DIALOGS_CSS
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
