"""Screens 2 and 3, the recipes: a form made from the settings models, and the jobs that use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from qdl_engine.errors import LabError, SettingsError
from qdl_engine.lab import Lab
from qdl_engine.status import SYSTEM_NAMES
from qdl_engine.text import printable
from qdl_tui.draft import Draft, Field, fields_of
from qdl_tui.screens.base import BaseScreen
from qdl_tui.screens.dialogs import ConfirmScreen, LineInput
from qdl_tui.widgets.nav_list import NavList

SHARED = ("teacher", "runtime", "comparison")


@dataclass
class DraftRead(Message):
    """The settings were read; `problem` says why there are none."""

    lab: Lab
    draft: Draft | None
    fields: list[Field]
    problem: str = ""


@dataclass
class DraftSaved(Message):
    """`qdl.toml` is written; `then` is the job that waited for it."""

    then: tuple[str, ...] = ()


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


class RecipeScreen(BaseScreen):
    """The settings of one student, with help for the one under the cursor."""

    TICK = 2.0
    BINDINGS = [
        Binding("ctrl+s", "save", "Save", tooltip="Write the changes to qdl.toml", id="recipe.save"),
        Binding("ctrl+z", "undo", "Undo", tooltip="Take back the last edit", id="recipe.undo"),
        Binding("r", "run", "Run", tooltip="Prepare, label where asked, and train", id="recipe.run"),
        Binding("p", "prepare", "Prepare the data", show=False, id="recipe.prepare"),
        Binding("l", "label", "Let the teacher label", show=False, id="recipe.label"),
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

    def __init__(self, system: str) -> None:
        self.MODE = system
        super().__init__()
        self.system = system
        self.fields: dict[str, Field] = {}
        self.needle = ""

    @property
    def draft(self) -> Draft | None:
        draft = self.lab_app.draft
        return draft if draft is not None and draft.lab == self.lab else None

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
            changed = len(draft.changes(list(self.fields)))
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
            ("default", printable(_default_text(info.default))),
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
            self._take(field, _default_text(field.info.default))

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
        self.needle = ""
        self._show_rows()
        self.query_one(FieldList).focus()

    def action_undo(self) -> None:
        draft = self.draft
        key = draft.undo() if draft is not None else ""
        if not key:
            self.notify("Nothing to undo", markup=False, timeout=2)
        elif key in self.fields and draft is not None:
            self.query_one(FieldList).update_field(self.fields[key], draft)
        self._show_title()

    def action_reload(self) -> None:
        self.lab_app.draft = None
        self.read_draft()

    def action_save(self) -> None:
        """Show what will change, and write it once that is agreed to."""
        self._save_then(())

    def _save_then(self, command: tuple[str, ...]) -> None:
        draft = self.draft
        if draft is None:
            return
        if not draft.dirty:
            self.post_message(DraftSaved(command))
            return
        changes = draft.changes(list(self.fields))
        detail = "\n".join(f"{key}: {before} -> {after}" for key, before, after in changes)
        warning = (
            "\nqdl.toml changed outside; your changes are laid over it." if draft.changed_outside else ""
        )

        def answered(agreed: bool | None) -> None:
            if agreed:
                self.save_draft(draft, command)

        self.app.push_screen(
            ConfirmScreen(f"Save {len(changes)} changes to qdl.toml?", detail + warning), answered
        )

    @work(thread=True, group="save", exit_on_error=False)
    def save_draft(self, draft: Draft, then: tuple[str, ...]) -> None:
        draft.save()
        self.post_message(DraftSaved(then))

    @on(DraftSaved)
    def draft_saved(self, message: DraftSaved) -> None:
        self._show_rows()
        if message.then:
            self.lab_app.start_job(message.then)
        else:
            self.notify("Saved", markup=False, timeout=2)

    def action_run(self) -> None:
        self._save_then(("train", self.system))

    def action_prepare(self) -> None:
        self._save_then(("prepare", self.system))

    def action_label(self) -> None:
        self._save_then(("label",))


def _typed(text: str) -> str:
    """What was typed on one line, with `\\n` for a line break."""
    return text.replace("\\n", "\n")


def _default_text(default: object) -> str:
    from qdl_tui.draft import value_text

    return value_text(default)


def _choices(field: Field) -> list[str]:
    if field.info.kind == "bool":
        return ["false", "true"]
    return list(field.info.choices)
