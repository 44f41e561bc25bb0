"""Screen 4, the runs: all of them, live, in a table that changes in place, so that cursor and scroll stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual import on, work
from textual.binding import Binding
from textual.containers import Container
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from qdl_engine.core.lab import Lab
from qdl_engine.core.words import one_line
from qdl_engine.runs.store import Run
from qdl_tui.runs.actions import RUN_KEYS, RunActions
from qdl_tui.runs.feed import RunsFeed, RunView, figures, paragraphs, told_of, what_it_is
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import LineInput
from qdl_tui.shared.lists import list_keys, middle_cut

SIDE_FROM, SIDE_WIDTH = 120, 40
"""Columns from which a run's figures stand beside the table, and how many they take."""
SHORTEST_STUDENT = 20
"""Cells of a student's name that are always shown."""
WIDTHS = {"Id": 21, "Name": 10, "State": 8, "Progress": 11, "Loss": 6, "ETA": 8, "Time": 8}
"""Cells of each column on 80; what a wider terminal has more goes to the names."""
FIRST_TO_GO = ("Name", "ETA")
"""What a narrower terminal has no room for, the name first: it stands below the table too."""
GAP = 1
"""Cells between two columns."""
LONGEST_NAME = 40


@dataclass
class RunsRead(Message):
    """The runs as they stand now."""

    lab: Lab
    views: list[RunView]

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsRead)


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
        """Sees each key before any binding; True means that it took the key."""
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
        """Start at the top, for another lab."""
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


class FilterInput(LineInput):
    """Words that a run must have; escape drops them."""

    BINDINGS = [
        Binding("escape", "screen.drop_filter", "All runs", id="runs.all"),
        Binding("down", "screen.focus_runs", "To the list", show=False, id="runs.to_list"),
    ]


