"""The prepared data of one student, opened from its recipe: row by row, and the report of dropped rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import printable
from qdl_tui.data.rows import Place, PreparedRows, Row, RowView, Stamp
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import LineInput
from qdl_tui.shared.host import ask_engine
from qdl_tui.shared.saving import draft_of

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.preflight.rows import RowTokens
    from qdl_engine.settings import System1Settings, System2Settings

COUNTED_AT_ONCE = 20
"""Rows whose tokens one process counts: going through them loads the tokenizer once."""
NOTHING = (
    "Nothing is prepared yet. {close} goes back to the recipe, where you prepare the data; {mapping} previews"
    " the first rows of the source."
)


class DataScreen(BaseScreen):
    """One row at a time, with the recipe's system prompt as it is edited."""

    TICK = 2.0
    AUTO_FOCUS = ""
    CSS_PATH = "data.tcss"
    BINDINGS = [
        Binding("n,right_square_bracket", "move(1)", "Next row", key_display="n", id="data.next"),
        Binding("p,N,left_square_bracket", "move(-1)", "Previous row", show=False, id="data.previous"),
        Binding(
            "slash",
            "ask('filter')",
            "Filter",
            key_display="/",
            tooltip="Show only rows with a text, or with RV and CD in a range: trains rv:3-5 cd:4",
            id="data.filter",
        ),
        Binding(
            "h", "report", "Report", tooltip="Show the dropped rows and the row lengths", id="data.report"
        ),
        Binding(
            "colon",
            "ask('row')",
            "Go to row",
            key_display=":",
            show=False,
            tooltip="Go to a row by its number, or by 50%",
            id="data.go",
        ),
        Binding(
            "m", "mapping", "Mapping", show=False, tooltip="Choose what each column is", id="data.mapping"
        ),
        Binding(
            "e",
            "make",
            "EasyDistill 2.x",
            show=False,
            tooltip="Make data with EasyDistill 2.x and a server",
            id="data.make",
        ),
        Binding("g,home", "end(0)", "First row", show=False, id="data.first"),
        Binding("G,end", "end(-1)", "Last row", show=False, id="data.last"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="data.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="data.up"),
        Binding("ctrl+d,pagedown,space", "scroll(10)", "Page down", show=False, id="data.page_down"),
        Binding("ctrl+u,pageup", "scroll(-10)", "Page up", show=False, id="data.page_up"),
        Binding(
            "escape,q", "back", "Back", key_display="esc", tooltip="Clear the filter, then close",
            id="data.close",
        ),
    ]  # fmt: skip

    rows: PreparedRows
    """What is on show; another one once the data were prepared again."""

    def __init__(self, system: System) -> None:
        self.MODE = system
        super().__init__()
        self.system: System = system
        self.place = Place()
        self.row: Row | None = None
        self.problem = ""
        """Why the prepared file cannot be read."""
        self.on_report = False
        self._asked = ""
        """What the prompt is for: `filter` or `row`."""
        self._seen: Stamp | None = None
        self._tokens: dict[int, RowTokens] = {}
        """The counted rows, by number."""
        self._counted_for: tuple[str, ...] = ()
        """The settings that the tokens were counted with."""

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="data-title")
        yield Static("", markup=False, id="data-tokens")
        with Horizontal(id="data-panes"):
            yield RowView(id="data-row")
            with VerticalScroll(can_focus=False, id="data-side"):
                yield Static("", markup=False, id="data-report")
        yield LineInput(id="data-prompt")

    def on_mount(self) -> None:
        self.query_one("#data-prompt").display = False

    @property
    def recipe(self) -> System1Settings | System2Settings | None:
        """The recipe with its edits; None when another lab was opened meanwhile."""
        draft = draft_of(self)
        return draft.current.recipe(self.system) if draft is not None else None

    def lab_opened(self) -> None:
        if self.recipe is None:
            self.dismiss()  # the recipe of the other lab comes first
            return
        self._start()

    def tick(self) -> None:
        if self.lab_app.wanted_setting:
            self.dismiss()
        elif self.rows.stamp != self._seen:
            self._start()

    # Reading ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Read everything: at first, and again when the data were prepared again."""
        self.rows = PreparedRows(self.lab, self.system)
        self._seen, self._tokens = self.rows.stamp, {}
        self.place.found = None
        self.read_row(self.place.number)
        self.find_rows()
        self.read_report()

    @work(exclusive=True, group="data-row", exit_on_error=False)
    async def read_row(self, number: int) -> None:
        """Show a row; a number without a row changes nothing."""
        row, self.problem = None, ""
        try:
            row = await asyncio.to_thread(self.rows.row, number)
        except LabError as error:
            self.problem = str(error)
        if row is not None or number == 1:
            self.place.number, self.row = number, row
        self._count_tokens()
        self.draw()

    @work(exclusive=True, group="data-find", exit_on_error=False)
    async def find_rows(self) -> None:
        """Search the file for what the filter keeps, and go to the first row of it from here."""
        from qdl_engine.data.preview import RowFilter

        worker, wanted = get_current_worker(), RowFilter.parse(self.place.words)
        found = await asyncio.to_thread(self.rows.find, wanted, lambda: worker.is_cancelled)
        self.place.found = found
        if found.numbers and self.place.number not in found.numbers:
            later = (number for number in found.numbers if number >= self.place.number)
            self.go(next(later, found.numbers[-1]))
        self.draw()

    @work(exclusive=True, group="data-report", exit_on_error=False)
    async def read_report(self) -> None:
        lines = await asyncio.to_thread(self._report_lines)
        self.query_one("#data-report", Static).update(Content(printable("\n".join(lines))))

    def _report_lines(self) -> list[str]:
        from qdl_engine.data.preview import read_report
        from qdl_engine.data.report import report_lines

        report = read_report(self.lab, self.system)
        return report_lines(report) if report else ["No report: nothing is prepared."]

    def _count_tokens(self) -> None:
        """Count the row on show and those around it, with the settings as they are edited."""
        recipe, number = self.recipe, self.place.number
        if recipe is None or self.row is None:
            return
        counted_for = tuple(
            f"{self.system}.{name}={getattr(recipe, name)}" for name in ("student", "system_prompt")
        )
        if counted_for != self._counted_for:
            self._counted_for, self._tokens = counted_for, {}
        if number not in self._tokens:
            self.ask_tokens((number - 1) // COUNTED_AT_ONCE * COUNTED_AT_ONCE)

    @work(exclusive=True, group="data-tokens", exit_on_error=False)
    async def ask_tokens(self, first: int) -> None:
        """Let `qdl preview` count: the tokenizer's library stays out of the app."""
        rows, counted_for = self.rows, self._counted_for
        words = ["--lab", str(self.lab.root), "preview", self.system, "--json"]
        words += ["--start", str(first), "--count", str(COUNTED_AT_ONCE)]
        words += [word for setting in counted_for for word in ("--set", setting)]
        tokens = _tokens_of(await ask_engine(*words))
        if rows is self.rows and counted_for == self._counted_for:
            self._tokens |= tokens
            self.draw()

    # Drawing ---------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Show what is known now."""
        self.set_class(self.on_report, "on-report")
        self.query_one("#data-title", Static).update(self._title())
        self.query_one("#data-tokens", Static).update(self._token_line())
        view, recipe, place = self.query_one(RowView), self.recipe, self.place
        if recipe is None:
            return
        if self.problem or self.row is None:
            keys = {"close": self.key_of("data.close"), "mapping": self.key_of("data.mapping")}
            view.say(self.problem or NOTHING.format(**keys))
        elif not place.matches:
            view.say(f"No row matches {place.words!r}. {self.key_of('data.close')} shows all rows.")
        else:
            from qdl_engine.data.preview import render_row

            view.show(render_row(place.number, self.row, self.system, recipe.system_prompt))

    def _title(self) -> Content:
        place = self.place
        parts: list[tuple[str, str] | str] = [(f"Data of {SYSTEM_NAMES[self.system]}  ", "bold $accent")]
        if self.row is not None and place.matches:
            of = f" of {place.found.total:,}" if place.found is not None else ""
            parts.append((f"row {place.number:,}{of}", "bold"))
            levels = [(key, self.row.get(key)) for key in ("rv", "cd")]
            parts += [
                f"  {key.upper()} {printable(str(level))}" for key, level in levels if level is not None
            ]
        if self.on_report:
            parts.append(("  report", "$primary"))
        if place.words:
            kept = "filtering…" if place.found is None else f"{len(place.found.numbers):,} match"
            parts.append((f"  /{printable(place.words)}: {kept}", "$warning"))
        return Content.assemble(*parts)

    def _token_line(self) -> Content:
        """How long the row is, and whether the recipe drops it for that."""
        recipe, found = self.recipe, self._tokens.get(self.place.number)
        if recipe is None or self.row is None or not self.place.matches:
            return Content("")
        if found is None:
            return Content.styled("counting tokens…", "$text-muted")
        mark = ("  ✗ too long", "bold $error") if found.total > recipe.max_length else ""
        return Content.assemble((found.text(recipe.max_length), "$text-muted"), mark)

    # Moving ----------------------------------------------------------------------------------------------

    def go(self, number: int) -> None:
        """Go to a row by its number."""
        self.on_report = False
        self.query_one(RowView).to_top()
        self.read_row(number)

    def action_move(self, rows: int) -> None:
        number = self.place.step(rows)
        if number is not None:
            self.go(number)

    def action_end(self, end: int) -> None:
        """The first row that is shown, or the last one."""
        if self.place.found is not None and self.place.found.numbers:
            self.go(self.place.found.numbers[end])

    def go_to(self, text: str) -> None:
        """Go to a row by its number or a percentage; with a filter, to the nearest row that it keeps."""
        word = text.strip().replace(",", "")
        number, found = word.removesuffix("%"), self.place.found
        if not number.isdecimal() or found is None:
            self.notify(f"No row {text!r}: type a number, or 50%")
            return
        wanted = found.total * int(number) // 100 if word.endswith("%") else int(number)
        wanted = max(1, min(wanted, found.total))
        nearest = self.place.nearest(wanted)
        if nearest is None:
            self.notify("No row matches the filter")
            return
        if nearest != wanted:
            self.notify(f"Row {wanted:,} does not match the filter: the nearest that does is {nearest:,}")
        self.go(nearest)

    def action_report(self) -> None:
        self.on_report = not self.on_report
        self.draw()

    def action_scroll(self, lines: int) -> None:
        chosen = "#data-side" if self.on_report else "#data-row"
        self.query_one(chosen, VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_mapping(self) -> None:
        from qdl_tui.data.mapping import MappingScreen

        self.app.push_screen(MappingScreen(self.system), lambda _: self.draw())

    def action_make(self) -> None:
        from qdl_tui.synthesis.screen import open_synthesis

        open_synthesis(self.lab_app)

    # The prompt ------------------------------------------------------------------------------------------

    def action_ask(self, kind: str) -> None:
        """Ask for a filter, or for the number of a row."""
        self._asked = kind
        prompt = self.query_one("#data-prompt", LineInput)
        prompt.placeholder = "text, rv:3-5, cd:4; empty: all" if kind == "filter" else "number, or 50%"
        prompt.value = self.place.words if kind == "filter" else ""
        prompt.display = True
        prompt.focus()

    @on(Input.Submitted, "#data-prompt")
    def answered(self, event: Input.Submitted) -> None:
        self._close_prompt()
        if self._asked == "row":
            self.go_to(event.value)
        else:
            self.filter_rows(event.value)

    def filter_rows(self, words: str) -> None:
        """Show only the rows that match these words; a mistake in them changes nothing."""
        from qdl_engine.data.preview import RowFilter

        try:
            RowFilter.parse(words)
        except SettingsError as error:
            self.lab_app.tell_error(error)
            return
        self.place.words, self.place.found = words.strip(), None
        self.find_rows()
        self.draw()

    def _close_prompt(self) -> None:
        self.query_one("#data-prompt").display = False
        self.set_focus(None)

    def action_back(self) -> None:
        """Close one thing: the prompt, the report, the filter, then the screen."""
        if self.query_one("#data-prompt").display:
            self._close_prompt()
        elif self.on_report:
            self.action_report()
        elif self.place.words:
            self.filter_rows("")
        else:
            self.dismiss()


def _tokens_of(output: bytes) -> dict[int, RowTokens]:
    """The tokens in the output of `qdl preview --json`, by the number of the row."""
    from qdl_engine.preflight.rows import RowTokens

    try:
        rows = json.loads(output).get("rows", [])
    except ValueError:
        return {}
    return {row["number"]: RowTokens.from_dict(row["tokens"]) for row in rows}
