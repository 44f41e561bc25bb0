"""Screens 2 and 3, the recipes: a form made from the settings models, and the jobs that use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import OptionList, Static

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import printable
from qdl_tui.recipe.actions import ConfigRead
from qdl_tui.recipe.draft import Draft, Field, FileStamp, fields_of, file_stamp
from qdl_tui.recipe.field_list import NO_MATCH, FieldList, ValueInput
from qdl_tui.recipe.form import FormScreen
from qdl_tui.recipe.saving import counted
from qdl_tui.recipe.view import config_text, help_text, title_text
from qdl_tui.runs.feed import training_now
from qdl_tui.shared.dialogs import ConfirmScreen, LineInput

if TYPE_CHECKING:
    from qdl_engine.core.systems import System

SHARED = ("teacher", "runtime", "comparison")
BESIDE = 76
"""Columns from which help stands beside the form; below it, with fewer."""
CONFIG_AFTER = 0.3
"""Seconds of no edit after which the config beside the form is made anew."""


@dataclass
class DraftRead(Message):
    """The settings were read; `problem` says why there are none."""

    lab: Lab
    draft: Draft | None
    fields: list[Field]
    problem: str = ""
    refused: FileStamp | None = None
    """The file that the problem is with."""


@dataclass
class TrainingSeen(Message):
    """The training of a student was looked at; empty when there is none."""

    lab: Lab
    text: str


class RecipeScreen(FormScreen):
    """The settings of one student, with help for the one under the cursor."""

    TICK = 2.0
    AUTO_FOCUS = "#fields"
    CSS_PATH = "recipe.tcss"
    BINDINGS = [
        Binding("f5", "reload", "Read again", show=False, tooltip="Read qdl.toml again", id="recipe.reload"),
    ]

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.reading = True
        self.training = ""
        """How far the training of this student is, in words; empty while there is none."""
        self._drawn: object = None
        self._refused: FileStamp | None = None
        """The file that could not be accepted, so that another one is read."""
        self._config_timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="form-title")
        search = LineInput(id="form-search", placeholder="part of a setting's name or help")
        search.display = False  # from the first: a key typed ahead is none of its text
        yield search
        with Horizontal(id="form"):
            yield FieldList(id="fields")
            with Vertical(id="field-side"):
                yield Static("", markup=False, id="field-help")
                with VerticalScroll(can_focus=False, id="config-panel"):
                    yield Static("", markup=False, id="config-text")
        value = ValueInput(id="value")
        value.display = False
        yield value
        yield Static("", markup=False, id="value-error")

    def on_mount(self) -> None:
        self.show_editor(False)
        self.query_one(FieldList).focus()

    # The draft -------------------------------------------------------------------------------------------

    def lab_opened(self) -> None:
        self.fields = {}
        self.reading, self.training = True, ""
        if self.draft is None:
            self.lab_app.draft = None
        self.read_draft()

    def tick(self) -> None:
        draft = self.draft
        if draft is not None and draft.changed_outside and not draft.dirty:
            # Nothing of ours would be lost.
            self._read_anew()
            self.notify("qdl.toml changed outside: read again")
        elif not self.reading and (
            # The other recipe's screen may have read the file meanwhile, or found it broken.
            not self.fields if draft is not None else self._refused != file_stamp(self.lab)
        ):
            self.read_draft()
        self._show_title()
        self.read_training()
        self._go_to_wanted()
        if self.fields and draft is not None and draft.current is not self._drawn:
            self.refresh_rows()  # the shared settings may have been edited on the other recipe's screen

    @work(thread=True, exclusive=True, group="training", exit_on_error=False)
    def read_training(self) -> None:
        self.post_message(TrainingSeen(self.lab, training_now(self.lab, self.system)))

    @on(TrainingSeen)
    def show_training(self, message: TrainingSeen) -> None:
        if message.lab == self.lab and message.text != self.training:
            self.training = message.text
            self._show_title()

    @work(thread=True, exclusive=True, group="draft", exit_on_error=False)
    def read_draft(self) -> None:
        lab, draft = self.lab, self.draft
        fields = [field for section in (self.system, *SHARED) for field in fields_of(section)]
        stamp = file_stamp(lab)
        try:
            draft = Draft.read(lab) if draft is None else draft
        except LabError as error:
            self.post_message(DraftRead(lab, None, fields, str(error), stamp))
            return
        self.post_message(DraftRead(lab, draft, fields))

    @on(DraftRead)
    def show_draft(self, message: DraftRead) -> None:
        if message.lab != self.lab:
            return
        self.reading, later, self.later = False, self.later, None
        self._refused = message.refused
        if message.draft is None:
            self.fields = {}
            self.query_one(FieldList).show_none()
            why = self.with_way_out(message.problem)
            self.query_one("#field-help", Static).update(Content(printable(why)))
            self._show_title()
            self.refresh_bindings()
            return
        if self.draft is None:
            self.lab_app.draft = message.draft
        self.fields = {field.key: field for field in message.fields}
        self.show_rows()
        self._go_to_wanted()
        if later is not None and self.is_current:
            later()

    def _read_anew(self) -> None:
        self.lab_app.draft = None
        self.reading = True
        self.read_draft()

    def action_reload(self) -> None:
        """Read the file again, after a question when edits would be lost."""
        draft = self.draft
        if draft is None or not draft.dirty:
            self._read_anew()
            return

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._read_anew()

        question = f"Drop {counted(len(draft.changes()))} and read qdl.toml again?"
        self.app.push_screen(ConfirmScreen(question, draft.diff()), answered)

    # The form --------------------------------------------------------------------------------------------

    def _go_to_wanted(self) -> None:
        """Put the cursor on the setting that the palette asked for, once the form is there."""
        key = self.lab_app.wanted_setting
        if key in self.fields:
            self.lab_app.wanted_setting = ""
            self.needle = key if self._is_unused(key) else ""
            self.show_rows()
            self.query_one(FieldList).go_to(key)

    def _is_unused(self, key: str) -> bool:
        """Whether only a search shows this setting."""
        return self.draft is not None and bool(self.draft.unused_with(self.fields[key]))

    def after_change(self) -> None:
        """Title, help and config follow the draft; the config a moment later, in a worker."""
        draft = self.draft
        self._show_title()
        self.show_help()
        if draft is not None and draft.current is not self._drawn and self.has_class("-wide"):
            if self._config_timer is not None:
                self._config_timer.stop()
            self._config_timer = self.set_timer(CONFIG_AFTER, partial(self.read_config, "panel"))
        self._drawn = draft.current if draft is not None else None

    @on(ConfigRead)
    def show_config(self, message: ConfigRead) -> None:
        self.query_one("#config-text", Static).update(config_text(message.view))

    def on_resize(self) -> None:
        self.set_class(self.size.width < BESIDE, "stacked")
        if self.fields:
            self._drawn = None
            self.call_after_refresh(self.after_change)

    def _show_title(self) -> None:
        text = title_text(
            SYSTEM_NAMES[self.system],
            self.draft,
            set(self.fields),
            needle=self.needle,
            key_of=self.key_of,
            waiting=self.reading,
            training=self.training,
        )
        self.query_one("#form-title", Static).update(text)

    @on(OptionList.OptionHighlighted, "#fields")
    def show_help(self) -> None:
        field, draft = self.current_field(), self.draft
        shown = self.query_one("#field-help", Static)
        if field is not None and draft is not None:
            whole = self.query_one(FieldList).is_cut(field.key)
            shown.update(help_text(field, draft, key_of=self.key_of, whole=whole))
        elif draft is not None and self.needle:
            words = f"{NO_MATCH} {self.needle!r}. {self.key_of('recipe.back')} shows all settings."
            shown.update(Content(printable(words)))
