"""The log pane: the lines, a row that says where you are, and a prompt for search, filter, line number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState, get_current_worker

from qdl_tui.widgets.log_file import Blocks
from qdl_tui.widgets.log_prompt import LogPrompt
from qdl_tui.widgets.log_search import Hit, LineFilter, Pattern, PatternError, search_round
from qdl_tui.widgets.log_view import LogView


class LogPane(Vertical):
    """A log file that is being written, read by keys alone.

    Args:
        path: The file, which may not be there yet; None until `show_file`.
    """

    DEFAULT_CSS = """
    LogPane {
        height: 1fr;
        & > .log-status { height: 1; color: $text-muted; }
        &.-asking > .log-status { display: none; }
    }
    """
    BINDINGS = [
        Binding("slash", "ask('search')", "Search", key_display="/", id="log-search"),
        Binding("n", "find(False)", "Next match", show=False, id="log-next"),
        Binding("N", "find(True)", "Previous match", show=False, id="log-previous"),
        Binding("ampersand", "ask('filter')", "Filter", key_display="&", id="log-filter"),
        Binding("colon", "ask('line')", "Go to line", key_display=":", show=False, id="log-line"),
        Binding("escape", "back", "Drop the filter, then the marks", show=False, id="log-back"),
    ]

    @dataclass
    class _Found(Message):
        generation: int
        hit: Hit | None

    @dataclass
    class _Filtered(Message):
        generation: int
        chosen: LineFilter

    def __init__(
        self,
        path: Path | None = None,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.view = LogView(path)
        self._status = Static(classes="log-status", markup=False)
        self._prompt = LogPrompt()
        self._notice = ""

    def compose(self) -> ComposeResult:
        """The prompt takes the place of the status row, so that no line moves when it opens."""
        yield self.view
        yield self._status
        yield self._prompt

    def on_mount(self) -> None:
        """Say where we are from the first paint on."""
        self._show_status()

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
        return self.view.describe(self._notice)[0]

    def show_file(self, path: Path | None) -> None:
        """Show another file from its end, without filter and marks; the file shown already stays as it is."""
        file = self.view.lines.file
        if (file.path if file else None) != path:
            self.workers.cancel_node(self)
            self._notice = ""
            self.view.show(path)
            self._show_status()

    def search(self, text: str, *, regex: bool = False) -> None:
        """Mark a text and go to the last place it is in when following, else to the next one in view or
        below."""
        backward = self.view.follow
        self.view.set_mark(Pattern(text, regex))
        self._start_search(backward, first=True)

    def set_filter(self, text: str, *, regex: bool = False) -> None:
        """Show only the lines with a text; `!text` hides those; an empty text shows all."""
        self.workers.cancel_group(self, "log-filter")
        text, invert = (text[1:], True) if text.startswith("!") else (text, False)
        if not text:
            self._notice = ""
            self.view.set_filter(None)
            return
        chosen = LineFilter(Pattern(text, regex), invert=invert)
        self._notice = "filtering…"
        self._show_status()
        self.view.when_whole(lambda: self._start_filter(chosen))

    def goto(self, where: str) -> None:
        """Go to a line by its number from 1, to a percentage, or to `$`, the end."""
        where = where.strip()
        if where in ("$", "G"):
            self.view.follow = True
            return
        number = where.removesuffix("%")
        if not number.isdecimal() or len(number) > 15:
            self._say(f"no line {where[:20]!r}: a number, 50% or $")
            return
        self.view.when_whole(lambda: self._goto(int(number), percent=where.endswith("%")))

    def _goto(self, number: int, *, percent: bool) -> None:
        count = self.view.lines.file.lines if self.view.lines.file else 0
        line = count * min(number, 100) // 100 if percent else number - 1
        self._notice = f"last line is {count:,}" if line >= max(1, count) and not percent else ""
        self.view.reveal(max(0, min(line, count - 1)), at_top=True)

    # Search and filter -----------------------------------------------------------------------------------

    def _start_search(self, backward: bool, *, first: bool = False) -> None:
        self.workers.cancel_group(self, "log-search")
        self.view.when_whole(lambda: self._from_here(backward, first))

    def _from_here(self, backward: bool, first: bool) -> None:
        file, view = self.view.lines.file, self.view
        source = file.snapshot() if file else None
        if file is None or source is None:
            self._say("no log yet")
            return
        edge = view.top + (view.height if backward else -1)
        line = view.current if view.current is not None and not first else view.lines.line_of(edge)
        start = file.line_start(line if backward else line + 1)
        self._notice = "searching…"
        self._show_status()
        assert view.mark is not None
        self._search(source, file.generation, view.mark, start, backward, view.lines.filter)

    @work(thread=True, exclusive=True, group="log-search", exit_on_error=False)
    def _search(
        self,
        source: Blocks,
        generation: int,
        pattern: Pattern,
        start: int,
        backward: bool,
        kept: LineFilter | None,
    ) -> None:
        """From where we are to the end, then once round; in the lines the filter keeps, if there is one."""
        worker = get_current_worker()
        with source:
            hit = search_round(
                pattern,
                source.read,
                start,
                source.size,
                backward=backward,
                cancelled=lambda: worker.is_cancelled,
                accept=partial(kept.accepts_at, source.read) if kept else None,
            )
        if not worker.is_cancelled:
            self.post_message(self._Found(generation, hit))

    @on(_Found)
    def _show_found(self, message: _Found) -> None:
        message.stop()
        file = self.view.lines.file
        if file is None or message.generation != file.generation:
            self._say("the file changed; search again")
        elif message.hit is None:
            self._say(f"not found: {self.view.mark.text[:40] if self.view.mark else ''}")
        else:
            self._notice = "search went round" if message.hit.round else ""
            self.view.reveal(file.line_at(message.hit.offset))

    def _start_filter(self, chosen: LineFilter) -> None:
        file = self.view.lines.file
        source = file.snapshot() if file else None
        if file is None or source is None:
            self._notice = ""
            self.view.set_filter(chosen)
        else:
            self._filter(source, file.generation, chosen, file.index.line_end)

    @work(thread=True, exclusive=True, group="log-filter", exit_on_error=False)
    def _filter(self, source: Blocks, generation: int, chosen: LineFilter, stop: int) -> None:
        worker = get_current_worker()
        with source:
            chosen.scan(source.read, stop, cancelled=lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(self._Filtered(generation, chosen))

    @on(_Filtered)
    def _show_filtered(self, message: _Filtered) -> None:
        message.stop()
        file = self.view.lines.file
        if file is not None and file.generation == message.generation:
            self._notice = ""
            self.view.set_filter(message.chosen)
        else:
            self._say("the file changed; filter again")

    @on(Worker.StateChanged)
    def _worker_failed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.group in ("log-search", "log-filter"):
            self._say(f"cannot read the log: {event.worker.error}")

    # Prompt ----------------------------------------------------------------------------------------------
    def action_ask(self, kind: str) -> None:
        """Open the prompt."""
        self.add_class("-asking")
        self._prompt.ask(kind)

    @on(LogPrompt.Cancelled)
    def _close_prompt(self, message: Message) -> None:
        message.stop()
        self.remove_class("-asking")
        self.view.focus()

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
            self._say(str(error))

    def action_find(self, backward: bool) -> None:
        """Go to the next match, or to the one before."""
        if self.view.mark is None:
            self.action_ask("search")
        else:
            self._start_search(backward)

    def action_back(self) -> None:
        """Undo one thing: the filter, then the marks."""
        self._notice = ""
        if self.view.lines.filter is not None:
            self.set_filter("")
        else:
            self.view.set_mark(None)
        self._show_status()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape belongs to the screen when there is nothing here to undo."""
        return action != "back" or self.view.lines.filter is not None or self.view.mark is not None

    # Status ----------------------------------------------------------------------------------------------

    def _say(self, notice: str) -> None:
        self._notice = notice
        self._show_status()

    @on(LogView.Changed)
    def _moved(self, message: LogView.Changed) -> None:
        message.stop()
        if message.reset:
            self._notice = "log cut or replaced"
        self._show_status()

    def _show_status(self) -> None:
        text, badge = self.view.describe(self._notice)
        self._status.update(Content.assemble((text[:badge], "reverse bold"), text[badge:]))
