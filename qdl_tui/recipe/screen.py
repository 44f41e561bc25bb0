"""Screens 2 and 3: the recipe of one student, and the jobs that use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Literal

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import printable
from qdl_tui.recipe.config import ConfigPreview, ConfigScreen, copy_command, copy_config
from qdl_tui.recipe.form import SettingsForm
from qdl_tui.runs.feed import training_now
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import ChooseScreen, ConfirmScreen
from qdl_tui.shared.draft import Draft, FileStamp, counted, file_stamp
from qdl_tui.shared.held_keys import DIALOG
from qdl_tui.shared.saving import SAVE_KEYS, DraftSaver, draft_of

if TYPE_CHECKING:
    from qdl_engine.core.systems import System

ConfigUse = Literal["panel", "dialog", "copy", "copy command"]
BESIDE = 76
"""Columns from which the help stands beside the form; with fewer it stands below."""
CONFIG_AFTER = 0.3
"""Seconds after the last edit until the config beside the form is built again."""
ALWAYS = ("back", "reload")
"""The screen's own actions that need no settings."""
UNREADABLE = "The settings cannot be read"
"""What the other keys say without settings; the screen shows why, and what to do."""


class RecipeScreen(BaseScreen):
    """The settings of one student. No job starts from settings that are not in `qdl.toml`."""

    TICK = 2.0
    AUTO_FOCUS = "#fields"
    CSS_PATH = "recipe.tcss"
    BINDINGS = [
        *SAVE_KEYS,
        Binding("r", "run", "Run", tooltip="Prepare, label if the recipe asks, and train", id="recipe.run"),
        Binding("v", "data", "Data", tooltip="Show the prepared rows and the report", id="recipe.data"),
        Binding("p", "prepare", "Prepare the data", show=False, id="recipe.prepare"),
        Binding(
            "f",
            "preflight",
            "Will it fit",
            show=False,
            tooltip="Estimate memory, time and disk of the training, unsaved edits included",
            id="recipe.preflight",
        ),
        Binding("l", "label", "Label with the teacher", show=False, id="recipe.label"),
        Binding(
            "m",
            "mapping",
            "Mapping",
            show=False,
            tooltip="Choose what each column of the source is, and preview the first rows",
            id="recipe.mapping",
        ),
        Binding(
            "P", "preset", "Presets", show=False, tooltip="Settings that suit a machine", id="recipe.preset"
        ),
        Binding(
            "c",
            "config",
            "Config",
            show=False,
            tooltip="Show the EasyDistill JSON and the command",
            id="recipe.config",
        ),
        Binding(
            "y", "copy_config", "Copy the config", show=False, tooltip="Copy the EasyDistill JSON",
            id="recipe.copy_config",
        ),
        Binding(
            "Y", "copy_command", "Copy the command", show=False, tooltip="Copy the command of the training",
            id="recipe.copy_command",
        ),
        Binding(
            "slash",
            "search",
            "Search",
            show=False,
            key_display="/",
            tooltip="Search all settings, unused ones too",
            id="recipe.search",
        ),
        Binding("escape", "back", "All settings", show=False, id="recipe.back"),
        Binding("f5", "reload", "Read again", show=False, tooltip="Read qdl.toml again", id="recipe.reload"),
    ]  # fmt: skip

    def __init__(self, system: System) -> None:
        self.MODE = system
        super().__init__()
        self.system: System = system
        self.form = SettingsForm(system)
        self.saver = DraftSaver(self, self.form.redraw)
        self.preview = ConfigPreview(system)
        self.reading = False
        self.training = ""
        """How far the training of this student is; empty while none runs."""
        self._waiting: Callable[[Draft], object] | None = None
        """An action that came before the settings were read."""
        self._refused: FileStamp | None = None
        """The file that is not valid: only another one is read."""
        self._config_timer: Timer | None = None
        self._config_of: object = None
        """The settings that the config beside the form was built from."""

    def compose_body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="form-title")
        yield self.form

    @property
    def draft(self) -> Draft | None:
        return draft_of(self)

    # Reading ---------------------------------------------------------------------------------------------

    def lab_opened(self) -> None:
        self.form.show_none("")
        self.training = ""
        if self.draft is None:
            self._read_again()

    def tick(self) -> None:
        draft = self.draft
        if draft is None:
            if not self.reading and self._refused != file_stamp(self.lab):
                self.read_draft()
        elif draft.changed_outside and not draft.dirty:
            self._read_again()
            self.notify("qdl.toml changed outside the app: read again")
        elif self.form.drawn is not draft.current:
            self.form.show(draft)  # the other recipe's screen read it, or edited a shared setting
        self._show_title()
        self.read_training()
        self._go_to_wanted()

    def _read_again(self) -> None:
        self.lab_app.draft = None
        self.read_draft()

    def read_draft(self) -> None:
        """Read `qdl.toml`, and then do what waited for it."""
        self.reading = True
        self.run_worker(self._read_draft(), group="draft", exclusive=True, exit_on_error=False)

    async def _read_draft(self) -> None:
        lab, stamp = self.lab, file_stamp(self.lab)
        draft, problem = self.draft, ""
        try:
            draft = draft or await asyncio.to_thread(Draft.read, lab)
        except LabError as error:
            problem = str(error)
        if lab != self.lab:
            return
        self.reading, waiting, self._waiting = False, self._waiting, None
        self._refused = stamp if problem else None
        if draft is None:
            self.form.show_none(self.with_way_out(problem))
            self._redrawn()
            return
        if self.draft is None:
            self.lab_app.draft = draft
        self.form.show(draft)
        self._go_to_wanted()
        if waiting is not None and self.is_current:
            waiting(draft)

    @work(exclusive=True, group="training", exit_on_error=False)
    async def read_training(self) -> None:
        """Look whether this student is being trained."""
        self.training = await asyncio.to_thread(training_now, self.lab, self.system)
        self._show_title()

    # Drawing ---------------------------------------------------------------------------------------------

    def _go_to_wanted(self) -> None:
        """Put the cursor on the setting that the palette chose, once the form has settings."""
        key = self.lab_app.wanted_setting
        if key and self.form.go_to(key):
            self.lab_app.wanted_setting = ""

    @on(SettingsForm.Redrawn)
    def _redrawn(self) -> None:
        """Title and keys follow the form at once, the config beside it a moment after the last edit."""
        self._show_title()
        self.refresh_bindings()
        if self.form.draft is not None and self.form.drawn is not self._config_of and self.has_class("-wide"):
            self._config_of = self.form.drawn
            if self._config_timer is not None:
                self._config_timer.stop()
            self._config_timer = self.set_timer(CONFIG_AFTER, partial(self.read_config, "panel"))

    def on_resize(self) -> None:
        self.set_class(self.size.width < BESIDE, "stacked")
        self.call_after_refresh(self.form.redraw)

    def _show_title(self) -> None:
        """One line: whose recipe, unsaved changes, the search, a training under way."""
        draft, changed = self.draft, self.form.changes()
        parts = [(f"{SYSTEM_NAMES[self.system]}  ", "bold $accent")]
        if draft is None:
            reading = ("reading settings…", "$text-muted")
            parts.append(reading if self.reading else ("no settings read", "bold $error"))
        elif changed:
            parts.append((f"{changed} changed, not saved", "$warning"))
        else:
            parts.append(("as saved in qdl.toml", "$text-muted"))
        if draft is not None and draft.changed_outside:
            read = f"  qdl.toml changed outside: {self.key_of('recipe.reload')} reads it"
            parts.append((read, "bold $error"))
        if draft is not None and self.form.needle:
            only = f"  only '{printable(self.form.needle)}' ({self.key_of('recipe.back')}: all)"
            parts.append((only, "$primary"))
        if draft is not None and self.training:
            parts.append((f"  {self.training} ({self.key_of('app.training')} shows it)", "$primary"))
        self.query_one("#form-title", Static).update(Content.assemble(*parts))

    # Actions ---------------------------------------------------------------------------------------------

    def why_not(self, action: str) -> str:
        if self.draft is not None:
            return self.saver.why_not(self.draft, action)
        ours = {binding.action for binding in Binding.make_bindings(type(self).BINDINGS)} - {*ALWAYS}
        return UNREADABLE if action in ours and not self.reading else ""

    def _with_draft(self, act: Callable[[Draft], object]) -> None:
        """Do something with the settings, once they are read."""
        if self.draft is not None:
            act(self.draft)
        elif self.reading:
            self._waiting = act
        else:
            self.notify(UNREADABLE)

    @on(SettingsForm.Entered)
    def take_value(self, message: SettingsForm.Entered) -> None:
        if self.draft is None:
            return
        try:
            self.draft.set(message.key, message.text)
        except SettingsError as error:
            self.lab_app.tell_error(error)
        else:
            self.form.redraw()

    def action_reload(self) -> None:
        """Read the file again, after a question when edits would be lost."""
        draft = self.draft
        if draft is None or not draft.dirty:
            self._read_again()
            return

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._read_again()

        question = f"Drop {counted(len(draft.changes()))} and read qdl.toml again?"
        self.app.push_screen(ConfirmScreen(question, draft.diff()), answered)

    def action_search(self) -> None:
        self.form.open_search()

    def action_back(self) -> None:
        self.form.show_all()

    def action_save(self) -> None:
        self._with_draft(self.saver.save)

    def action_undo(self) -> None:
        self._with_draft(self.saver.undo)

    def action_run(self) -> None:
        self._save_then("train", self.system)

    def action_prepare(self) -> None:
        self._save_then("prepare", self.system)

    def action_label(self) -> None:
        self._save_then("label")

    def _save_then(self, *command: str) -> None:
        self._with_draft(partial(self.saver.save, then=command))

    def action_preflight(self) -> None:
        """Show what a training would need, edits included. Starting it saves them first."""
        self._with_draft(self._preflight)

    def _preflight(self, draft: Draft) -> None:
        changes = [f"{key}={text}" for key, _saved, text in draft.changes()]
        start = partial(self.saver.save, draft) if changes else None
        self.lab_app.show_preflight(self.system, overrides=changes, start=start)

    def action_preset(self) -> None:
        self._with_draft(self._choose_preset)

    def _choose_preset(self, draft: Draft) -> None:
        from qdl_engine.settings.presets import PRESETS

        def chosen(name: str | None) -> None:
            if name:
                draft.use_preset(self.system, name)
                self.form.redraw()

        options = [(preset.name, preset.purpose) for preset in PRESETS]
        self.app.push_screen(ChooseScreen(f"Preset for {SYSTEM_NAMES[self.system]}", options), chosen)

    def action_data(self) -> None:
        """Show the prepared rows, with the system prompt as it is now."""
        from qdl_tui.data.screen import DataScreen

        self._with_draft(lambda _draft: self.app.push_screen(DataScreen(self.system)))

    @on(SettingsForm.MappingWanted)
    def action_mapping(self) -> None:
        from qdl_tui.data.mapping import MappingScreen

        self._with_draft(
            lambda _draft: self.app.push_screen(MappingScreen(self.system), lambda _: self.form.redraw())
        )

    def action_config(self) -> None:
        """Show the config that training would get now, edits included."""
        self.read_config("dialog")

    def action_copy_config(self) -> None:
        self.read_config("copy")

    def action_copy_command(self) -> None:
        self.read_config("copy command")

    def read_config(self, use: ConfigUse) -> None:
        """Build the config in a worker; keys typed meanwhile wait for the dialog."""
        self._with_draft(
            lambda draft: self.run_worker(
                self._use_config(draft, use), group=DIALOG, exclusive=True, exit_on_error=False
            )
        )

    async def _use_config(self, draft: Draft, use: ConfigUse) -> None:
        view = await asyncio.to_thread(self.preview.build, draft)
        self.form.show_config(view)
        if use == "dialog":
            self.app.push_screen(ConfigScreen(view))
        elif use == "copy":
            copy_config(self.app, view)
        elif use == "copy command":
            copy_command(self.app, view)
