"""Screen 4, the runs: all of them, live, updated in place so that cursor and scroll stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len
from textual import on, work
from textual.binding import Binding
from textual.containers import Container
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from qdl_engine.core.lab import Lab
from qdl_engine.core.words import one_line, printable
from qdl_engine.runs.edit import Deletion, deletion
from qdl_engine.runs.store import Run
from qdl_tui.runs.actions import RunActionsScreen
from qdl_tui.runs.feed import RunsFeed, RunView, what_it_is
from qdl_tui.runs.table import RunsTable
from qdl_tui.runs.text import figures, paragraphs, told_of
from qdl_tui.shared.dialogs import ConfirmScreen, LineInput
from qdl_tui.shared.held_keys import DIALOG
from qdl_tui.shared.lists import middle_cut

SIDE_FROM, SIDE_WIDTH = 120, 40
"""Columns from which a run's figures stand beside the table, and how many they take."""
SHORTEST_STUDENT = 20
"""Cells of a student's name that are always shown."""


@dataclass
class RunsRead(Message):
    """The runs were looked at."""

    lab: Lab
    views: list[RunView]

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunsRead)


@dataclass
class DeletionRead(Message):
    """What deleting a run would take was looked at."""

    run: Run
    deletion: Deletion


class FilterInput(LineInput):
    """Words that a run must have; escape drops them."""

    BINDINGS = [
        Binding("escape", "screen.drop_filter", "All runs", id="runs.all"),
        Binding("down", "screen.focus_runs", "To the list", show=False, id="runs.to_list"),
    ]


class RunsScreen(RunActionsScreen):
    """All runs of the lab, the newest first."""

    MODE = "runs"
    TICK = 1.0
    CSS_PATH = "runs.tcss"
    BINDINGS = [
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
            return "All runs are on show"
        if action == "filter" and not self.views:
            return "There are no runs to filter"
        return super().why_not(action)

    def run_at_hand(self) -> Run | None:
        view = self.views.get(self.table.key_at_cursor)
        return view.run if view is not None else None

    @on(DataTable.RowHighlighted)
    def _show_detail(self) -> None:
        view = self.views.get(self.table.key_at_cursor)
        detail = self.query_one("#run-detail", Static)
        self.offer_again()
        if view is None:
            detail.update(Content("" if self.views else self.no_run()))
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
        """Back to the list, the filter in force."""
        self.query_one(FilterInput).display = False
        self.table.focus()

    def action_drop_filter(self) -> None:
        """Show all runs."""
        box = self.query_one(FilterInput)
        self.wanted = box.value = ""
        self.action_focus_runs()
        self._show()

    # Delete ------------------------------------------------------------------------------------------------

    def action_delete(self) -> None:
        run = self.run_at_hand()
        if run is not None:
            self.read_deletion(run)

    @work(thread=True, group=DIALOG, exit_on_error=False)
    def read_deletion(self, run: Run) -> None:
        self.post_message(DeletionRead(run, deletion(run)))

    @on(DeletionRead)
    def ask_deletion(self, message: DeletionRead) -> None:
        run = message.run

        def answered(agreed: bool | None) -> None:
            if agreed:
                self.delete_run(run)

        name = f" ({printable(run.name)})" if run.name else ""
        self.app.push_screen(ConfirmScreen(f"Delete run {run.id}{name}?", message.deletion.text()), answered)


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
