"""The prepared rows of one student as they are read: a row, the rows of a filter, the report, the tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from qdl_engine.core.errors import LabError
from qdl_engine.core.words import printable
from qdl_tui.data.view import Found, PreparedRows
from qdl_tui.recipe.saving import SystemScreen
from qdl_tui.shared.host import ask_engine

if TYPE_CHECKING:
    from qdl_engine.preflight.rows import RowTokens
    from qdl_engine.settings import System1Settings, System2Settings

COUNTED_AT_ONCE = 20
"""Rows whose tokens are counted together: going through them asks the tokenizer once."""


@dataclass
class RowRead(Message):
    """A row was read, or there is none with that number."""

    rows: PreparedRows
    number: int
    row: dict[str, Any] | None
    problem: str = ""


@dataclass
class RowsFound(Message):
    """The whole file was looked through."""

    rows: PreparedRows
    words: str
    found: Found


@dataclass
class ReportRead(Message):
    """The report of the last preparation, as lines."""

    lines: list[str]


@dataclass
class TokensCounted(Message):
    """The tokens of some rows, by number; none where they could not be counted."""

    rows: PreparedRows
    counted_for: tuple[str, ...]
    tokens: dict[int, RowTokens]


class DataReadingScreen(SystemScreen):
    """A screen of prepared rows; how they look is the subclass's. What is read late is thrown away."""

    rows: PreparedRows
    found: Found | None = None
    number = 1
    row: dict[str, Any] | None = None
    words = ""
    """The filter as typed."""
    problem = ""
    """Why the prepared file cannot be read."""
    tokens: dict[int, RowTokens]
    """Of the rows that were counted, by number."""
    counted_for: tuple[str, ...] = ()
    """The settings that the tokens were counted with."""

    def draw(self) -> None:
        """Show what is known now."""

    def go(self, number: int) -> None:
        """Go to a row."""

    def lab_opened(self) -> None:
        if self.draft is None:
            self.dismiss()  # Another lab was opened meanwhile: its recipe comes first.
            return
        self._start()

    def _start(self) -> None:
        """Read everything: the first time, and when the data were prepared anew."""
        self.rows = PreparedRows(self.lab, self.system)
        self.seen = self.rows.stamp
        self.found = None
        self.tokens = {}
        self.read_row(self.number)
        self.find_rows(self.words)
        self.read_report()

    seen: tuple[int, int] | None = None

    def tick(self) -> None:
        if self.lab_app.wanted_setting:
            self.dismiss()
        elif self.rows.stamp != self.seen:
            self._start()

    # Reading ---------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, group="data-row", exit_on_error=False)
    def read_row(self, number: int) -> None:
        rows = self.rows
        try:
            self.post_message(RowRead(rows, number, rows.row(number)))
        except LabError as error:
            self.post_message(RowRead(rows, number, None, str(error)))

    @work(thread=True, exclusive=True, group="data-find", exit_on_error=False)
    def find_rows(self, words: str) -> None:
        from qdl_engine.data.preview import RowFilter

        worker, rows = get_current_worker(), self.rows
        found = rows.find(RowFilter.parse(words), lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(RowsFound(rows, words, found))

    @work(thread=True, exclusive=True, group="data-report", exit_on_error=False)
    def read_report(self) -> None:
        from qdl_engine.data.preview import read_report
        from qdl_engine.data.report import report_lines

        report = read_report(self.lab, self.system)
        self.post_message(ReportRead(report_lines(report) if report else ["No report: nothing is prepared."]))

    @on(RowRead)
    def show_row(self, message: RowRead) -> None:
        if message.rows is not self.rows:
            return
        self.problem = message.problem
        if message.row is not None or message.number == 1:
            self.number, self.row = message.number, message.row
        self.count_tokens()
        self.draw()

    @on(RowsFound)
    def show_found(self, message: RowsFound) -> None:
        if message.rows is not self.rows or message.words != self.words:
            return
        self.found = message.found
        numbers = message.found.numbers
        if numbers and self.number not in numbers:
            self.go(next((number for number in numbers if number >= self.number), numbers[-1]))
        self.draw()

    @on(ReportRead)
    def show_report(self, message: ReportRead) -> None:
        self.query_one("#data-report", Static).update(Content(printable("\n".join(message.lines))))

    # Tokens ----------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> System1Settings | System2Settings | None:
        return self.draft.current.recipe(self.system) if self.draft is not None else None

    def count_tokens(self) -> None:
        """Count the row on show and those around it, with the settings as they are edited."""
        recipe = self.recipe
        if recipe is None or self.row is None:
            return
        wanted = tuple(
            f"{self.system}.{name}={getattr(recipe, name)}" for name in ("student", "system_prompt")
        )
        if wanted != self.counted_for:
            self.counted_for, self.tokens = wanted, {}
        if self.number not in self.tokens:
            self.ask_tokens((self.number - 1) // COUNTED_AT_ONCE * COUNTED_AT_ONCE)

    @work(exclusive=True, group="data-tokens", exit_on_error=False)
    async def ask_tokens(self, first: int) -> None:
        rows, counted_for = self.rows, self.counted_for
        words = ["--lab", str(self.lab.root), "preview", self.system, "--json"]
        words += ["--start", str(first), "--count", str(COUNTED_AT_ONCE)]
        words += [word for setting in counted_for for word in ("--set", setting)]
        tokens = _tokens_of(await ask_engine(*words))
        self.post_message(TokensCounted(rows, counted_for, tokens))

    @on(TokensCounted)
    def show_tokens(self, message: TokensCounted) -> None:
        if message.rows is self.rows and message.counted_for == self.counted_for:
            self.tokens |= message.tokens
            self.draw()


def _tokens_of(told: bytes) -> dict[int, RowTokens]:
    """The tokens that `qdl preview --json` tells, by the number of the row."""
    from qdl_engine.preflight.rows import RowTokens

    try:
        rows = json.loads(told).get("rows", [])
    except ValueError:
        return {}
    return {row["number"]: RowTokens.from_dict(row["tokens"]) for row in rows}
