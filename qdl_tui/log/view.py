"""The lines of a log on the screen: only those in view are drawn, and a few pages of them are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import work
from textual.binding import Binding
from textual.events import Key, Resize
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qdl_tui.log.file import Snapshot, count_blocks
from qdl_tui.log.rows import LineFilter, LogRows
from qdl_tui.log.search import Pattern
from qdl_tui.log.text import line_text, wrap_cuts

HERTZ = 10
"""How often the view polls the file. Twice as often costs twice as much, and nobody reads faster."""
KEPT = 300
"""Finished strips kept: a few pages, so that scrolling back and forth draws nothing twice."""


class _Page(NamedTuple):
    """What is in view: the row at the top, how many of its wrapped parts are above, and the strips."""

    top: int
    hidden: int
    strips: list[Strip]


class LogView(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows a log file that another process is writing.

    Only keys and the mouse start and stop following the end; new lines never do.

    Args:
        path: The log; None until it is known.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES = {"log-view--match", "log-view--current"}
    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size-vertical: 1;
        & > .log-view--match { text-style: bold reverse; }
        & > .log-view--current { text-style: underline; }
    }
    """
    BINDINGS = [
        Binding("up,k", "move(-1)", "Line up", show=False, id="log.up"),
        Binding("down,j", "move(1)", "Line down", show=False, id="log.down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="log.page-up"),
        Binding("pagedown,ctrl+f,space", "page(1)", "Page down", show=False, id="log.page-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="log.half-up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="log.half-down"),
        Binding("home,g", "top", "Start of the log", show=False, id="log.start"),
        Binding("end,G", "follow", "Follow the end", show=False, id="log.follow"),
        Binding("left,h", "pan(-1)", "Scroll left", show=False, id="log.left"),
        Binding("right,l", "pan(1)", "Scroll right", show=False, id="log.right"),
        Binding("w", "wrap", "Wrap lines", show=False, id="log.wrap"),
    ]

    follow: reactive[bool] = reactive(True, init=False)
    """Whether the end of the log stays in view."""
    wrap: reactive[bool] = reactive(False, init=False)
    """Whether a wide line takes several rows instead of scrolling sideways."""
    shift: reactive[int] = reactive(0, init=False)
    """Cells scrolled to the right."""

    @dataclass
    class Changed(Message):
        """Position, follow state, filter or length changed; `reset`: the file was truncated or replaced."""

        reset: bool = False

        def can_replace(self, message: Message) -> bool:
            """Many of these in the queue count as one."""
            return isinstance(message, LogView.Changed) and not message.reset

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.rows = LogRows(path)
        self.mark: Pattern | None = None
        """What to mark in the lines: the last search."""
        self.current: int | None = None
        """The line of the last match, underlined."""
        self.first_look: Callable[[Key], bool] | None = None
        """Sees each key before any binding; True takes it."""
        self._numbered = asyncio.Event()
        self._top_hidden = (0, 0)
        """A row, and how many of its wrapped parts are above the view while it is the one at the top."""
        self._strips: dict[int, Strip] = {}
        self._page: _Page | None = None
        self._base = Style.null()

    def on_mount(self) -> None:
        """Show what is there before the first paint, then poll the file."""
        self.set_interval(1 / HERTZ, self.tick)
        self.tick()

    def on_unmount(self) -> None:
        """Close the file."""
        self.rows.file.close()

    def on_key(self, event: Key) -> None:
        """Keys that came in one burst are all here before the first one's binding runs."""
        if self.first_look is not None and self.first_look(event):
            event.stop()
            event.prevent_default()

    # What is shown ---------------------------------------------------------------------------------------

    def show(self, path: Path | None) -> None:
        """Show another file from its end."""
        self.rows.file.close()
        self.rows = LogRows(path)
        self.workers.cancel_node(self)
        self.mark, self.current = None, None
        self.shift, self.follow = 0, True
        self._forget()
        self.tick()
        self.sync()

    def set_filter(self, chosen: LineFilter | None) -> None:
        """Show only the lines it keeps; None for all. The line at the top stays as near as it can."""
        line = self.rows.line_of(self.top)
        self.rows.filter = chosen
        self.tick()
        self.sync()
        if not self.follow:
            self.scroll_to_row(self.rows.row_of(line))
        self.post_message(self.Changed())

    def set_mark(self, pattern: Pattern | None) -> None:
        """Mark the matches of a search in the lines shown."""
        self.mark = pattern
        if pattern is None:
            self.current = None
        self._forget()
        self.refresh()

    def reveal(self, line: int, *, at_top: bool = False) -> None:
        """Bring a line into view, in the upper third unless it is in view already; stop following."""
        row, start = self.rows.row_of(line), self.top
        self.follow = False
        self.current = line
        if at_top or not start <= row < start + self.height:
            start = row if at_top else row - self.height // 3
        self.scroll_to_row(start)

    def show_match(self, line: int) -> None:
        """Bring the first match of a line into view when it is beside or below the part shown."""
        row = self.rows.row_of(line)
        strips = self._draw(row, row + 1)
        match = self.mark.display.search(strips[0].text) if self.mark and strips else None
        width = self.width
        if match is None or width <= 0:
            return
        column = cell_len(strips[0].text[: match.start()])
        if not self.wrap:
            if not self.shift <= column < self.shift + width:
                self.shift = max(0, column - width // 2)
        elif column // width >= self.height:
            self.scroll_to_row(row, hidden=column // width - self.height // 2)

    # The file --------------------------------------------------------------------------------------------

    async def numbered(self) -> None:
        """Wait until lines are numbered from the start of the file."""
        while not self.rows.file.whole:
            self._numbered.clear()
            await self._numbered.wait()

    def tick(self) -> None:
        """Take in what was written since the last look."""
        file = self.rows.file
        before = file.generation
        news = self.rows.poll()
        reset = file.generation != before
        if reset:
            self.current = None
            self._forget()
            self._numbered.set()
            if not file.whole:
                self._count(file.snapshot(), file.index.first_block)
        if news:
            self.sync()
            self.post_message(self.Changed(reset=reset and before > 0))

    @work(exclusive=True, group="log-index", exit_on_error=False)
    async def _count(self, source: Snapshot, blocks: int) -> None:
        """Number the lines of a big file from its start while its last page is on the screen already."""
        counts = await source.in_thread(lambda cancelled: count_blocks(source.read, blocks, cancelled))
        moved = source.file.adopt(source, counts)
        keep = self.scroll_y + moved
        if self.current is not None:
            self.current += moved
        self._forget()
        self.sync()
        if not self.follow:
            self.scroll_to_row(keep)
        self._numbered.set()
        self.post_message(self.Changed())

    # Where the view is -----------------------------------------------------------------------------------

    @property
    def top(self) -> int:
        """The row at the top of the view."""
        # Wrapped rows are laid out upwards from the end, so the scroll position does not say it.
        return self._lay_out().top if self.wrap and self.follow else round(self.scroll_y)

    @property
    def width(self) -> int:
        """Cells of a row in view."""
        return self.scrollable_content_region.width

    @property
    def height(self) -> int:
        """Rows in view."""
        return self.scrollable_content_region.height

    @property
    def below(self) -> int:
        """Rows below the ones in view."""
        return max(0, len(self.rows) - self.top - self.height)

    def sync(self) -> None:
        """Take over a new number of rows, size or state; the end stays in view when following."""
        self._page = None
        rows = len(self.rows) + (max(0, self.height - 1) if self.wrap else 0)
        size = Size(self.width, rows)
        if size != self.virtual_size:
            self.virtual_size = size
        if self.follow:
            self.scroll_to(y=self.max_scroll_y, animate=False)
        self.refresh()

    def scroll_to_row(self, row: float, *, hidden: int = 0) -> None:
        """Put a row at the top, without the first `hidden` of the rows it takes when it is wrapped."""
        self._top_hidden = (max(0, round(row)), hidden)
        self._page = None
        self.scroll_to(y=max(0, row), animate=False)
        self.refresh()
        self.post_message(self.Changed())

    def on_resize(self, event: Resize) -> None:
        """Keep the end in view when the pane changes its size."""
        self.sync()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Stop following on any way upwards: keys, wheel, scroll bar. Clamping to the end is not one."""
        if self.follow and new_value < old_value and new_value < self.max_scroll_y:
            self.follow = False
        self._page = None
        super().watch_scroll_y(old_value, new_value)
        self.post_message(self.Changed())

    def watch_follow(self) -> None:
        """Go to the end at once, and leave the last match behind."""
        if self.follow:
            self.current = None
        self.sync()
        self.post_message(self.Changed())

    def watch_wrap(self) -> None:
        """Start wrapped lines at the left edge."""
        self.shift = 0
        self.sync()
        self.post_message(self.Changed())

    def watch_shift(self) -> None:
        """Cut the same strips elsewhere."""
        self.refresh()
        self.post_message(self.Changed())

    def action_move(self, rows: int) -> None:
        """Scroll by rows of the screen: a wrapped line taller than the view can be read to its end."""
        if self.follow and rows > 0:
            return
        row, hidden, _ = self._lay_out()
        self.follow = False
        hidden += rows
        while hidden < 0 and row > 0:
            row -= 1
            hidden += self._height_of(row)
        while row < len(self.rows) - 1 and hidden >= self._height_of(row):
            hidden -= self._height_of(row)
            row += 1
        self.scroll_to_row(row, hidden=max(0, min(hidden, self._height_of(row) - 1)))

    def action_page(self, pages: float) -> None:
        """Scroll by pages; upwards stops following."""
        rows = max(1, int(abs(pages) * (self.height - 1)))
        self.action_move(rows if pages > 0 else -rows)

    def action_top(self) -> None:
        """Go to the first line of the file, numbered yet or not, and stop following."""
        self.follow = False
        self.scroll_to_row(0)
        if not self.rows.file.whole:
            self._top_when_numbered()

    @work(exclusive=True, group="log-top")
    async def _top_when_numbered(self) -> None:
        await self.numbered()
        self.follow = False
        self.scroll_to_row(0)

    def action_follow(self) -> None:
        """Go to the end and stay there."""
        self.follow = True

    def action_pan(self, pages: int) -> None:
        """Scroll sideways by half a width."""
        if not self.wrap:
            self.shift = max(0, self.shift + pages * max(1, self.width // 2))

    def action_wrap(self) -> None:
        """Wrap wide lines, or scroll them sideways."""
        self.wrap = not self.wrap

    # Drawing ---------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One row of the view."""
        strips, width = self._lay_out().strips, self.width
        start = 0 if self.wrap else self.shift
        strip = strips[y] if y < len(strips) else Strip.blank(width, self._base)
        return strip.crop_extend(start, start + width, self._base)

    def notify_style_update(self) -> None:
        """Drop the strips, which carry the old theme's colours."""
        super().notify_style_update()
        self._forget()

    def _forget(self) -> None:
        self._strips.clear()
        self._page = None

    def _lay_out(self) -> _Page:
        """The page in view, made once for all the rows of a paint."""
        if self._page is None:
            self._base = self.rich_style  # Once a page: it walks up the tree each time.
            height, rows = self.height, len(self.rows)
            if self.wrap and self.follow:
                top, strips = self._fill_upwards(height)
                hidden = max(0, len(strips) - height)
            else:
                top = round(self.scroll_y)
                row, hidden = self._top_hidden
                hidden = hidden if self.wrap and row == top else 0
                drawn = self._draw(top, min(rows, top + height))
                strips = [part for strip in drawn for part in self._parts(strip)]
            self._page = _Page(top, hidden, strips[hidden:][:height])
        return self._page

    def _fill_upwards(self, height: int) -> tuple[int, list[Strip]]:
        """The last rows that fill the view, wrapped, and the number of the first of them."""
        strips: list[Strip] = []
        row = len(self.rows)
        for strip in reversed(self._draw(max(0, row - height), row)):
            if len(strips) >= height:
                break
            row -= 1
            strips = self._parts(strip) + strips
        return row, strips

    def _height_of(self, row: int) -> int:
        """Rows of the screen that a row of the log takes."""
        strips = self._draw(row, row + 1) if self.wrap else []
        return len(self._parts(strips[0])) if strips else 1

    def _parts(self, strip: Strip) -> list[Strip]:
        width = self.width
        if not self.wrap or strip.cell_length <= width or width <= 0:
            return [strip]
        return list(strip.divide([*wrap_cuts(strip.text, width), strip.cell_length]))

    def _draw(self, start: int, stop: int) -> list[Strip]:
        """Strips of some rows; the lines not kept are read together."""
        lines = [self.rows.line_of(row) for row in range(start, stop)]
        raw = self.rows.read([line for line in lines if line not in self._strips])
        underline = self.get_component_rich_style("log-view--current", partial=True)
        mark = self.get_component_rich_style("log-view--match", partial=True)
        strips = []
        for line in lines:
            strip = self._strips.pop(line, None) or self._draw_line(raw.get(line, b""), mark)
            if self.rows.is_finished(line):
                self._strips[line] = strip  # Put last again: the first ones have gone unused for longest.
            strips.append(strip.apply_style(underline) if line == self.current else strip)
        while len(self._strips) > KEPT:
            del self._strips[next(iter(self._strips))]
        return strips

    def _draw_line(self, line: bytes, mark: Style) -> Strip:
        text = line_text(line, self.mark.display if self.mark else None, mark)
        if not text.spans:  # Most lines of most logs, at a third of the cost.
            return Strip([Segment(text.plain, self._base)])
        return Strip(text.render(self.app.console), text.cell_len).apply_style(self._base)
