"""The list of settings of a recipe, and the line in which one of them is typed."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets.option_list import Option

from qdl_engine.text import printable
from qdl_tui.draft import Draft, Field
from qdl_tui.screens.dialogs import LineInput
from qdl_tui.widgets.nav_list import NavList


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
            "backspace", "default", "Default", show=False, tooltip="Back to the default", id="form.default"
        ),
    ]

    def show_fields(self, fields: list[Field], draft: Draft) -> None:
        """Show `fields` under their groups, and keep the highlight where it is."""
        before = self.highlighted_option
        kept = before.id if before is not None else None
        options: list[Option] = []
        group = ""
        for field in fields:
            if field.group != group:
                group = field.group
                options.append(Option(Content.styled(group, "bold $accent"), disabled=True))
            options.append(Option(self._line(field, draft), id=field.key))
        self.set_options(options)
        ids = [option.id for option in options]
        if kept is not None and kept in ids:
            self.highlighted = ids.index(kept)
        elif len(ids) > 1:
            self.highlighted = 1

    def go_to(self, key: str) -> None:
        """Put the cursor on a setting."""
        self.highlighted = self.get_option_index(key)
        self.scroll_to_highlight()
        self.focus()

    def update_field(self, field: Field, draft: Draft) -> None:
        self.replace_option_prompt(field.key, self._line(field, draft))

    def _line(self, field: Field, draft: Draft) -> Content:
        changed = draft.is_changed(field.key)
        value = " ".join(printable(draft.text(field.key)).split()) or "(empty)"
        mark = ("* ", "bold $warning") if changed else "  "
        room = max(8, self.size.width - 28) if self.size.width else 24
        shown = value if len(value) <= room else f"{value[: room - 1]}…"
        unit = f" {field.info.unit}" if field.info.unit and len(shown) + len(field.info.unit) < room else ""
        return Content.assemble(
            mark, f"{field.name:23}", (shown, "bold" if changed else ""), (unit, "$text-muted")
        )

    def action_default(self) -> None:
        option = self.highlighted_option
        if option is not None and option.id:
            self.post_message(self.ToDefault(option.id))

    @dataclass
    class ToDefault(Message):
        """Back to its default with this setting."""

        key: str


class ValueInput(LineInput):
    """The value being typed: checked at every key."""

    BINDINGS = [Binding("escape", "screen.leave_edit", "Back", key_display="esc", id="form.back")]
