"""Screens 2 and 3, the recipes: a form made from the settings models, and the jobs that use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from qdl_engine.errors import LabError, SettingsError
from qdl_engine.lab import Lab
from qdl_engine.status import SYSTEM_NAMES
from qdl_engine.text import printable
from qdl_tui.draft import Draft, Field, fields_of, value_text
from qdl_tui.screens.dialogs import LineInput
from qdl_tui.screens.recipe_actions import DraftScreen
from qdl_tui.widgets.field_list import FieldList, ValueInput

if TYPE_CHECKING:
    from qdl_engine.settings import System

SHARED = ("teacher", "runtime", "comparison")


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
    ]

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.fields: dict[str, Field] = {}
        self.needle = ""

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="form-title")
        yield LineInput(id="form-search", placeholder="part of a setting's name or help")
        with Horizontal(id="form"):
            yield FieldList(id="fields")
            with Vertical(id="field-side"):
                yield ValueInput(id="value")
                yield Static("", markup=False, id="value-error")
                with VerticalScroll(can_focus=False):
                    yield Static("", markup=False, id="field-help")

    def on_mount(self) -> None:
        self.query_one("#form-search").display = False
        self._show_editor(False)
        self.query_one(FieldList).focus()

    def lab_opened(self) -> None:
        self.fields = {}
        if self.draft is None:
            self.lab_app.draft = None
        self.read_draft()

    def tick(self) -> None:
        self._show_title()
        self._go_to_wanted()
        if self.fields and self.draft is not None:
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
        self._show_title()

    def _refresh_rows(self) -> None:
        """Marks may have changed on the other recipe's screen: the shared settings are one draft."""
        listed, draft = self.query_one(FieldList), self.draft
        if draft is not None and draft.current is not self._drawn:
            self._drawn = draft.current
            for field in self._visible():
                listed.update_field(field, draft)

    _drawn: object = None

    def on_resize(self) -> None:
        if self.fields:
            self.call_after_refresh(self._show_rows)

    def _show_title(self) -> None:
        draft, name = self.draft, SYSTEM_NAMES[self.system]
        if draft is None:
            text = Content.assemble((f"{name}  ", "bold $accent"), ("no settings read", "$text-muted"))
        else:
            changed = len([key for key, _old, _new in draft.changes() if key in self.fields])
            state = f"{changed} changed, not saved" if changed else "as saved in qdl.toml"
            text = Content.assemble(
                (f"{name}  ", "bold $accent"), (state, "$warning" if changed else "$text-muted")
            )
            if draft.changed_outside:
                text = text + Content.styled("  qdl.toml changed outside: f5 reads it", "bold $error")
            if self.needle:
                text = text + Content.styled(f"  only '{printable(self.needle)}' (/ esc: all)", "$primary")
        self.query_one("#form-title", Static).update(text)

    def _current(self) -> Field | None:
        option = self.query_one(FieldList).highlighted_option
        return self.fields.get(option.id) if option is not None and option.id else None

    @on(OptionList.OptionHighlighted, "#fields")
    def show_help(self) -> None:
        field, draft = self._current(), self.draft
        if field is None or draft is None:
            return
        info = field.info
        rows = [("unit", info.unit), ("accepts", info.bounds_text)]
        rows += [
            ("default", printable(value_text(info.default))),
            ("saved", printable(draft.saved_text(field.key))),
        ]
        lines = [Content.styled(field.key, "bold $accent"), Content(info.help), Content("")]
        lines += [Content.assemble((f"{name:9}", "$text-muted"), value) for name, value in rows if value]
        self.query_one("#field-help", Static).update(Content("\n").join(lines))

    @on(OptionList.OptionSelected, "#fields")
    def edit_field(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        field, draft = self._current(), self.draft
        if field is None or draft is None:
            return
        choices = _choices(field)
        if choices:
            now = draft.text(field.key)
            following = choices[(choices.index(now) + 1) % len(choices)] if now in choices else choices[0]
            self._take(field, following)
            return
        self._show_editor(True)
        value = self.query_one(ValueInput)
        value.value = draft.text(field.key).replace("\n", "\\n")
        value.cursor_position = len(value.value)
        value.focus()

    def _show_editor(self, shown: bool) -> None:
        self.query_one(ValueInput).display = shown
        self.query_one("#value-error").display = shown

    @on(Input.Changed, "#value")
    def check_value(self, event: Input.Changed) -> None:
        field, draft = self._current(), self.draft
        problem = (
            draft.check(field.key, _typed(event.value)) if field is not None and draft is not None else ""
        )
        shown = (
            Content.styled(f"✗ {printable(problem)}", "$error")
            if problem
            else Content.styled("✓ ok", "$success")
        )
        self.query_one("#value-error", Static).update(shown)

    @on(Input.Submitted, "#value")
    def take_value(self, event: Input.Submitted) -> None:
        field = self._current()
        if field is not None and self._take(field, _typed(event.value)):
            self.action_leave_edit()

    def _take(self, field: Field, text: str) -> bool:
        draft = self.draft
        if draft is None:
            return False
        try:
            draft.set(field.key, text)
        except SettingsError as error:
            if self.query_one(ValueInput).display:
                self.query_one("#value-error", Static).update(
                    Content.styled(f"✗ {printable(str(error))}", "$error")
                )
            else:
                self.lab_app.tell_error(error)
            return False
        self.query_one(FieldList).update_field(field, draft)
        self._show_title()
        return True

    @on(FieldList.ToDefault)
    def back_to_default(self, message: FieldList.ToDefault) -> None:
        field = self.fields.get(message.key)
        if field is not None:
            self._take(field, value_text(field.info.default))

    def action_leave_edit(self) -> None:
        self._show_editor(False)
        self.query_one(FieldList).focus()

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

    def key_escape(self) -> None:
        """Leave whatever is open; a second time, show all settings again."""
        if self.query_one("#form-search").display:
            self.end_search()
        self._show_editor(False)
        self.needle = ""
        self._show_rows()
        self.query_one(FieldList).focus()

    def draft_changed(self) -> None:
        self._show_rows()

    def action_reload(self) -> None:
        self.lab_app.draft = None
        self.read_draft()


def _typed(text: str) -> str:
    """What was typed on one line, with `\\n` for a line break."""
    return text.replace("\\n", "\n")


def _choices(field: Field) -> list[str]:
    if field.info.kind == "bool":
        return ["false", "true"]
    return list(field.info.choices)
