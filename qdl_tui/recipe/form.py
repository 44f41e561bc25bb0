"""The settings of a recipe as a form: searched, edited, checked as typed, put back to their default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.words import printable
from qdl_tui.recipe.actions import DraftScreen
from qdl_tui.recipe.draft import Field, value_text
from qdl_tui.recipe.field_list import FieldList, ValueInput
from qdl_tui.shared.dialogs import ChooseScreen, LineInput

if TYPE_CHECKING:
    from qdl_engine.core.systems import System


class FormScreen(DraftScreen):
    """A screen with the form; what stands around it is the subclass's."""

    BINDINGS = [
        Binding(
            "slash",
            "search",
            "Search",
            show=False,
            key_display="/",
            tooltip="Search a setting; one that the chosen kind does not use is found too",
            id="recipe.search",
        ),
        Binding("escape", "back", "All settings", show=False, id="recipe.back"),
    ]

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.fields: dict[str, Field] = {}
        self.needle = ""

    def after_change(self) -> None:
        """The draft, or what is shown of it, is another now."""

    # The list --------------------------------------------------------------------------------------------

    def listed_fields(self) -> list[Field]:
        """The settings that are shown: those in use, and with a search whatever it finds."""
        draft, needle = self.draft, self.needle.casefold()
        if draft is None:
            return []
        if needle:
            texts = {key: f"{key} {field.info.help}".casefold() for key, field in self.fields.items()}
            return [field for key, field in self.fields.items() if needle in texts[key]]
        return [
            field
            for field in self.fields.values()
            if not draft.unused_with(field) or draft.is_changed(field.key)
        ]

    def show_rows(self) -> None:
        if self.draft is not None:
            self.query_one(FieldList).show_fields(self.listed_fields(), self.draft)
            self.after_change()
            self.refresh_bindings()

    def refresh_rows(self) -> None:
        """Draw the rows as the draft is now; another kind has other settings."""
        listed, draft, fields = self.query_one(FieldList), self.draft, self.listed_fields()
        if draft is None or listed.keys != [field.key for field in fields]:
            self.show_rows()
            return
        listed.refresh_fields(draft)
        self.after_change()
        self.refresh_bindings()

    def draft_changed(self) -> None:
        self.show_rows()

    def current_field(self) -> Field | None:
        option = self.query_one(FieldList).highlighted_option
        return self.fields.get(option.id) if option is not None and option.id else None

    # Editing ---------------------------------------------------------------------------------------------

    @on(OptionList.OptionSelected, "#fields")
    def edit_field(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        field, draft = self.current_field(), self.draft
        if field is None or draft is None:
            return
        now = draft.text(field.key)
        if field.info.kind == "bool":
            self._take(field, "false" if now == "true" else "true")
        elif field.info.kind == "choice":
            self._choose(field, now)
        elif field.key == f"{self.system}.mapping":
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
        self.show_editor(True)
        value = self.query_one(ValueInput)
        value.value = now.replace("\n", "\\n")
        value.cursor_position = len(value.value)
        value.focus()

    def show_editor(self, shown: bool) -> None:
        self.query_one(ValueInput).display = shown
        self.query_one("#value-error").display = shown

    @on(Input.Changed, "#value")
    def check_value(self, event: Input.Changed) -> None:
        field, draft = self.current_field(), self.draft
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
        field, draft, text = self.current_field(), self.draft, _typed(event.value)
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
        self.refresh_rows()

    @on(FieldList.ToDefault)
    def back_to_default(self, message: FieldList.ToDefault) -> None:
        field = self.fields.get(message.key)
        if field is not None:
            self._take(field, value_text(field.info.default))

    def action_leave_edit(self) -> None:
        self.show_editor(False)
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
        self.show_rows()

    @on(Input.Submitted, "#form-search")
    def end_search(self) -> None:
        self.query_one("#form-search").display = False
        self.query_one(FieldList).focus()

    def action_back(self) -> None:
        """Leave whatever is open, and show all settings again."""
        self.query_one("#form-search").display = False
        self.show_editor(False)
        self.needle = ""
        self.show_rows()
        self.query_one(FieldList).focus()


def _typed(text: str) -> str:
    """What was typed on one line, with `\\n` for a line break."""
    return text.replace("\\n", "\n")
