"""The lines of a log on the screen, kept up with the file."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.events import Key
from textual.message import Message
from textual.worker import get_current_worker

from qdl_engine.core.words import one_line
from qdl_tui.widgets.log_file import Blocks, Change
from qdl_tui.widgets.log_index import count_blocks
from qdl_tui.widgets.log_page import LogPage
from qdl_tui.widgets.log_rows import LogRows
from qdl_tui.widgets.log_search import LineFilter, Pattern

HERTZ = 10
"""How often the file is looked at. Twice as often costs twice as much and nobody reads faster."""


class LogView(LogPage):
    """Shows a log file that another process is writing."""

    @dataclass
    class _Counted(Message):
        generation: int
        counts: array[int]

    def __init__(self, path: Path | None = None, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(path, id=id)
        self.first_look: Callable[[Key], bool] | None = None
        """Asked about each key before any binding; True takes it."""
        self._when_whole: Callable[[], None] | None = None

    def on_mount(self) -> None:
        """Show what is there before the first paint, then look ten times a second."""
        self.set_interval(1 / HERTZ, self.tick)
        self.tick()

    def on_unmount(self) -> None:
        """Give the file back."""
        self.lines.close()

    def on_key(self, event: Key) -> None:
        """Keys that came in one burst are all here before the first one's binding runs."""
        if self.first_look is not None and self.first_look(event):
            event.stop()
            event.prevent_default()

    # What is shown ---------------------------------------------------------------------------------------

    def show(self, path: Path | None) -> None:
        """Show another file from its end."""
        self.lines.close()
        self.lines = LogRows(path)
        self.mark, self.current, self._when_whole = None, None, None
        self.shift, self.follow = 0, True
        self._forget()
        self.tick()
        self.sync()

    def set_filter(self, chosen: LineFilter | None) -> None:
        """Show only the lines it keeps; None for all. The line at the top stays as near as it can."""
        line = self.lines.line_of(self.top)
        self.lines.filter = chosen
        self.tick()
        self.sync()
        if not self.follow:
            self.scroll_to_row(self.lines.row_of(line))
        self.post_message(self.Changed())

    def set_mark(self, pattern: Pattern | None) -> None:
        """Mark the matches of a search in the lines shown."""
        self.mark = pattern
        if pattern is None:
            self.current = None
        self._forget()
        self.refresh()

    def describe(self, notice: str) -> tuple[str, int]:
        """The status row, and the length of the badge in it, which never speaks by colour alone."""
        file = self.lines.file
        badge = " FOLLOW " if self.follow else f" +{self.below:,} lines " if self.below else " HOLD "
        parts = []
        if file is None or file.problem:
            parts.append(file.problem if file else "no log")
        elif not file.whole:
            parts.append("numbering lines…")
        elif file.lines:
            line = file.lines if self.follow else min(self.lines.line_of(self.top) + 1, file.lines)
            parts.append(f"{line:,}/{file.lines:,}")
        if self.lines.filter is not None:
            kept = self.lines.filter
            parts.append(f"&{'!' if kept.invert else ''}{kept.pattern.text} {len(self.lines):,}")
        if self.shift:
            parts.append(f"→{self.shift}")
        if notice:
            parts.insert(0, notice)
        return f"{badge} {one_line(' · '.join(parts), 300)}", len(badge)

    def reveal(self, line: int, *, current: bool = True, at_top: bool = False) -> None:
        """Bring a line into view, in the upper third unless it is in view already, and hold there."""
        row, start = self.lines.row_of(line), self.top
        self.follow = False
        if current:
            self.current = line
        if at_top or not start <= row < start + self.height:
            start = row if at_top else row - self.height // 3
        self.scroll_to_row(start)

    def watch_follow(self) -> None:
        """The place of the last match is left with the end."""
        if self.follow:
            self.current = None
        super().watch_follow()

    def action_top(self) -> None:
        """Go to the first line of the file, numbered yet or not, and hold there."""
        super().action_top()
        self.when_whole(super().action_top)

    # The file --------------------------------------------------------------------------------------------

    def when_whole(self, action: Callable[[], None]) -> None:
        """Do it now, or as soon as lines are numbered from the start of the file."""
        if self.lines.file is not None and not self.lines.file.whole:
            self._when_whole = action
        else:
            action()

    def tick(self) -> None:
        """Take in what was written since the last look."""
        before = self.lines.generation
        change, news = self.lines.poll()
        if change is Change.RESET:
            self.current = None
            self._forget()
            self._count_head()
        if news:
            self.sync()
            self.post_message(self.Changed(reset=change is Change.RESET and before > 0))

    def _count_head(self) -> None:
        file = self.lines.file
        source = file.snapshot() if file is not None and not file.whole else None
        if file is not None and source is not None:
            self._count(source, file.generation, file.index.first_block)

    @work(thread=True, exclusive=True, group="log-index", exit_on_error=False)
    def _count(self, source: Blocks, generation: int, blocks: int) -> None:
        """Number the lines of a big file from its start while its last page is on the screen already."""
        worker = get_current_worker()
        with source:
            counts = count_blocks(source.read, blocks, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(self._Counted(generation, counts))

    @on(_Counted)
    def _adopt(self, message: _Counted) -> None:
        message.stop()
        if self.lines.file is None:
            return
        moved = self.lines.file.adopt(message.generation, message.counts)
        keep = self.scroll_y + moved
        if self.current is not None:
            self.current += moved
        self._forget()
        self.sync()
        if not self.follow:
            self.scroll_to_row(keep)
        if self.lines.file.whole and self._when_whole is not None:
            action, self._when_whole = self._when_whole, None
            action()
        self.post_message(self.Changed())
