"""The mapping editor: the columns of the source, what the student's rows take from them, and the first rows.

Every choice goes into the draft of the recipe, so undo and save are the recipe's own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from qdl_engine.core.errors import DataError, LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import one_line, printable
from qdl_tui.data.rows import RowView
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import ChooseScreen
from qdl_tui.shared.draft import value_text
from qdl_tui.shared.lists import NavList, middle_cut
from qdl_tui.shared.saving import SAVE_KEYS, DraftSaver, draft_of

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.data.preview import MappedRow, SourceHead
    from qdl_engine.settings import System1Settings, System2Settings
    from qdl_tui.shared.draft import Draft

NONE = "(none)"
READING = "reading the first rows…"
SCHEMAS = {
    "auto": "recognise the schema by its columns",
    "distilqwen": "instruction, output",
    "alpaca": "instruction, input, output",
    "qa": "question, answer; the last line may be #### and the result",
    "messages": "one turn of the user and one of the assistant",
    "omnithought": "question and reasoning, a list of chains with RV and CD",
    "mapping": "your own columns, as you choose them here",
}
PURPOSES = {
    "instruction": "the question to the student",
    "input": "text below the question",
    "output": "the answer, with its reasoning if there is any",
    "thought": "the reasoning alone",
    "answer": "the answer alone",
    "rv": "Reasoning Verbosity, 0 to 9",
    "cd": "Cognitive Difficulty, 0 to 9",
    "verified": "whether a check found the answer right",
}


class MapList(NavList):
    """The schema, then what a row has; Enter chooses where it comes from."""

    BINDINGS = [
        Binding("enter", "select", "Choose", key_display="enter", id="mapping.choose"),
        Binding("backspace", "screen.clear", "Remove", show=False, id="mapping.clear"),
    ]


class MappingScreen(BaseScreen):
    """The choices on the left, one row of the source at a time on the right."""

    CSS_PATH = "data.tcss"
    BINDINGS = [
        *SAVE_KEYS,
        Binding("n,right_square_bracket", "move(1)", "Next row", show=False, id="mapping.next"),
        Binding("p,N,left_square_bracket", "move(-1)", "Previous row", show=False, id="mapping.previous"),
        Binding("f5", "read", "Read the source", show=False, id="mapping.read"),
        Binding("ctrl+d,pagedown", "scroll(5)", "Scroll the row down", show=False, id="mapping.down"),
        Binding("ctrl+u,pageup", "scroll(-5)", "Scroll the row up", show=False, id="mapping.up"),
        Binding("escape,q", "back", "Back", key_display="esc", id="mapping.back"),
    ]

    def __init__(self, system: System) -> None:
        self.MODE = system
        super().__init__()
        self.system: System = system
        self.saver = DraftSaver(self, self.draw)
        self.head: SourceHead | None = None
        """The first rows of the source, once they are read."""
        self.mapped: list[MappedRow] = []
        """The same rows with the mapping applied."""
        self.place = 0
        """Which of them is on show."""
        self.problem = READING
        """Why there are no rows."""

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="map-title")
        with Horizontal(id="map-panes"):
            with Vertical(id="map-left"):
                yield MapList(id="map-fields")
                with VerticalScroll(can_focus=False):
                    yield Static("", markup=False, id="map-columns")
            with Vertical(id="map-right"):
                yield Static("", markup=False, id="map-place")
                yield RowView(id="map-row")

    def on_mount(self) -> None:
        self.query_one(MapList).focus()

    def lab_opened(self) -> None:
        if self.recipe is None:
            self.dismiss()
            return
        self.draw()
        self.read_head(asked=False)

    @property
    def draft(self) -> Draft | None:
        return draft_of(self)

    @property
    def recipe(self) -> System1Settings | System2Settings | None:
        return self.draft.current.recipe(self.system) if self.draft is not None else None

    # The source ------------------------------------------------------------------------------------------

    @work(exclusive=True, group="mapping-head", exit_on_error=False)
    async def read_head(self, *, asked: bool) -> None:
        """Read the first rows; over the network only when the user asked for it."""
        recipe = self.recipe
        if recipe is None:
            return
        head, problem = None, ""
        try:
            if not asked and await asyncio.to_thread(needs_network, self.lab, recipe.source):
                reads = f"{self.key_of('mapping.read')} reads its first rows over the network."
                problem = f"{recipe.source} is a data set on the hub. {reads}"
            else:
                head = await asyncio.to_thread(read_source, self.lab, self.system, recipe)
        except LabError as error:
            problem = str(error)
        if self.recipe is not None and self.recipe.source == recipe.source:
            self.head, self.problem, self.place = head, problem, 0
            self.draw()

    def action_read(self) -> None:
        self.head, self.problem = None, READING
        self.draw()
        self.read_head(asked=True)

    # Drawing ---------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Apply the mapping to the rows again: twenty rows take some milliseconds."""
        from qdl_engine.data.preview import map_head

        self.refresh_bindings()
        recipe, fields, problem = self.recipe, "", self.problem
        if recipe is None:
            return
        self.mapped = []
        if self.head is not None:
            try:
                fields, self.mapped = map_head(self.head, recipe)
            except LabError as error:
                problem = str(error)
        self.place = max(0, min(self.place, len(self.mapped) - 1))
        self._draw_left(recipe, fields)
        self._draw_row(problem)

    def _draw_left(self, recipe: System1Settings | System2Settings, fields: str) -> None:
        from qdl_engine.data.schemas import schema_columns

        draft, listed = self.draft, self.query_one(MapList)
        changed = draft is not None and any(
            draft.is_changed(f"{self.system}.{name}") for name in ("fields", "mapping")
        )
        state = ("changed, not saved  ", "$warning") if changed else ("", "")
        title = f"Mapping of {SYSTEM_NAMES[self.system]}  "
        room = self.size.width - len(title) - len(state[0]) - 2
        source = middle_cut(printable(recipe.source), max(8, room))
        self.query_one("#map-title", Static).update(
            Content.assemble((title, "bold $accent"), state, (source, "$text-muted"))
        )
        schema = f"{recipe.fields} → {fields}" if fields and fields != recipe.fields else recipe.fields
        columns = self.head.columns if self.head is not None else {}
        chosen = "mapping" in (fields, recipe.fields)
        used = recipe.mapping if chosen else schema_columns(fields, columns)
        rows = [("fields", Content.assemble(f"{'fields':12}", (printable(schema), "bold")))]
        room = max(8, listed.size.width - 14)
        for key in PURPOSES:
            column = used.get(key, "")
            look = "bold" if chosen and column else "$text-muted"
            shown = (middle_cut(printable(column), room) if column else "-", look)
            rows.append((key, Content.assemble(f"{key:12}", shown)))
        listed.show_options(rows)
        self.query_one("#map-columns", Static).update(self._columns(columns, set(used.values())))

    def _columns(self, columns: dict[str, str], used: set[str]) -> Content:
        width = min(30, max((len(name) for name in columns), default=0))
        lines = [Content.styled("columns found (* in use)" if columns else "", "bold $accent")]
        lines += [
            Content(f"{'*' if name in used else ' '} {one_line(name, 30):{width}}  {one_line(sample, 60)}")
            for name, sample in columns.items()
        ]
        return Content("\n").join(lines)

    def _draw_row(self, problem: str) -> None:
        view, place = self.query_one(RowView), self.query_one("#map-place", Static)
        view.to_top()
        if problem or not self.mapped:
            place.update("")
            view.say(problem or "The source has no rows.")
            return
        row = self.mapped[self.place]
        taken = sum(1 for item in self.mapped if item.rendered)
        keys = f"{self.key_of('mapping.next')} {self.key_of('mapping.previous')}"
        total = len(self.mapped)
        where = f"{keys}: {self.place + 1}/{total}  {row.place}  {taken} of {total} taken"
        place.update(Content.styled(where, "$text-muted"))
        if row.rendered is None:
            view.say(f"✗ dropped, {row.dropped}")
            return
        values = row.rendered.row
        levels = [f"{key.upper()} {values[key]}" for key in ("rv", "cd") if values.get(key) is not None]
        place.update(Content.assemble((where, "$text-muted"), f"  {' '.join(levels)}"))
        view.show(row.rendered)

    # Choosing --------------------------------------------------------------------------------------------

    @on(OptionList.OptionSelected, "#map-fields")
    def choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        recipe, key = self.recipe, event.option_id or ""
        if recipe is None:
            return
        if key == "fields":
            self.app.push_screen(
                ChooseScreen("How to read the columns", list(SCHEMAS.items()), now=recipe.fields),
                self._schema_chosen,
            )
            return
        columns = self.head.columns if self.head is not None else {}
        options = [(NONE, ""), *((name, one_line(sample, 40)) for name, sample in columns.items())]
        question = f"{key}: {PURPOSES[key]}"
        self.app.push_screen(
            ChooseScreen(question, options, now=recipe.mapping.get(key, NONE)),
            lambda column: self._column_chosen(key, column),
        )

    def _schema_chosen(self, schema: str | None) -> None:
        if schema:
            mapping = self._start() if schema == "mapping" else {}
            self._take(schema, mapping)

    def _column_chosen(self, key: str, column: str | None) -> None:
        if column:
            self._map(key, "" if column == NONE else column)

    def _start(self) -> dict[str, str]:
        """The mapping to start from: the user's own, or a guess from the names of the columns."""
        from qdl_engine.data.preview import guess_mapping

        recipe = self.recipe
        if recipe is None or recipe.mapping:
            return dict(recipe.mapping) if recipe is not None else {}
        return guess_mapping(list(self.head.columns)) if self.head is not None else {}

    def _map(self, key: str, column: str) -> None:
        mapping = {**self._start(), key: column}
        self._take("mapping", {name: mapping[name] for name in PURPOSES if mapping.get(name)})

    def action_clear(self) -> None:
        option = self.query_one(MapList).highlighted_option
        if option is not None and option.id in PURPOSES:
            self._map(option.id, "")

    def _take(self, schema: str, mapping: dict[str, str]) -> None:
        if self.draft is not None:
            texts = {f"{self.system}.fields": schema, f"{self.system}.mapping": value_text(mapping)}
            self.draft.set_many("the mapping", texts)
            self.draw()

    # Keys ------------------------------------------------------------------------------------------------

    def why_not(self, action: str) -> str:
        return self.saver.why_not(self.draft, action) if self.draft is not None else ""

    def action_save(self) -> None:
        if self.draft is not None:
            self.saver.save(self.draft)

    def action_undo(self) -> None:
        if self.draft is not None:
            self.saver.undo(self.draft)

    def action_move(self, rows: int) -> None:
        self.place = max(0, min(self.place + rows, len(self.mapped) - 1))
        self._draw_row(self.problem if self.head is None else "")

    def action_scroll(self, lines: int) -> None:
        self.query_one(RowView).scroll_relative(y=lines, animate=False)

    def action_back(self) -> None:
        self.dismiss()


