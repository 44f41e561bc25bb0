"""The form of a recipe: the list of settings, a search, the help of one, and the line that edits a value.

The form shows a draft and reports what the user enters; the screen that holds the form changes the draft.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from qdl_engine.core.systems import SYSTEMS
from qdl_engine.core.words import printable
from qdl_tui.recipe.config import ConfigView
from qdl_tui.shared.bars import key_of
from qdl_tui.shared.dialogs import ChooseScreen, LineInput
from qdl_tui.shared.draft import Draft, value_text
from qdl_tui.shared.lists import NavList, middle_cut

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.settings.fields import FieldInfo

SHARED = ("teacher", "runtime", "comparison")
"""The tables that both systems share: their settings are in either form."""
UNUSED = " (unused)"
NO_MATCH = "Nothing matches"


def form_fields(system: System) -> list[FieldInfo]:
    """The settings of one system's form, heading by heading."""
    from qdl_engine.settings.fields import all_fields

    found: list[FieldInfo] = []
    for section in (system, *SHARED):
        fields = all_fields(section)
        groups = list(dict.fromkeys(info.group for info in fields))
        found += sorted(fields, key=lambda info: groups.index(info.group))
    return found


def heading(info: FieldInfo) -> str:
    """The heading above a setting: its group, with the table's name where the table is shared."""
    table = info.section.capitalize()
    return info.group if info.section in SYSTEMS or info.group == table else f"{table}: {info.group}"


