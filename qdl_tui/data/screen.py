"""The prepared data of one student, from its recipe: row by row as it is trained on, and what was dropped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from textual import on
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import printable
from qdl_tui.data.reading import DataReadingScreen
from qdl_tui.data.row_view import RowView
from qdl_tui.shared.dialogs import LineInput

NOTHING = (
    "Nothing is prepared yet. {close} goes back to the recipe, which prepares; {mapping} shows the first "
    "rows of the source, as they would be taken."
)
UNLABELLED = "no answer yet: the teacher has to label it"


class DataScreen(DataReadingScreen):
    """One row at a time; the trained part stands behind a bar, not only in another colour."""

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
            tooltip="Only rows with a text, and RV and CD in a range: trains rv:3-5 cd:4",
            id="data.filter",
        ),
        Binding("h", "report", "Report", tooltip="What was dropped, and how long rows are", id="data.report"),
        Binding(
            "colon",
            "ask('row')",
            "Go to row",
            key_display=":",
            show=False,
            tooltip="Go to a row by its number, or by 50%",
            id="data.go",
        ),
        Binding("m", "mapping", "Mapping", show=False, tooltip="Which column is what", id="data.mapping"),
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
            "escape,q",
            "back",
            "Back",
            key_display="esc",
            tooltip="Drop the filter, then close",
            id="data.close",
        ),
    ]

    on_report = False
    asked = ""
    """What the prompt asks for: `filter` or `row`."""

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

    # Drawing ---------------------------------------------------------------------------------------------

    def draw(self) -> None:
        self.set_class(self.on_report, "on-report")
        self.query_one("#data-title", Static).update(self._title())
        self.query_one("#data-tokens", Static).update(self._tokens())
        view, draft = self.query_one(RowView), self.draft
        if draft is None:
            return
        if self.problem or self.row is None:
            keys = {"close": self.key_of("data.close"), "mapping": self.key_of("data.mapping")}
            view.say(self.problem or NOTHING.format(**keys))
        elif self.words and self.found is not None and not self.found.numbers:
            view.say(f"No row matches {self.words!r}. {self.key_of('data.close')} shows all rows.")
        else:
            from qdl_engine.data.preview import render_row

            prompt = draft.current.recipe(self.system).system_prompt
            rendered = render_row(self.number, self.row, cast("Any", self.system), prompt)
            view.show(rendered.prompt, rendered.trained or UNLABELLED)

    def _title(self) -> Content:
        parts: list[tuple[str, str] | str] = [(f"Data of {SYSTEM_NAMES[self.system]}  ", "bold $accent")]
        if self.row is not None and self._matches():
            of = f" of {self.found.total:,}" if self.found is not None else ""
            parts.append((f"row {self.number:,}{of}", "bold"))
            levels = [(key, self.row.get(key)) for key in ("rv", "cd")]
            parts += [
                f"  {key.upper()} {printable(str(level))}" for key, level in levels if level is not None
            ]
        if self.on_report:
            parts.append(("  report", "$primary"))
        if self.words:
            kept = "filtering…" if self.found is None else f"{len(self.found.numbers):,} match"
            parts.append((f"  /{printable(self.words)}: {kept}", "$warning"))
        return Content.assemble(*parts)

    def _tokens(self) -> Content:
        """How long the row is; a limit that it is over by now is said in words."""
        recipe, found = self.recipe, self.tokens.get(self.number)
        if recipe is None or self.row is None or not self._matches():
            return Content("")
        if found is None:
            return Content.styled("counting tokens…", "$text-muted")
        over = found.total > recipe.max_length
        mark = ("  ✗ too long", "bold $error") if over else ""
        return Content.assemble((found.text(recipe.max_length), "$text-muted"), mark)

    def _matches(self) -> bool:
        """Whether the row on show is one that the filter keeps."""
        return not self.words or self.found is None or bool(self.found.numbers)

    # Moving ----------------------------------------------------------------------------------------------

    def go(self, number: int) -> None:
        self.on_report = False
        self.query_one(RowView).to_top()
        self.read_row(number)

    def action_move(self, rows: int) -> None:
        if self.found is None or not self.words:
            wanted = self.number + rows
            if wanted >= 1 and (self.found is None or wanted <= self.found.total):
                self.go(wanted)
            return
        numbers = self.found.numbers
        later = [number for number in numbers if (number - self.number) * rows > 0]
        if later:
            self.go(later[0] if rows > 0 else later[-1])

    def action_end(self, place: int) -> None:
        """The first row, or the last one that is shown."""
        if self.found is not None and self.found.numbers:
            self.go(self.found.numbers[place])

    def go_to(self, text: str) -> None:
        """Go to a row by its number from 1, or to a percentage; with a filter, to the nearest it keeps."""
        word = text.strip().replace(",", "")
        number = word.removesuffix("%")
        if not number.isdecimal() or self.found is None:
            self.notify(f"No row {text!r}: a number, or 50%")
            return
        wanted = self.found.total * int(number) // 100 if word.endswith("%") else int(number)
        wanted = max(1, min(wanted, self.found.total))
        numbers = self.found.numbers
        if self.words and not numbers:
            self.notify("No row matches the filter")
            return
        nearest = min(numbers, key=lambda number: abs(number - wanted)) if self.words else wanted
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
        self.asked = kind
        prompt = self.query_one("#data-prompt", LineInput)
        prompt.placeholder = "text, rv:3-5, cd:4; empty: all" if kind == "filter" else "number, or 50%"
        prompt.value = self.words if kind == "filter" else ""
        prompt.display = True
        prompt.focus()

    @on(Input.Submitted, "#data-prompt")
    def answered(self, event: Input.Submitted) -> None:
        self._close_prompt()
        if self.asked == "row":
            self.go_to(event.value)
        else:
            self.filter_rows(event.value)

    def filter_rows(self, words: str) -> None:
        """Show only the rows that these words keep; a mistake in them changes nothing."""
        from qdl_engine.data.preview import RowFilter

        try:
            RowFilter.parse(words)
        except SettingsError as error:
            self.lab_app.tell_error(error)
            return
        self.words, self.found = words.strip(), None
        self.find_rows(self.words)
        self.draw()

    def _close_prompt(self) -> None:
        self.query_one("#data-prompt").display = False
        self.set_focus(None)

    def action_back(self) -> None:
        """Undo one thing: the prompt, the report, the filter; then close."""
        if self.query_one("#data-prompt").display:
            self._close_prompt()
        elif self.on_report:
            self.action_report()
        elif self.words:
            self.filter_rows("")
        else:
            self.dismiss()