# The source ----------------------------------------------------------------------------------------------


def needs_network(lab: Lab, source: str) -> bool:
    """Whether a source is a data set on the hub: no local file has its name."""
    from qdl_engine.data.sources import find_local

    return find_local(lab, source) is None


def read_source(lab: Lab, system: System, recipe: System1Settings | System2Settings) -> SourceHead:
    """The first rows of a recipe's source. `qdl preview` reads what needs a heavy library, in a process.

    Raises:
        DataError: when the source cannot be read.
    """
    from qdl_engine.data.preview import SourceHead, read_head
    from qdl_engine.data.sources import find_local, is_heavy

    path = find_local(lab, recipe.source)
    if path is not None and not is_heavy(path):
        return read_head(lab, recipe)
    settings = [f"{system}.source={recipe.source}", f"{system}.split={recipe.split}"]
    command = [sys.executable, "-P", "-m", "qdl_engine.cli", "--lab", str(lab.root), "preview", system]
    command += ["--source", "--json", *(word for setting in settings for word in ("--set", setting))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    try:
        shown = json.loads(done.stdout)
    except ValueError as cause:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise DataError(f"Cannot read {recipe.source}: {last}") from cause
    if "raw" not in shown:
        raise DataError(str(shown["error"]["message"]), str(shown["error"].get("hint") or ""))
    return SourceHead.from_dict(shown["raw"])
