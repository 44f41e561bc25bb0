"""The rows of a log laid out and drawn: only those in view, and a few pages of finished strips, are held."""

from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from qdl_tui.widgets.log_rows import LogRows
from qdl_tui.widgets.log_scroll import LogScroll
from qdl_tui.widgets.log_search import Pattern
from qdl_tui.widgets.log_text import line_text

KEPT = 300
"""Finished strips kept: a few pages, so that scrolling back and forth makes none anew."""


class LogPage(LogScroll):
    """Draws what is in view, wrapped or not, with the matches marked.

    Args:
        path: The log; None until it is known.
    """

    COMPONENT_CLASSES = {"log-page--match", "log-page--current"}
    DEFAULT_CSS = """
    LogPage {
        & > .log-page--match { text-style: bold reverse; }
        & > .log-page--current { text-style: underline; }
    }
    """

    def __init__(self, path: Path | None = None, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.lines = LogRows(path)
        self.mark: Pattern | None = None
        self.current: int | None = None
        """The line of the last match, underlined."""
        self._strips: dict[int, Strip] = {}
        self._page: list[Strip] | None = None
        self._page_top = 0
        self._page_hidden = 0
        self._base = Style.null()

    @property
    def row_count(self) -> int:
        """Rows that can be scrolled to."""
        return len(self.lines)

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
        underline = self.get_component_rich_style("log-page--current", partial=True)
        mark = self.get_component_rich_style("log-page--match", partial=True)
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
