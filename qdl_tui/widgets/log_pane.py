"""The log pane: the lines, a row that says where you are, and a prompt for search, filter, line number."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widgets import Static

from qdl_tui.widgets.log_finder import LogFinder
from qdl_tui.widgets.log_prompt import SIGNS, LogPrompt
from qdl_tui.widgets.log_search import PatternError
from qdl_tui.widgets.log_view import LogView


class LogPane(LogFinder):
    """A log file that is being written, read by keys alone.

    Args:
        path: The file, which may not be there yet; None until `show_file`.
    """

    DEFAULT_CSS = """
    LogPane {
        height: 1fr;
        & > .log-status { height: 1; color: $text-muted; }
    }
    """
    BINDINGS = [
        Binding("slash", "search", "Search", key_display="/", id="log.search"),
        Binding("n", "find(False)", "Next match", show=False, id="log.next"),
        Binding("N", "find(True)", "Previous match", show=False, id="log.previous"),
        Binding("ampersand", "filter", "Filter", key_display="&", id="log.filter"),
        Binding("colon", "line", "Go to line", key_display=":", show=False, id="log.line"),
        Binding("escape", "back", "Drop the filter, then the marks", show=False, id="log.back"),
    ]

    def __init__(
        self,
        path: Path | None = None,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(LogView(path), id=id, classes=classes)
        self._status = Static(classes="log-status", markup=False)
        self._prompt = LogPrompt()
        self.view.first_look = self._first_look

    def compose(self) -> ComposeResult:
        """The prompt takes the place of the status row, so that no line moves when it opens."""
        yield self.view
        yield self._status
        yield self._prompt

    def on_mount(self) -> None:
        """Say where we are from the first paint on."""
        self.show_status()

    def focus(self, scroll_visible: bool = True, **_: object) -> Self:
        """Keys go to the lines."""
        self.view.focus(scroll_visible)
        return self

    # For screens -----------------------------------------------------------------------------------------

    @property
    def follow(self) -> bool:
        """Whether the end is kept in view."""
        return self.view.follow

    @property
    def status(self) -> str:
        """The status row as text: badge, position, filter, notice."""
        return self.view.describe(self.notice)[0]

    def show_file(self, path: Path | None) -> None:
        """Show another file from its end, without filter and marks; the file shown already stays as it is."""
        file = self.view.lines.file
        if (file.path if file else None) != path:
            self.workers.cancel_node(self)
            self.notice = ""
            self.view.show(path)
            self.show_status()

    def goto(self, where: str) -> None:
        """Go to a line by its number from 1, to a percentage, or to `$`, the end."""
        where = where.strip()
        if where in ("$", "G"):
            self.view.follow = True
            return
        number = where.removesuffix("%")
        if not number.isdecimal() or len(number) > 15:
            self.say(f"no line {where[:20]!r}: a number, 50% or $")
            return
        self.view.when_whole(lambda: self._goto(int(number), percent=where.endswith("%")))

    def _goto(self, number: int, *, percent: bool) -> None:
        count = self.view.lines.file.lines if self.view.lines.file else 0
        line = count * min(number, 100) // 100 if percent else number - 1
        self.notice = f"last line is {count:,}" if line >= max(1, count) and not percent else ""
        self.view.reveal(max(0, min(line, count - 1)), at_top=True)

    # Prompt ----------------------------------------------------------------------------------------------
    def _first_look(self, event: Key) -> bool:
        """Open the prompt at its key, and give it what was typed ahead.

        Over a slow line `/loss` arrives in one piece. Left to the bindings, `/` would open the prompt after
        the other four had been taken for keys of the log.
        """
        if self._prompt.display:
            self._prompt.type(event)
            return True
        active = self.screen.active_bindings.get(event.key)
        if active is None or active.node is not self or active.binding.action not in SIGNS:
            return False
        self._ask(active.binding.action)
        return True

    def _ask(self, kind: str) -> None:
        self._status.display = False
        self._prompt.ask(kind)

    def action_search(self) -> None:
        """Ask for a text to find."""
        self._ask("search")

    def action_filter(self) -> None:
        """Ask for the lines to keep."""
        self._ask("filter")

    def action_line(self) -> None:
        """Ask for a line to go to."""
        self._ask("line")

    @on(LogPrompt.Cancelled)
    def _close_prompt(self, message: Message) -> None:
        message.stop()
        self._status.display = True
        self.screen.set_focus(self.view)

    @on(LogPrompt.Answered)
    def _answer(self, answer: LogPrompt.Answered) -> None:
        self._close_prompt(answer)
        try:
            if answer.kind == "line":
                self.goto(answer.text)
            elif answer.kind == "filter":
                self.set_filter(answer.text, regex=answer.regex)
            elif answer.text:
                self.search(answer.text, regex=answer.regex)
        except PatternError as error:
            self.say(str(error))

    def action_back(self) -> None:
        """Undo one thing: the filter, then the marks."""
        self.notice = ""
        if self.view.lines.filter is not None:
            self.set_filter("")
        else:
            self.view.set_mark(None)
        self.show_status()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape belongs to the screen when there is nothing here to undo."""
        return action != "back" or self.view.lines.filter is not None or self.view.mark is not None

    # Status ----------------------------------------------------------------------------------------------

    @on(LogView.Changed)
    def _moved(self, message: LogView.Changed) -> None:
        message.stop()
        if message.reset:
            self.notice = "log cut or replaced"
        self.show_status()

    def show_status(self) -> None:
        """Write the status row."""
        text, badge = self.view.describe(self.notice)
        self._status.update(Content.assemble((text[:badge], "reverse bold"), text[badge:]))
