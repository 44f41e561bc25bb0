"""The list of settings of a recipe, and the line in which one of them is typed."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets.option_list import Option

from qdl_engine.core.words import printable
from qdl_tui.recipe.draft import Draft, Field
from qdl_tui.shared.dialogs import LineInput
from qdl_tui.shared.lists import NavList, middle_cut

UNUSED = " (unused)"
NO_MATCH = "Nothing matches"


class FieldList(NavList):
    """The settings by group; Enter edits one, or turns to its next choice."""

    BINDINGS = [
        Binding(
            "enter,space",
            "select",
            "Edit",
            key_display="enter",
            tooltip="Edit, or next choice",
            id="form.edit",
        ),
        Binding(
            "backspace",
            "default",
            "Default",
            show=False,
            key_display="backspace",
            tooltip="Back to the default",
            id="form.default",
        ),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._fields: list[Field] = []
        self._draft: Draft | None = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An empty list offers nothing to edit."""
        if action in ("select", "default") and not self.options:
            return None
        return super().check_action(action, parameters)

    @property
    def keys(self) -> list[str]:
        """Of the settings that are listed."""
        return [field.key for field in self._fields]

    def show_fields(self, fields: list[Field], draft: Draft) -> None:
        """Show `fields` under their groups, and keep the highlight where it is."""
        before = self.highlighted_option
        kept = before.id if before is not None else None
        self._fields, self._draft = fields, draft
        options: list[Option] = []
        group = ""
        for field in fields:
            if field.group != group:
                group = field.group
                options.append(Option(Content.styled(group, "bold $accent"), disabled=True))
            options.append(Option(self._line(field, draft), id=field.key))
        if not options:
            options.append(Option(Content.styled(NO_MATCH, "$text-muted"), disabled=True))
        self.set_options(options)
        ids = [option.id for option in options]
        if kept is not None and kept in ids:
            self.highlighted = ids.index(kept)
        elif len(ids) > 1:
            self.highlighted = 1

    def show_none(self) -> None:
        """There are no settings to show."""
        self._fields, self._draft = [], None
        self.clear_options()

    def refresh_fields(self, draft: Draft) -> None:
        """Draw the listed settings again; nothing moves."""
        self._draft = draft
        for field in self._fields:
            self.replace_option_prompt(field.key, self._line(field, draft))

    def on_resize(self) -> None:
        """Values are cut to the width that the list has now."""
        if self._draft is not None:
            self.refresh_fields(self._draft)

    def go_to(self, key: str) -> None:
        """Put the cursor on a setting."""
        self.highlighted = self.get_option_index(key)
        self.scroll_to_highlight()
        self.focus()

    def is_cut(self, key: str) -> bool:
        """Whether the value of a setting is longer than its line has room for."""
        field = next((field for field in self._fields if field.key == key), None)
        if field is None or self._draft is None:
            return False
        unused = len(UNUSED) if self._draft.unused_with(field) else 0
        text = self._draft.text(key)
        return "\n" in text or cell_len(_one_line(text)) > self._room - unused

    @property
    def _room(self) -> int:
        """Cells of a value."""
        return max(8, self.size.width - 28) if self.size.width else 24

    def _line(self, field: Field, draft: Draft) -> Content:
        changed = draft.is_changed(field.key)
        value = _one_line(draft.text(field.key)) or "(empty)"
        mark = ("* ", "bold $warning") if changed else "  "
        name = f"{field.name:23}"
        room = self._room
        if draft.unused_with(field):
            shown = middle_cut(value, room - len(UNUSED))
            return Content.assemble(mark, (f"{name}{shown}{UNUSED}", "$text-muted"))
        shown = middle_cut(value, room)
        unit = f" {field.info.unit}" if field.info.unit and len(shown) + len(field.info.unit) < room else ""
        return Content.assemble(mark, name, (shown, "bold" if changed else ""), (unit, "$text-muted"))

    def action_default(self) -> None:
        option = self.highlighted_option
        if option is not None and option.id:
            self.post_message(self.ToDefault(option.id))

    @dataclass
    class ToDefault(Message):
        """Back to its default with this setting."""

        key: str


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


class ValueInput(LineInput):
    """The value being typed: checked at every key."""

    BINDINGS = [Binding("escape", "screen.leave_edit", "Back", key_display="esc", id="form.back")]

    def in_one_line(self, text: str) -> str:
        """A line break as it is typed here."""
        return super().in_one_line(text.replace("\n", "\\n"))
