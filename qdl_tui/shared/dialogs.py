"""The modal screens: yes or no, a text, a choice, one line to type, the help, and the letters to jump by."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.geometry import Region, Size
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from qdl_engine.core.words import printable
from qdl_tui.shared.bars import MODE_TITLES, KeyBar, described_bindings
from qdl_tui.shared.lists import NavList

FRAME = 5
"""Lines of a dialog beside its text: border, title, a blank, the keys."""
KEYS_WIDTH = 16
"""Cells of the help's column of keys."""
LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""The letters of jump mode, those near the resting fingers first."""
LABEL_WIDTH = 3
"""Cells of such a letter."""
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
    """A choice of a few things, each with its purpose; an empty answer means the user went back."""

    CSS_PATH = DIALOGS_CSS
    BINDINGS = [Binding("escape,q", "back", "Back", key_display="esc", id="choose.back")]

    def __init__(self, question: str, options: list[tuple[str, str]], *, now: str = "") -> None:
        super().__init__()
        self.question = question
        self.options = options
        self.now = now
        """The current option: the cursor starts on it."""

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

    def _on_paste(self, event: events.Paste) -> None:
        """Take all of it: Textual's own input silently drops all but the first line."""
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


class HelpScreen(ModalScreen[None]):
    """`?`: every key of one screen, of the widgets on it, and of the app."""

    CSS_PATH = DIALOGS_CSS
    BINDINGS = [
        Binding("escape,question_mark,q,f1", "close", "Close", key_display="esc", id="help.close"),
        Binding("j,down", "scroll(1)", "Down", key_display="j", id="help.down"),
        Binding("k,up", "scroll(-1)", "Up", key_display="k", id="help.up"),
        Binding("ctrl+d,pagedown,space", "scroll(10)", "Page down", show=False, id="help.page_down"),
        Binding("ctrl+u,pageup", "scroll(-10)", "Page up", show=False, id="help.page_up"),
        Binding("G,end", "scroll(9999)", "Last", show=False, id="help.last"),
        Binding("g,home", "scroll(-9999)", "First", show=False, id="help.first"),
    ]

    def __init__(self, about: Screen[object]) -> None:
        super().__init__()
        self.about = about

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Static("Keys", markup=False, classes="dialog-title")
            with VerticalScroll(can_focus=False, id="keys-scroll"):
                yield Static("", markup=False, id="keys")
            yield KeyBar()

    def on_resize(self) -> None:
        """Wrap once there is a size: a long text continues in its own column."""
        self.call_after_refresh(self._show_keys)

    def _show_keys(self) -> None:
        keys = self.query_one("#keys", Static)
        keys.update(self._keys(keys.size.width))

    def _keys(self, width: int) -> Content:
        lines: list[Content] = []
        seen: set[str] = set()
        widgets = [widget for widget in self.about.focus_chain if not widget.has_class("-textual-system")]
        groups = [("This screen", described_bindings(self.about))]
        groups += [(_name(widget.__class__.__name__), described_bindings(widget)) for widget in widgets]
        groups.append(("Everywhere", described_bindings(self.app)))
        for title, actions in groups:
            fresh = {action: bindings for action, bindings in actions.items() if action not in seen}
            seen.update(fresh)
            if fresh:
                lines.append(Content.styled(title, "bold $accent"))
                lines += [self._line(bindings, width) for bindings in fresh.values()]
        return Content("\n").join(lines)

    def _line(self, bindings: list[Binding], width: int) -> Content:
        keys = " ".join(dict.fromkeys(self.app.get_key_display(binding) for binding in bindings))
        does = bindings[0].tooltip or bindings[0].description
        lines = textwrap.wrap(does, max(20, width - KEYS_WIDTH)) or [""]
        if cell_len(keys) > KEYS_WIDTH - 3:
            lines.insert(0, "")  # keys too long for their column get a line of their own
        first, *more = lines
        below = "".join(f"\n{'':{KEYS_WIDTH}}{line}" for line in more)
        return Content.assemble((f"  {keys:{KEYS_WIDTH - 2}}", "bold"), first + below)

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_close(self) -> None:
        self.dismiss()


def _name(class_name: str) -> str:
    return (
        "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in class_name)
        .strip()
        .capitalize()
    )


class JumpScreen(ModalScreen[str]):
    """A letter on each pane of the screen below; the answer is the letter or number pressed, or nothing."""

    BINDINGS = [Binding("escape,ctrl+o", "leave", "Back", key_display="esc", id="jump.back")]

    def __init__(self, targets: dict[str, Widget], size: Size) -> None:
        super().__init__(classes="jump")
        self.targets = targets
        self._drawn_at = size

    def compose(self) -> ComposeResult:
        for letter, widget in self.targets.items():
            label = Static(f" {letter} ", markup=False, classes="jump-label")
            label.styles.offset = _corner(widget.region, self._drawn_at)
            yield label
        yield KeyBar()

    def on_resize(self, event: events.Resize) -> None:
        """Close: the panes below have moved, and the letters would be wrong."""
        if event.size != self._drawn_at and self.is_current:
            self.dismiss("")

    def on_key(self, event: events.Key) -> None:
        pressed = event.character or ""
        numbers = [str(number) for number, _mode in enumerate(MODE_TITLES, 1)]
        if pressed in self.targets or pressed in numbers:
            event.stop()
            self.dismiss(pressed)

    def action_leave(self) -> None:
        self.dismiss("")


def jump_targets(screen: Screen[Any]) -> dict[str, Widget]:
    """What can take the focus and is in sight, by letter, from top left to bottom right."""
    seen = [
        widget
        for widget in screen.focus_chain
        if not widget.has_class("-textual-system") and screen.region.overlaps(widget.region)
    ]
    seen.sort(key=lambda widget: (widget.region.y, widget.region.x))
    return dict(zip(LETTERS, seen, strict=False))


def _corner(region: Region, size: Size) -> tuple[int, int]:
    """Where the letter of a widget goes: right in the line above it, where titles leave room.

    The tabs are no title: what stands just below them has its letter at its own right end.
    """
    right = min(region.right, size.width) - LABEL_WIDTH
    above = region.y - 1 if region.y > 1 else region.y
    return max(right, 0), min(max(above, 0), size.height - 2)
