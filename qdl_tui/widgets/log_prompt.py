"""The one-row prompt under a log: search, filter, or line number."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.events import Key
from textual.message import Message
from textual.widgets import Input, Static

from qdl_tui.shared.bars import key_of

SIGNS = {"search": "/", "filter": "&", "line": ":"}
HINTS = {
    "search": "text to find; {regex}: regular expression",
    "filter": "lines to keep; !text hides; empty: all",
    "line": "line number, 50%, or $",
}


class LogPrompt(Horizontal):
    """Asks for one of `SIGNS`; hidden until then. Whether a text is a regular expression is remembered."""

    DEFAULT_CSS = """
    LogPrompt {
        height: 1;
        display: none;
        & > Static { width: auto; text-style: bold; }
        & > Input { width: 1fr; }
    }
    """
    BINDINGS = [
        Binding("ctrl+r", "regex", "Regex", tooltip="Text or regular expression", id="log.regex"),
        Binding("escape", "cancel", "Close", key_display="esc", tooltip="Close the prompt", id="log.cancel"),
    ]

    @dataclass
    class Answered(Message):
        """Enter was pressed."""

        kind: str
        text: str
        regex: bool

    class Cancelled(Message):
        """Escape was pressed."""

    def __init__(self) -> None:
        super().__init__()
        self._kind = ""
        self._regex = False
        self._sign = Static(markup=False)
        self._input = Input(compact=True, select_on_focus=False)

    def compose(self) -> ComposeResult:
        """The sign and what is typed after it."""
        yield self._sign
        yield self._input

    def ask(self, kind: str) -> None:
        """Open the prompt, empty."""
        self._kind = kind
        self._input.value = ""
        self._input.placeholder = HINTS[kind].format(regex=key_of(self.screen, "log.regex"))
        self.display = True
        self._show_sign()
        self.screen.set_focus(self._input)

    def type(self, event: Key) -> None:
        """Take a key that was meant for the prompt but sent before it had the focus."""
        self._input.post_message(Key(event.key, event.character))

    def _show_sign(self) -> None:
        self._sign.update(SIGNS[self._kind] + ("re " if self._regex and self._kind != "line" else ""))

    def action_regex(self) -> None:
        """Read the text as a regular expression, or as plain text."""
        self._regex = not self._regex
        self._show_sign()

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.display = False
        self.post_message(self.Cancelled())

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.display = False
        self.post_message(self.Answered(self._kind, event.value, self._regex))
