"""Prepared rows: read page by page, gone through with a filter, and drawn as the student meets them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import System
from qdl_engine.core.words import printable

if TYPE_CHECKING:
    from qdl_engine.data.preview import RenderedRow, RowFilter

PAGE = 50
"""Rows read together: moving within them reads nothing."""
UNLABELLED = "no answer yet: the teacher has to label it"
Row = dict[str, Any]
Stamp = tuple[int, int]


class PreparedRows:
    """The prepared rows of one student, as one version of the file has them."""

    def __init__(self, lab: Lab, system: System) -> None:
        self.lab = lab
        self.system: System = system
        self._page: tuple[Stamp | None, int, list[Row]] = (None, 0, [])
        """The file's stamp, the number of rows before the page, and its rows: replaced as one, for a worker
        that was cancelled may still be reading."""

    @property
    def stamp(self) -> Stamp | None:
        """Tells one version of the prepared file from the next; None when there is no file."""
        from qdl_engine.data.files import prepared_file

        path = prepared_file(self.lab, self.system)
        found = path.stat() if path else None
        return (found.st_mtime_ns, found.st_size) if found else None

    def row(self, number: int) -> Row | None:
        """Row `number`, from 1; None when there is no such row.

        Raises:
            DataError: when the prepared file cannot be read.
        """
        from qdl_engine.data.files import preview_rows

        stamp = self.stamp
        known, first, page = self._page
        if stamp != known or not first < number <= first + len(page):
            first = (number - 1) // PAGE * PAGE
            page = preview_rows(self.lab, self.system, first, PAGE)
            self._page = (stamp, first, page)
        place = number - 1 - first
        return page[place] if 0 <= place < len(page) else None

    def find(self, wanted: RowFilter, cancelled: Callable[[], bool]) -> Found:
        """The rows that a filter keeps, from the whole file.

        Raises:
            DataError: when the prepared file cannot be read.
        """
        from qdl_engine.data.preview import RowFilter, find_rows

        total, numbers = 0, array("L")
        for number, row in find_rows(self.lab, self.system, RowFilter(), cancelled=cancelled):
            total = number
            if wanted.keeps(row):
                numbers.append(number)
        return Found(total, numbers)


@dataclass(frozen=True)
class Found:
    """The rows that a filter keeps."""

    total: int
    """Rows in the file."""
    numbers: Sequence[int]
    """The numbers of the rows that the filter keeps, from 1, in order."""


@dataclass
class Place:
    """Which row is on show, among which rows."""

    number: int = 1
    words: str = ""
    """The filter as typed; empty when every row is shown."""
    found: Found | None = field(default=None)
    """What the filter keeps; None while the file is searched."""

    @property
    def matches(self) -> bool:
        """Whether the row on show is one that the filter keeps."""
        return not self.words or self.found is None or bool(self.found.numbers)

    def step(self, rows: int) -> int | None:
        """The number of the next row (`rows` = 1) or the one before (-1); None at the end."""
        if self.words and self.found is not None:
            later = [number for number in self.found.numbers if (number - self.number) * rows > 0]
            return None if not later else later[0] if rows > 0 else later[-1]
        wanted = self.number + rows
        return wanted if wanted >= 1 and (self.found is None or wanted <= self.found.total) else None

    def nearest(self, number: int) -> int | None:
        """The row with this number, or the nearest that the filter keeps; None when it keeps no row."""
        if self.found is None:
            return None
        wanted = max(1, min(number, self.found.total))
        if not self.words:
            return wanted
        return min(self.found.numbers, key=lambda kept: abs(kept - wanted), default=None)


class RowView(VerticalScroll, can_focus=False):
    """One row. A bar runs beside every line of the trained part: colour alone would not show it."""

    DEFAULT_CSS = """
    RowView {
        height: 1fr;
        padding: 0 1;
        & > Static { height: auto; }
        & > .trained { border-left: outer $success; padding-left: 1; text-style: bold; }
        & > .legend { color: $text-muted; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, classes="prompt")
        yield Static("", markup=False, classes="trained")
        yield Static("", markup=False, classes="legend")

    def show(self, row: RenderedRow) -> None:
        """Draw a row: the prompt, then what the student is trained on."""
        self._draw(row.prompt.removesuffix("\n"), row.trained or UNLABELLED)

    def say(self, text: str) -> None:
        """Say why there is no row."""
        self._draw(text, "")

    def _draw(self, prompt: str, trained: str) -> None:
        self.query_one(".prompt", Static).update(Content(printable(prompt)))
        shown = self.query_one(".trained", Static)
        shown.display = bool(trained)
        shown.update(Content(printable(trained)))
        self.query_one(".legend", Static).update("the bar marks what is trained" if trained else "")

    def to_top(self) -> None:
        """Scroll to the beginning, for another row."""
        self.scroll_to(y=0, animate=False)
