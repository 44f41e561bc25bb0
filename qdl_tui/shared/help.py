"""`?`: the keys of where you are, read from the same bindings that act on them, so the two cannot drift."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from qdl_tui.shared.bars import KeyBar, described_bindings
from qdl_tui.shared.dialogs import DIALOGS_CSS

KEYS_WIDTH = 16
"""Cells of the column of keys."""


class HelpScreen(ModalScreen[None]):
    """Every key of one screen, of the widgets on it, and of the app."""

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
        """Once there is a size, what does not fit goes on under its own column."""
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
            lines.insert(0, "")  # what it does goes below keys that take its place
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