class RunsScreen(BaseScreen):
    """All runs of the lab, the newest first."""

    MODE = "runs"
    TICK = 1.0
    CSS_PATH = "runs.tcss"
    BINDINGS = [
        *RUN_KEYS,
        Binding(
            "slash",
            "filter",
            "Filter",
            key_display="/",
            tooltip="Show only the runs that have some words in name, id, state, kind, student or note",
            id="runs.filter",
        ),
        Binding("escape", "drop_filter", "All runs", show=False, tooltip="Show all runs", id="runs.unfilter"),
        Binding(
            "x",
            "delete",
            "Delete",
            tooltip="Delete the run with its log; its student stays",
            id="runs.delete",
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.feed = RunsFeed()
        self.run_actions = RunActions(self, self.run_at_hand)
        self.views: dict[str, RunView] = {}
        self.wanted = ""
        """The filter's words."""

    def compose_body(self) -> Iterable[Widget]:
        with Container(id="runs-panes"):
            yield RunsTable(id="runs")
            yield Static("", markup=False, id="run-detail")
        yield Static("", markup=False, id="runs-count")
        yield FilterInput(id="runs-filter", placeholder="words in name, id, state, kind, student or note")

    def on_mount(self) -> None:
        self.query_one(FilterInput).display = False
        self.table.first_look = self._first_look
        self.table.focus()

    @property
    def table(self) -> RunsTable:
        return self.query_one(RunsTable)

    def lab_opened(self) -> None:
        self.views = {}
        self.action_drop_filter()
        self.table.forget()

    def tick(self) -> None:
        self.read_runs()

    @work(thread=True, exclusive=True, group="runs", exit_on_error=False)
    def read_runs(self) -> None:
        lab = self.lab
        self.post_message(RunsRead(lab, self.feed.read(lab)))

    @on(RunsRead)
    def show_runs(self, message: RunsRead) -> None:
        if message.lab == self.lab:
            self.views = {view.run.id: view for view in message.views}
            self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        shown = [view for view in self.views.values() if view.fits(self.wanted)]
        self.table.show_runs(shown, self.size.width - (SIDE_WIDTH if self._beside else 0))
        count = ""
        if self.wanted:
            counted = f"{len(shown)} of {len(self.views)} runs"
            count = f"/{one_line(self.wanted, 30)}   {counted}   {self.key_of('runs.unfilter')}: all"
        line = self.query_one("#runs-count", Static)
        line.display = bool(count)
        line.update(Content.styled(count, "$accent"))
        self._show_detail()

    def why_not(self, action: str) -> str:
        if action == "drop_filter" and not self.wanted and not isinstance(self.focused, FilterInput):
            return "All runs are shown"
        if action == "filter" and not self.views:
            return "There are no runs to filter"
        return self.run_actions.why_not(action)

    def run_at_hand(self) -> Run | None:
        view = self.views.get(self.table.key_at_cursor)
        return view.run if view is not None else None

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        view = self.views.get(self.table.key_at_cursor)
        detail = self.query_one("#run-detail", Static)
        self.run_actions.offer_again()
        if view is None:
            detail.update(Content("" if self.views else self.run_actions.no_run()))
            return
        room = SIDE_WIDTH - 3 if self._beside else self.size.width - 2
        detail.update(Content("\n").join(_detail(view, max(20, room), beside=self._beside)))

    @property
    def _beside(self) -> bool:
        """Whether what is known of a run stands beside the table, with its figures."""
        return self.size.width >= SIDE_FROM

    @on(DataTable.RowSelected)
    def watch_run(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.row_key.value:
            self.lab_app.attach(event.row_key.value)

    # Filter ------------------------------------------------------------------------------------------------

    def _first_look(self, event: Key) -> bool:
        """Open the filter at its key, and give it what was typed ahead.

        Over a slow line `/lost` arrives in one piece, and its letters would be taken for keys of the list.
        """
        box = self.query_one(FilterInput)
        if box.display:
            box.post_message(Key(event.key, event.character))
            return True
        active = self.active_bindings.get(event.key)
        if active is None or active.binding.action != "filter":
            return False
        self.action_filter()
        return True

    def action_filter(self) -> None:
        """Ask for words; the list follows as they are typed."""
        box = self.query_one(FilterInput)
        box.display = True
        box.value = self.wanted
        box.cursor_position = len(box.value)
        box.focus()

    @on(Input.Changed, "#runs-filter")
    def filter_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.wanted = event.value.strip()
        self._show()

    @on(Input.Submitted, "#runs-filter")
    def filter_taken(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_focus_runs()

    def action_focus_runs(self) -> None:
        """Back to the list; the filter stays."""
        self.query_one(FilterInput).display = False
        self.table.focus()

    def action_drop_filter(self) -> None:
        """Show all runs."""
        box = self.query_one(FilterInput)
        self.wanted = box.value = ""
        self.action_focus_runs()
        self._show()

    # What the user can do to the run under the cursor ----------------------------------------------------

    def action_stop(self) -> None:
        self.run_actions.stop()

    def action_resume(self) -> None:
        self.run_actions.resume()

    def action_rename(self) -> None:
        self.run_actions.rename()

    def action_note(self) -> None:
        self.run_actions.note()

    def action_copy_id(self) -> None:
        self.run_actions.copy_id()

    def action_export(self) -> None:
        self.run_actions.export()

    def action_delete(self) -> None:
        self.run_actions.delete()


def _detail(view: RunView, width: int, *, beside: bool) -> list[Content]:
    """What is known of a run; with its figures where there is room for them."""
    run = view.run
    about = paragraphs(_about(view, width * (3 if beside else 1)), width, rows=3 if beside else 1)
    told = paragraphs(told_of(run), width, rows=6 if beside else 2)
    noted = paragraphs(run.note and f"Note: {run.note}", width, rows=6 if beside else 1)
    parts = figures(run, view.summary, view.held_out_at) if beside else []
    numbers = ["", *(word for word, _short in parts)] if beside else []
    note = [Content.styled(line, "$accent") for line in noted]
    return [*map(Content, about), *map(Content, told), *note, *map(Content, numbers)]


def _about(view: RunView, width: int) -> str:
    """What a run is, in `width` cells: its name, what it does, and which student it starts from."""
    run = view.run
    about = " · ".join(part for part in (run.name, what_it_is(run)) if part)
    if not view.student:
        return about
    start = f"{about}, from the student "
    return start + middle_cut(view.student, max(SHORTEST_STUDENT, width - cell_len(start)))
