"""Screen 4, the runs: all of them, live, updated in place so that cursor and scroll stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text
from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Static

from qdl_engine.lab import Lab
from qdl_engine.runs.store import Run
from qdl_engine.text import one_line, printable
from qdl_tui.feed import RunsFeed, RunView
from qdl_tui.screens.dialogs import ConfirmScreen
from qdl_tui.screens.run_actions import RunActionsScreen

COLUMNS = (("Run", 22), ("State", 8), ("Progress", 12), ("Loss", 7), ("ETA", 7), ("Time", 7))


@dataclass
class RunsRead(Message):
    """The runs were looked at."""

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
        Binding("j,down", "cursor_down", "Down", show=False, id="list.down"),
        Binding("k,up", "cursor_up", "Up", show=False, id="list.up"),
        Binding("g,home", "scroll_top", "First", show=False, id="list.first"),
        Binding("G,end", "scroll_bottom", "Last", show=False, id="list.last"),
        Binding("ctrl+d,pagedown", "page_down", "Page down", show=False, id="list.page_down"),
        Binding("ctrl+u,pageup", "page_up", "Page up", show=False, id="list.page_up"),
    ]


class RunsScreen(RunActionsScreen):
    """All runs of the lab, the newest first."""

    MODE = "runs"
    TICK = 1.0
    CSS_PATH = "runs.tcss"
    BINDINGS = [
        Binding("x", "delete", "Delete", tooltip="Delete the run; its checkpoint stays", id="runs.delete")
    ]

    def __init__(self) -> None:
        super().__init__()
        self.feed = RunsFeed()
        self.views: dict[str, RunView] = {}
        self._shown: dict[str, tuple[str, ...]] = {}

    def compose_body(self) -> Iterable[Widget]:
        yield RunsTable(id="runs", cursor_type="row", zebra_stripes=False, cell_padding=1)
        yield Static("", markup=False, id="run-detail")

    def on_mount(self) -> None:
        table = self.query_one(RunsTable)
        for title, width in COLUMNS:
            table.add_column(title, width=width, key=title)
        table.focus()

    def lab_opened(self) -> None:
        self.views, self._shown = {}, {}
        self.query_one(RunsTable).clear()

    def tick(self) -> None:
        self.read_runs()

    @work(thread=True, exclusive=True, group="runs", exit_on_error=False)
    def read_runs(self) -> None:
        lab = self.lab
        self.post_message(RunsRead(lab, self.feed.read(lab)))

    @on(RunsRead)
    def show_runs(self, message: RunsRead) -> None:
        if message.lab != self.lab:
            return
        views = {view.run.id: view for view in message.views}
        table = self.query_one(RunsTable)
        with self.app.batch_update():
            if list(views) != list(self._shown):
                self._lay_out(table, views)
            else:
                self._update_cells(table, views)
        self.views = views
        self._shown = {key: view.cells for key, view in views.items()}
        self._show_detail()

    def _lay_out(self, table: RunsTable, views: dict[str, RunView]) -> None:
        """Runs came or went: lay the table out again, with the cursor on the run it was on."""
        at_hand = self.run_at_hand()
        table.clear()
        for key, view in views.items():
            table.add_row(*(Text(printable(cell)) for cell in view.cells), key=key)
        if at_hand is not None and at_hand.id in views:
            table.move_cursor(row=list(views).index(at_hand.id), animate=False)

    def _update_cells(self, table: RunsTable, views: dict[str, RunView]) -> None:
        for key, view in views.items():
            for (column, _width), before, now in zip(COLUMNS, self._shown[key], view.cells, strict=True):
                if before != now:
                    table.update_cell(key, column, Text(printable(now)))

    def run_at_hand(self) -> Run | None:
        table = self.query_one(RunsTable)
        if not self.views or not table.is_valid_row_index(table.cursor_row):
            return None
        key = table.coordinate_to_cell_key((table.cursor_row, 0)).row_key.value  # type: ignore[arg-type]
        view = self.views.get(key or "")
        return view.run if view is not None else None

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        run = self.run_at_hand()
        detail = self.query_one("#run-detail", Static)
        if run is None:
            empty = (
                "" if self.views else "No runs yet. The lab screen (1) starts one, or a recipe (2, 3) with r."
            )
            detail.update(Content(empty))
            return
        width = max(20, self.size.width - 4)
        lines = [
            one_line(run.message, width),
            one_line(run.hint, width),
            one_line(f"qdl attach {run.id}", width),
        ]
        detail.update(Content("\n".join(line for line in lines if line)))

    @on(DataTable.RowSelected)
    def watch_run(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.row_key.value:
            self.lab_app.attach(event.row_key.value)

    def action_delete(self) -> None:
        run = self.run_at_hand()
        if run is None:
            return
        if run.active:
            self.notify("It is running: stop it first (s)", markup=False, timeout=3)
            return

        def answered(agreed: bool | None) -> None:
            if agreed:
                self.delete_run(run)

        self.app.push_screen(
            ConfirmScreen(f"Delete run {run.id}?", "Its log goes; its checkpoint stays."), answered
        )
