"""The lines of a log on the screen. It holds only the rows in view and a few pages of finished strips."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import on, work
from textual.events import Key
from textual.message import Message
from textual.strip import Strip
from textual.worker import get_current_worker

from qdl_engine.text import one_line
from qdl_tui.widgets.log_file import Blocks, Change
from qdl_tui.widgets.log_index import count_blocks
from qdl_tui.widgets.log_rows import LogRows
from qdl_tui.widgets.log_scroll import LogScroll
from qdl_tui.widgets.log_search import LineFilter, Pattern
from qdl_tui.widgets.log_text import line_text

HERTZ = 10
"""How often the file is looked at. Twice as often costs twice as much and nobody reads faster."""
KEPT = 300
"""Finished strips kept: a few pages, so that scrolling back and forth makes none anew."""


class LogView(LogScroll):
    """Shows a log file that another process is writing."""

    COMPONENT_CLASSES = {"log-view--match", "log-view--current"}
    DEFAULT_CSS = """
    LogView {
        & > .log-view--match { text-style: bold reverse; }
        & > .log-view--current { text-style: underline; }
    }
    """

    @dataclass
    class _Counted(Message):
        generation: int
        counts: array[int]

    def __init__(self, path: Path | None = None, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.lines = LogRows(path)
        self.mark: Pattern | None = None
        self.current: int | None = None
        """The line of the last match, underlined."""
        self.first_look: Callable[[Key], bool] | None = None
        """Asked about each key before any binding; True takes it."""
        self._strips: dict[int, Strip] = {}
        self._page: list[Strip] | None = None
        self._page_top = 0
        self._page_hidden = 0
        self._base = Style.null()
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

    @property
    def row_count(self) -> int:
        """Rows that can be scrolled to."""
        return len(self.lines)

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
            parts.append(f"{min(self.lines.line_of(self.top) + 1, file.lines):,}/{file.lines:,}")
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

    # Drawing ---------------------------------------------------------------------------------------------

    def drop_page(self) -> None:
        """Lay the view out anew at the next paint."""
        self._page = None

    def _forget(self) -> None:
        self._strips.clear()
        self._page = None

    def notify_style_update(self) -> None:
        """The finished strips carry the old theme's colours."""
        super().notify_style_update()
        self._forget()

    def render_line(self, y: int) -> Strip:
        """One row of the view."""
        page = self._lay_out()
        width = self.scrollable_content_region.width
        start = 0 if self.wrap else self.shift
        strip = page[y] if y < len(page) else Strip.blank(width, self._base)
        return strip.crop_extend(start, start + width, self._base)

    def page_top(self) -> int:
        """The row at the top of the page laid out."""
        self._lay_out()
        return self._page_top

    def action_move(self, rows: int) -> None:
        """Scroll by rows of the screen: a wrapped line that is taller than the view is read to its end."""
        if not self.wrap or (self.follow and rows > 0):
            super().action_move(rows)
            return
        self._lay_out()
        row, hidden = self._page_top, self._page_hidden
        self.follow = False
        hidden += rows
        while hidden < 0 and row > 0:
            row -= 1
            hidden += self._height_of(row)
        while row < self.row_count - 1 and hidden >= self._height_of(row):
            hidden -= self._height_of(row)
            row += 1
        self.scroll_to_row(row, hidden=max(0, min(hidden, self._height_of(row) - 1)))

    def _height_of(self, row: int) -> int:
        """Rows of the screen that a row of the log takes."""
        strips = self._strips_of(row, row + 1)
        return len(self._parts(strips[0])) if strips else 1

    def show_match(self, line: int) -> None:
        """Bring the first match of a line into view, when it stands beside or below what is shown of it."""
        row = self.lines.row_of(line)
        strips = self._strips_of(row, row + 1)
        match = self.mark.display.search(strips[0].text) if self.mark and strips else None
        width = self.scrollable_content_region.width
        if match is None or width <= 0:
            return
        column = cell_len(strips[0].text[: match.start()])
        if not self.wrap:
            if not self.shift <= column < self.shift + width:
                self.shift = max(0, column - width // 2)
        elif column // width >= self.height:
            self.scroll_to_row(row, hidden=column // width - self.height // 2)

    def _lay_out(self) -> list[Strip]:
        """The strips in view, made once for all the rows of a paint."""
        if self._page is None:
            self._base = self.rich_style  # Asked for once a page: it walks up the tree each time.
            height, rows = self.height, self.row_count
            if self.wrap and self.follow:
                self._page_top, page = self._wrapped_from_end(max(0, rows - height), rows, height)
                self._page_hidden = max(0, len(page) - height)
            else:
                self._page_top = round(self.scroll_y)
                row, hidden = self.hidden
                self._page_hidden = hidden if self.wrap and row == self._page_top else 0
                strips = self._strips_of(self._page_top, min(rows, self._page_top + height))
                page = [part for strip in strips for part in self._parts(strip)]
            self._page = page[self._page_hidden :][:height]
        return self._page

    def _wrapped_from_end(self, start: int, stop: int, height: int) -> tuple[int, list[Strip]]:
        """The last rows that fill the view from its lower edge, all of each, and the number of the first."""
        page: list[Strip] = []
        row = stop
        for strip in reversed(self._strips_of(start, stop)):
            if len(page) >= height:
                break
            row -= 1
            page = self._parts(strip) + page
        return row, page

    def _parts(self, strip: Strip) -> list[Strip]:
        width = self.scrollable_content_region.width
        if not self.wrap or strip.cell_length <= width or width <= 0:
            return [strip]
        return list(strip.divide([*_cuts(strip.text, width), strip.cell_length]))

    def _strips_of(self, start: int, stop: int) -> list[Strip]:
        """Strips of some rows; the lines not kept are read together."""
        lines = [self.lines.line_of(row) for row in range(start, stop)]
        raw = self.lines.read([line for line in lines if line not in self._strips])
        underline = self.get_component_rich_style("log-view--current", partial=True)
        mark = self.get_component_rich_style("log-view--match", partial=True)
        strips = []
        for line in lines:
            strip = self._strips.pop(line, None) or self._strip(raw.get(line, b""), mark)
            if self.lines.is_finished(line):
                self._strips[line] = strip  # Put last again: the first ones have gone unused for longest.
            strips.append(strip.apply_style(underline) if line == self.current else strip)
        while len(self._strips) > KEPT:
            del self._strips[next(iter(self._strips))]
        return strips

    def _strip(self, line: bytes, mark: Style) -> Strip:
        text = line_text(line, self.mark.display if self.mark else None, mark)
        if not text.spans:  # Most lines of most logs, at a third of the cost.
            return Strip([Segment(text.plain, self._base)])
        return Strip(text.render(self.app.console), text.cell_len).apply_style(self._base)


def _cuts(text: str, width: int) -> list[int]:
    """The cells at which a wrapped text goes on in the next row: a character of two cells is never halved."""
    if text.isascii():
        return list(range(width, len(text), width))
    cuts, place, start = [], 0, 0
    for character in text:
        cells = cell_len(character)
        if place + cells - start > width:
            cuts.append(place)
            start = place
        place += cells
    return cuts