class FieldList(NavList):
    """The settings under their headings. Enter edits the one under the cursor."""

    BINDINGS = [
        Binding(
            "enter,space",
            "select",
            "Edit",
            key_display="enter",
            tooltip="Edit the setting, or switch it",
            id="form.edit",
        ),
        Binding(
            "backspace",
            "default",
            "Default",
            show=False,
            key_display="backspace",
            tooltip="Restore the default",
            id="form.default",
        ),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._fields: dict[str, FieldInfo] = {}
        self._draft: Draft | None = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """An empty list offers nothing to edit."""
        if action in ("select", "default") and not self.options:
            return None
        return super().check_action(action, parameters)

    @property
    def keys(self) -> list[str]:
        """The keys of the listed settings."""
        return list(self._fields)

    def show_fields(self, fields: list[FieldInfo], draft: Draft) -> None:
        """List these settings. What is already listed is only drawn again, so that nothing moves."""
        self._draft = draft
        if self.keys == [info.key for info in fields] and self.options:
            for info in fields:
                self.replace_option_prompt(info.key, self._line(info, draft))
            return
        before = self.highlighted_option
        self._fields = {info.key: info for info in fields}
        options: list[Option] = []
        above = ""
        for info in fields:
            if heading(info) != above:
                above = heading(info)
                options.append(Option(Content.styled(above, "bold $accent"), disabled=True))
            options.append(Option(self._line(info, draft), id=info.key))
        if not options:
            options.append(Option(Content.styled(NO_MATCH, "$text-muted"), disabled=True))
        self.set_options(options)
        if before is not None and before.id in self._fields:
            self.highlighted = self.get_option_index(before.id)
        elif fields:
            self.highlighted = 1

    def show_none(self) -> None:
        """Empty the list: there are no settings to show."""
        self._fields, self._draft = {}, None
        self.clear_options()

    def on_resize(self) -> None:
        """Values are cut to the width of the list."""
        if self._draft is not None:
            self.show_fields(list(self._fields.values()), self._draft)

    def go_to(self, key: str) -> None:
        """Put the cursor on a setting."""
        self.highlighted = self.get_option_index(key)
        self.scroll_to_highlight()
        self.focus()

    @property
    def current(self) -> FieldInfo | None:
        """The setting under the cursor."""
        option = self.highlighted_option
        return self._fields.get(option.id) if option is not None and option.id else None

    def is_cut(self, info: FieldInfo) -> bool:
        """Whether the value of a setting is longer than its line."""
        if self._draft is None:
            return False
        unused = len(UNUSED) if self._draft.unused_with(info) else 0
        text = self._draft.text(info.key)
        return "\n" in text or cell_len(_one_line(text)) > self._room - unused

    @property
    def _room(self) -> int:
        """Cells for a value."""
        return max(8, self.size.width - 28) if self.size.width else 24

    def _line(self, info: FieldInfo, draft: Draft) -> Content:
        changed, room = draft.is_changed(info.key), self._room
        value = _one_line(draft.text(info.key)) or "(empty)"
        mark = ("* ", "bold $warning") if changed else "  "
        name = f"{info.name:23}"
        if draft.unused_with(info):
            shown = middle_cut(value, room - len(UNUSED))
            return Content.assemble(mark, (f"{name}{shown}{UNUSED}", "$text-muted"))
        shown = middle_cut(value, room)
        unit = f" {info.unit}" if info.unit and len(shown) + len(info.unit) < room else ""
        return Content.assemble(mark, name, (shown, "bold" if changed else ""), (unit, "$text-muted"))

    def action_default(self) -> None:
        if self.current is not None:
            self.post_message(self.ToDefault(self.current))

    @dataclass
    class ToDefault(Message):
        """The user wants the default of this setting."""

        info: FieldInfo


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


class ValueInput(LineInput):
    """The value being typed, with `\\n` for a line break; the form checks it at every key."""

    BINDINGS = [Binding("escape", "leave", "Back", key_display="esc", id="form.back")]

    def in_one_line(self, text: str) -> str:
        return super().in_one_line(text.replace("\n", "\\n"))

    def begin(self, text: str) -> None:
        """Edit this text, from its end."""
        self.value = text.replace("\n", "\\n")
        self.cursor_position = len(self.value)
        self.focus()

    @property
    def text(self) -> str:
        """The value with its line breaks."""
        return self.value.replace("\\n", "\n")

    def action_leave(self) -> None:
        self.post_message(self.Left())

    class Left(Message):
        """The user does not want to change the value."""


class SettingsForm(Vertical):
    """The settings of one system and of the shared tables, drawn from a draft."""

    @dataclass
    class Entered(Message):
        """The user entered a value."""

        key: str
        text: str

    class MappingWanted(Message):
        """The user wants to edit the columns of the source, which have a screen of their own."""

    class Redrawn(Message):
        """The form was drawn again."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system: System = system
        self.draft: Draft | None = None
        """The draft on show; None while there are no settings."""
        self.drawn: object = None
        """The settings that were drawn last."""
        self.needle = ""
        """The search; empty when the form shows all settings in use."""
        self._fields: dict[str, FieldInfo] = {}

    def compose(self) -> ComposeResult:
        search = LineInput(id="form-search", placeholder="part of a setting's name or help")
        search.display = False  # before it is mounted: a key typed ahead must not go into it
        yield search
        with Horizontal(id="form"):
            yield FieldList(id="fields")
            with Vertical(id="field-side"):
                yield Static("", markup=False, id="field-help")
                with VerticalScroll(can_focus=False, id="config-panel"):
                    yield Static("", markup=False, id="config-text")
        yield ValueInput(id="value")
        yield Static("", markup=False, id="value-error")

    def on_mount(self) -> None:
        self._show_editor(False)
        self.field_list.focus()

    @property
    def field_list(self) -> FieldList:
        return self.query_one(FieldList)

    # The list --------------------------------------------------------------------------------------------

    def show(self, draft: Draft) -> None:
        """Show a draft, or what it says now."""
        if not self._fields:
            self._fields = {info.key: info for info in form_fields(self.system)}
        self.draft, self.drawn = draft, draft.current
        self.field_list.show_fields(self._listed(draft), draft)
        self.show_help()
        self.post_message(self.Redrawn())

    def redraw(self) -> None:
        """Draw the form again; nothing without settings."""
        if self.draft is not None:
            self.show(self.draft)

    def show_none(self, why: str) -> None:
        """Say why there are no settings."""
        self.draft = self.drawn = None
        self.field_list.show_none()
        self.query_one("#field-help", Static).update(Content(printable(why)))

    def show_config(self, view: ConfigView) -> None:
        """Show the config beside the form; only a wide terminal has room for it."""
        self.query_one("#config-text", Static).update(view.content)

    def _listed(self, draft: Draft) -> list[FieldInfo]:
        """What a search finds; without one, the settings that are in use or changed."""
        if self.needle:
            needle = self.needle.casefold()
            return [info for info in self._fields.values() if needle in f"{info.key} {info.help}".casefold()]
        return [
            info
            for info in self._fields.values()
            if not draft.unused_with(info) or draft.is_changed(info.key)
        ]

    def changes(self) -> int:
        """How many settings of this form are changed and not saved."""
        return sum(self.draft.is_changed(key) for key in self._fields) if self.draft is not None else 0

    def go_to(self, key: str) -> bool:
        """Put the cursor on a setting, by a search where it is not in use; whether the form has it."""
        info, draft = self._fields.get(key), self.draft
        if info is None or draft is None:
            return False
        self.needle = key if draft.unused_with(info) else ""
        self.redraw()
        self.field_list.go_to(key)
        return True

    @on(OptionList.OptionHighlighted, "#fields")
    def show_help(self) -> None:
        info, draft = self.field_list.current, self.draft
        if info is not None and draft is not None:
            text = self._help(info, draft)
        elif draft is not None and self.needle:
            back = key_of(self.screen, "recipe.back")
            text = Content(printable(f"{NO_MATCH} {self.needle!r}. {back} shows all settings."))
        else:
            return
        self.query_one("#field-help", Static).update(text)

    def _help(self, info: FieldInfo, draft: Draft) -> Content:
        """What the setting is for and accepts, its default, what the file says, and the keys."""
        saved, value = draft.saved_text(info.key), draft.text(info.key)
        default, unused = value_text(info.default), draft.unused_with(info)
        edit, restore = (key_of(self.screen, name) for name in ("form.edit", "form.default"))
        does = {"bool": "switch", "choice": "choices"}.get(info.kind, "edit")
        if info.key == f"{self.system}.mapping":
            does = "column editor"
        rows = [
            ("unit", info.unit),
            ("accepts", info.bounds_text),
            ("default", printable(default) or "(empty)"),
            ("saved", (printable(saved) or "(empty)") if draft.is_changed(info.key) else ""),
            ("unused", f"kind is {unused}; only for {' and '.join(info.kinds)}" if unused else ""),
            ("keys", f"{edit}: {does}; {restore}: default"),
            # Last, because a long value leaves no room below it.
            ("value", printable(value) if self.field_list.is_cut(info) and value != default else ""),
        ]
        lines = [Content.styled(info.key, "bold $accent"), Content(info.help), Content("")]
        lines += [Content.assemble((f"{name:9}", "$text-muted"), text) for name, text in rows if text]
        return Content("\n").join(lines)

    # Editing ---------------------------------------------------------------------------------------------

    @on(OptionList.OptionSelected, "#fields")
    def _edit(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        info, draft = self.field_list.current, self.draft
        if info is None or draft is None:
            return
        now = draft.text(info.key)
        if info.kind == "bool":
            self._enter(info, "false" if now == "true" else "true")
        elif info.kind == "choice":
            self._choose(info, now)
        elif info.key == f"{self.system}.mapping":
            self.post_message(self.MappingWanted())
        else:
            self._show_editor(True)
            self.query_one(ValueInput).begin(now)

    def _choose(self, info: FieldInfo, now: str) -> None:
        def chosen(value: str | None) -> None:
            if value:
                self._enter(info, value)

        options = [(name, "the default" if name == info.default else "") for name in info.choices]
        self.app.push_screen(ChooseScreen(info.key, options, now=now), chosen)

    def _enter(self, info: FieldInfo, text: str) -> None:
        self.post_message(self.Entered(info.key, text))

    def _show_editor(self, shown: bool) -> None:
        self.query_one(ValueInput).display = shown
        self.query_one("#value-error").display = shown

    @on(Input.Changed, "#value")
    def _check(self) -> None:
        info, draft = self.field_list.current, self.draft
        if info is None or draft is None:
            return
        problem = draft.check(info.key, self.query_one(ValueInput).text)
        accepted = f"{info.name}: accepts {info.bounds_text}"
        shown = Content.assemble(("✓ ", "$success"), (printable(accepted), "$text-muted"))
        if problem:
            shown = Content.styled(f"✗ {printable(problem)}. Accepted: {info.bounds_text}", "$error")
        self.query_one("#value-error", Static).update(shown)

    @on(Input.Submitted, "#value")
    def _submit(self) -> None:
        """Take the value if it is accepted; what is wrong with it stands below it already."""
        info, draft, text = self.field_list.current, self.draft, self.query_one(ValueInput).text
        if info is not None and draft is not None and not draft.check(info.key, text):
            self._enter(info, text)
            self._leave_editor()

    @on(ValueInput.Left)
    def _leave_editor(self) -> None:
        self._show_editor(False)
        self.field_list.focus()

    @on(FieldList.ToDefault)
    def _restore_default(self, message: FieldList.ToDefault) -> None:
        self._enter(message.info, value_text(message.info.default))

    # Searching -------------------------------------------------------------------------------------------

    def open_search(self) -> None:
        """Let the user type a search."""
        search = self.query_one("#form-search", LineInput)
        search.display = True
        search.value = self.needle
        search.focus()

    @on(Input.Changed, "#form-search")
    def _search(self, event: Input.Changed) -> None:
        self.needle = event.value.strip()
        self.redraw()

    @on(Input.Submitted, "#form-search")
    def _close_search(self) -> None:
        self.query_one("#form-search").display = False
        self.field_list.focus()

    def show_all(self) -> None:
        """Close search and editor, and show all settings in use."""
        self._close_search()
        self._show_editor(False)
        self.needle = ""
        self.redraw()
