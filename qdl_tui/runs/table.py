"""The table of runs: rows come, go and change by the id of their run; cursor and scroll stay with theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.binding import Binding
from textual.events import Key
from textual.widgets import DataTable

from qdl_engine.core.words import one_line
from qdl_tui.runs.feed import RunView
from qdl_tui.shared.nav_list import list_keys

WIDTHS = {"Id": 21, "Name": 12, "State": 8, "Progress": 11, "Loss": 6, "ETA": 7, "Time": 7}
"""Cells of each column on 80; what a wider terminal has more goes to the names."""
FIRST_TO_GO = ("Name", "ETA")
"""What a narrower terminal has no room for, the name first: it stands below the table too."""
GAP = 1
"""Cells between two columns."""
LONGEST_NAME = 40


class RunsTable(DataTable[Text]):
    """The table, with vim keys beside the arrows."""

    BINDINGS = [
        Binding(
            "enter", "select_cursor", "Watch", key_display="enter", tooltip="Watch this run", id="runs.watch"
        ),
        *list_keys("scroll_top", "scroll_bottom"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=0)
        self.first_look: Callable[[Key], bool] | None = None
        """Asked about each key before any binding; True takes it."""
        self._shown: dict[str, tuple[str, ...]] = {}
        self._widths: dict[str, int] = {}
        """Cells of each column that there is room for."""

    def on_key(self, event: Key) -> None:
        """Keys that came in one burst are all here before the first one's binding runs."""
        if self.first_look is not None and self.first_look(event):
            event.stop()
            event.prevent_default()

    @property
    def key_at_cursor(self) -> str:
        """The id of the run under the cursor; empty when there is none."""
        if not self._shown or not self.is_valid_row_index(self.cursor_row):
            return ""
        return self.coordinate_to_cell_key((self.cursor_row, 0)).row_key.value or ""  # type: ignore[arg-type]

    def forget(self) -> None:
        """Another lab: begin at the top."""
        self._shown = {}
        self.clear()

    def show_runs(self, views: Sequence[RunView], width: int) -> None:
        """Show these runs in this order, in a table of `width` cells."""
        with self.app.batch_update():
            if self._fit(width):
                self.forget()
            cells = {view.run.id: view.cells(self._widths.get("Name", 0)) for view in views}
            if list(cells) == list(self._shown):
                self._update_cells(cells)
            else:
                self._update_rows(cells)
        self._shown = cells

    def _fit(self, width: int) -> bool:
        """Make the columns as wide as there is room; whether anything changed."""
        widths = _widths(width)
        if widths == self._widths:
            return False
        self._widths = widths
        self.clear(columns=True)
        for title, cells in widths.items():
            self.add_column(self._cell(title, title), width=GAP + cells, key=title)
        return True

    def _cell(self, column: str, text: str) -> Text:
        """A gap, then what fits."""
        return Text(" " * GAP + one_line(text, self._widths[column]))

    def _row(self, cells: tuple[str, ...]) -> list[Text]:
        by_column = zip(WIDTHS, cells, strict=True)
        return [self._cell(column, text) for column, text in by_column if column in self._widths]

    def _update_cells(self, cells: dict[str, tuple[str, ...]]) -> None:
        for key, now in cells.items():
            for column, before, value in zip(WIDTHS, self._shown[key], now, strict=True):
                if before != value and column in self._widths:
                    self.update_cell(key, column, self._cell(column, value))

    def _update_rows(self, cells: dict[str, tuple[str, ...]]) -> None:
        """Runs came or went: the cursor stays on its run, and the run on its line of the screen."""
        held, row, top = self.key_at_cursor, self.cursor_row, round(self.scroll_y)
        for key in self._shown.keys() - cells.keys():
            self.remove_row(key)
        for key in cells.keys() - self._shown.keys():
            self.add_row(*self._row(cells[key]), key=key)
        self._update_cells({key: cells[key] for key in cells.keys() & self._shown.keys()})
        places = {key: place for place, key in enumerate(cells)}
        self.sort("Id", key=lambda cell: places[cell.plain.strip()])
        if held in places:
            place = places[held]
            self.move_cursor(row=place, animate=False, scroll=False)
            if top:
                self.scroll_to(y=top + place - row, animate=False)
        elif cells:
            self.move_cursor(row=min(row, len(cells) - 1), animate=False)


def _widths(width: int) -> dict[str, int]:
    """Cells of the columns in a table of `width` cells."""
    widths = dict(WIDTHS)
    for title in FIRST_TO_GO:
        if _taken(widths) > width:
            del widths[title]
    if "Name" in widths:
        widths["Name"] = min(LONGEST_NAME, WIDTHS["Name"] + width - _taken(widths))
    return widths


def _taken(widths: dict[str, int]) -> int:
    """Cells of the whole table: the columns, the gaps, the scrollbar."""
    return sum(widths.values()) + GAP * len(widths) + 1
