"""Searching and filtering the log on the screen: the work in threads, what comes of it in the view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from textual import on, work
from textual.containers import Vertical
from textual.message import Message
from textual.worker import Worker, WorkerState, get_current_worker

from qdl_tui.widgets.log_file import Blocks
from qdl_tui.widgets.log_search import Hit, LineFilter, Pattern, search_round
from qdl_tui.widgets.log_view import LogView


class LogFinder(Vertical):
    """Holds the view of a log and finds things in it. A worker only reads and posts; the view changes here.

    Args:
        view: The lines.
    """

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
        view: LogView,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.view = view
        self.notice = ""

    def say(self, notice: str) -> None:
        """Tell the user something in the status row; empty to take it back."""
        self.notice = notice
        self.show_status()

    def show_status(self) -> None:
        """Write the status row."""
        raise NotImplementedError

    def action_search(self) -> None:
        """Ask for a text to find."""
        raise NotImplementedError

    def search(self, text: str, *, regex: bool = False) -> None:
        """Mark a text and go to its last place when following, else to the next one from the top row."""
        backward = self.view.follow
        self.view.set_mark(Pattern(text, regex))
        self._start_search(backward, first=True)

    def set_filter(self, text: str, *, regex: bool = False) -> None:
        """Show only the lines with a text; `!text` hides those; an empty text shows all."""
        self.workers.cancel_group(self, "log-filter")
        text, invert = (text[1:], True) if text.startswith("!") else (text, False)
        if not text:
            self.notice = ""
            self.view.set_filter(None)
            return
        chosen = LineFilter(Pattern(text, regex), invert=invert)
        self.say("filtering…")
        self.view.when_whole(lambda: self._start_filter(chosen))

    def action_find(self, backward: bool) -> None:
        """Go to the next match, or to the one before."""
        if self.view.mark is None:
            self.action_search()
        else:
            self._start_search(backward)

    def _start_search(self, backward: bool, *, first: bool = False) -> None:
        self.workers.cancel_group(self, "log-search")
        self.view.when_whole(lambda: self._from_here(backward, first))

    def _from_here(self, backward: bool, first: bool) -> None:
        file, view = self.view.lines.file, self.view
        source = file.snapshot() if file else None
        if file is None or source is None:
            self.say("no log yet")
            return
        edge = view.top + (view.height if backward else -1)
        line = view.current if view.current is not None and not first else view.lines.line_of(edge)
        start = file.line_start(line if backward else line + 1)
        self.say("searching…")
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
            self.say("the file changed; search again")
        elif message.hit is None:
            self.say(f"not found: {self.view.mark.text[:40] if self.view.mark else ''}")
        else:
            self.notice = "search went round" if message.hit.round else ""
            line = file.line_at(message.hit.offset)
            self.view.reveal(line)
            self.view.show_match(line)

    def _start_filter(self, chosen: LineFilter) -> None:
        file = self.view.lines.file
        source = file.snapshot() if file else None
        if file is None or source is None:
            self.notice = ""
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
            self.notice = ""
            self.view.set_filter(message.chosen)
        else:
            self.say("the file changed; filter again")

    @on(Worker.StateChanged)
    def _worker_failed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.group in ("log-search", "log-filter"):
            self.say(f"cannot read the log: {event.worker.error}")
