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
from textual.widgets import Input, OptionList, Static

from qdl_engine.errors import LabError, SettingsError
from qdl_engine.lab import Lab
from qdl_engine.status import SYSTEM_NAMES
from qdl_engine.text import printable
from qdl_tui.draft import Draft, Field, fields_of, value_text
from qdl_tui.recipe_view import config_text, help_text, title_text
from qdl_tui.screens.dialogs import ChooseScreen, ConfirmScreen, LineInput
from qdl_tui.screens.recipe_actions import ConfigRead, DraftScreen
from qdl_tui.screens.saving import counted
from qdl_tui.widgets.field_list import FieldList, ValueInput

if TYPE_CHECKING:
    from qdl_engine.settings import System

SHARED = ("teacher", "runtime", "comparison")
CONFIG_AFTER = 0.3
"""Seconds of no edit after which the config beside the form is made anew."""


@dataclass
class DraftRead(Message):
    """The settings were read; `problem` says why there are none."""

    lab: Lab
    draft: Draft | None
    fields: list[Field]
    problem: str = ""


class RecipeScreen(DraftScreen):
    """The settings of one student, with help for the one under the cursor."""

    TICK = 2.0
    CSS_PATH = "recipe.tcss"
    BINDINGS = [
        Binding(
            "slash",
            "search",
            "Search",
            show=False,
            key_display="/",
            tooltip="Search a setting",
            id="recipe.search",
        ),
        Binding("f5", "reload", "Read again", show=False, tooltip="Read qdl.toml again", id="recipe.reload"),
        Binding("escape", "back", "All settings", show=False, id="recipe.back"),
    ]

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.fields: dict[str, Field] = {}
        self.needle = ""
        self._waiting = True
        self._drawn: object = None
        self._config_timer: Timer | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="form-title")
        yield LineInput(id="form-search", placeholder="part of a setting's name or help")
        with Horizontal(id="form"):
            yield FieldList(id="fields")
            with Vertical(id="field-side"):
                yield Static("", markup=False, id="field-help")
                with VerticalScroll(can_focus=False, id="config-panel"):
                    yield Static("", markup=False, id="config-text")
        yield ValueInput(id="value")
        yield Static("", markup=False, id="value-error")

    def on_mount(self) -> None:
        self.query_one("#form-search").display = False
        self._show_editor(False)
        self.query_one(FieldList).focus()

    # The draft -------------------------------------------------------------------------------------------

    def lab_opened(self) -> None:
        self.fields = {}
        if self.draft is None:
            self.lab_app.draft = None
        self.read_draft()

    def tick(self) -> None:
        draft = self.draft
        if draft is not None and draft.changed_outside and not draft.dirty:
            # Nothing of ours would be lost.
            self._read_anew()
            self.notify("qdl.toml changed outside: read again", markup=False, timeout=3)
        self._show_title()
        self._go_to_wanted()
        if self.fields and draft is not None:
            self._refresh_rows()

    @work(thread=True, exclusive=True, group="draft", exit_on_error=False)
    def read_draft(self) -> None:
        lab, draft = self.lab, self.draft
        fields = [field for section in (self.system, *SHARED) for field in fields_of(section)]
        try:
            draft = Draft.read(lab) if draft is None else draft
        except LabError as error:
            self.post_message(DraftRead(lab, None, fields, str(error)))
            return
        self.post_message(DraftRead(lab, draft, fields))

    @on(DraftRead)
    def show_draft(self, message: DraftRead) -> None:
        if message.lab != self.lab:
            return
        self._waiting = False
        if message.draft is None:
            self.fields = {}
            self.query_one(FieldList).clear_options()
            self.query_one("#field-help", Static).update(Content(printable(message.problem)))
            self._show_title()
            return
        if self.draft is None:
            self.lab_app.draft = message.draft
        self.fields = {field.key: field for field in message.fields}
        self._show_rows()
        self._go_to_wanted()

    def _read_anew(self) -> None:
        self.lab_app.draft = None
        self._waiting = True
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

        changes = draft.changes()
        detail = "\n".join(f"{key}: {before} -> {after}" for key, before, after in changes)
        self.app.push_screen(
            ConfirmScreen(f"Drop {counted(len(changes))} and read qdl.toml again?", detail), answered
        )

    # The form --------------------------------------------------------------------------------------------

    def _go_to_wanted(self) -> None:
        """Put the cursor on the setting that the palette asked for, once the form is there."""
        key = self.lab_app.wanted_setting
        if key in self.fields:
            self.lab_app.wanted_setting = ""
            self.needle = ""
            self._show_rows()
            self.query_one(FieldList).go_to(key)

    def _visible(self) -> list[Field]:
        needle = self.needle.casefold()
        return [
            field for field in self.fields.values() if needle in f"{field.key} {field.info.help}".casefold()
        ]

    def _show_rows(self) -> None:
        if self.draft is not None:
            self.query_one(FieldList).show_fields(self._visible(), self.draft)
            self._after_change()

    def _refresh_rows(self) -> None:
        """Marks may have changed on the other recipe's screen: the shared settings are one draft."""
        listed, draft = self.query_one(FieldList), self.draft
        if draft is not None and draft.current is not self._drawn:
            for field in self._visible():
                listed.update_field(field, draft)
            self._after_change()

    def _after_change(self) -> None:
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
        if self.fields:
            self._drawn = None
            self.call_after_refresh(self._show_rows)

    def _show_title(self) -> None:
        text = title_text(
            SYSTEM_NAMES[self.system],
            self.draft,
            set(self.fields),
            needle=self.needle,
            waiting=self._waiting,
        )
        self.query_one("#form-title", Static).update(text)

    def _current(self) -> Field | None:
        option = self.query_one(FieldList).highlighted_option
        return self.fields.get(option.id) if option is not None and option.id else None

    @on(OptionList.OptionHighlighted, "#fields")
    def show_help(self) -> None:
        field, draft = self._current(), self.draft
        if field is not None and draft is not None:
            self.query_one("#field-help", Static).update(help_text(field, draft))

    def draft_changed(self) -> None:
        self._show_rows()

    # Editing ---------------------------------------------------------------------------------------------

    @on(OptionList.OptionSelected, "#fields")
    def edit_field(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        field, draft = self._current(), self.draft
        if field is None or draft is None:
            return
        now = draft.text(field.key)
        if field.info.kind == "bool":
            self._take(field, "false" if now == "true" else "true")
        elif field.info.kind == "choice":
            self._choose(field, now)
        elif field.info.kind == "mapping":
            self.action_mapping()
        else:
            self._type(now)

    def _choose(self, field: Field, now: str) -> None:
        def chosen(value: str | None) -> None:
            if value:
                self._take(field, value)

        default = value_text(field.info.default)
        options = [(name, "the default" if name == default else "") for name in field.info.choices]
        self.app.push_screen(ChooseScreen(field.key, options, now=now), chosen)

    def _type(self, now: str) -> None:
        self._show_editor(True)
        value = self.query_one(ValueInput)
        value.value = now.replace("\n", "\\n")
        value.cursor_position = len(value.value)
        value.focus()

    def _show_editor(self, shown: bool) -> None:
        self.query_one(ValueInput).display = shown
        self.query_one("#value-error").display = shown

    @on(Input.Changed, "#value")
    def check_value(self, event: Input.Changed) -> None:
        field, draft = self._current(), self.draft
        if field is None or draft is None:
            return
        problem = draft.check(field.key, _typed(event.value))
        accepted = f"{field.name}: accepts {field.info.bounds_text}"
        shown = Content.assemble(("✓ ", "$success"), (printable(accepted), "$text-muted"))
        if problem:
            shown = Content.styled(f"✗ {printable(problem)}. Accepted: {field.info.bounds_text}", "$error")
        self.query_one("#value-error", Static).update(shown)

    @on(Input.Submitted, "#value")
    def take_value(self, event: Input.Submitted) -> None:
        """Take it when it is accepted; what is wrong with it stands below it already."""
        field, draft, text = self._current(), self.draft, _typed(event.value)
        if field is None or draft is None or draft.check(field.key, text):
            return
        self._take(field, text)
        self.action_leave_edit()

    def _take(self, field: Field, text: str) -> None:
        draft = self.draft
        if draft is None:
            return
        try:
            draft.set(field.key, text)
        except SettingsError as error:
            self.lab_app.tell_error(error)
            return
        self.query_one(FieldList).update_field(field, draft)
        self._after_change()

    @on(FieldList.ToDefault)
    def back_to_default(self, message: FieldList.ToDefault) -> None:
        field = self.fields.get(message.key)
        if field is not None:
            self._take(field, value_text(field.info.default))

    def action_leave_edit(self) -> None:
        self._show_editor(False)
        self.query_one(FieldList).focus()

    # Searching -------------------------------------------------------------------------------------------

    def action_search(self) -> None:
        search = self.query_one("#form-search", LineInput)
        search.display = True
        search.value = self.needle
        search.focus()

    @on(Input.Changed, "#form-search")
    def narrow(self, event: Input.Changed) -> None:
        self.needle = event.value.strip()
        self._show_rows()

    @on(Input.Submitted, "#form-search")
    def end_search(self) -> None:
        self.query_one("#form-search").display = False
        self.query_one(FieldList).focus()

    def action_back(self) -> None:
        """Leave whatever is open, and show all settings again."""
        self.query_one("#form-search").display = False
        self._show_editor(False)
        self.needle = ""
        self._show_rows()
        self.query_one(FieldList).focus()


def _typed(text: str) -> str:
    """What was typed on one line, with `\\n` for a line break."""
    return text.replace("\\n", "\n")
