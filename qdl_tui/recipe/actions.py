"""What can be done with edited settings: take a preset, see the config, look at the data, start a job."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from textual import on, work
from textual.binding import Binding
from textual.message import Message

from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_tui.recipe.draft import ConfigView
from qdl_tui.recipe.saving import UNREADABLE, SavingScreen
from qdl_tui.shared.dialogs import ChooseScreen
from qdl_tui.shared.held_keys import DIALOG

ConfigUse = Literal["panel", "dialog", "copy", "copy command"]

NEED_SETTINGS = (
    *("save", "undo", "run", "data", "prepare", "preflight", "label", "mapping", "preset", "search"),
    *("config", "copy_config", "copy_command"),
)
"""What a recipe offers once its settings are read."""


@dataclass
class ConfigRead(Message):
    """The EasyDistill config of the draft, and what it was made for."""

    view: ConfigView
    use: ConfigUse


class DraftScreen(SavingScreen):
    """A recipe's screen. A job never starts from settings that are not in `qdl.toml`."""

    BINDINGS = [
        Binding("r", "run", "Run", tooltip="Prepare, label where asked, and train", id="recipe.run"),
        Binding("v", "data", "Data", tooltip="The prepared rows and the report", id="recipe.data"),
        Binding("p", "prepare", "Prepare the data", show=False, id="recipe.prepare"),
        Binding(
            "f",
            "preflight",
            "Will it fit",
            show=False,
            tooltip="Memory, time and disk of a training, with the edits that are not saved",
            id="recipe.preflight",
        ),
        Binding("l", "label", "Let the teacher label", show=False, id="recipe.label"),
        Binding(
            "m",
            "mapping",
            "Mapping",
            show=False,
            tooltip="Which column of the source is what, and how the first rows come out",
            id="recipe.mapping",
        ),
        Binding(
            "P", "preset", "Presets", show=False, tooltip="Settings that fit a machine", id="recipe.preset"
        ),
        Binding(
            "c",
            "config",
            "Config",
            show=False,
            tooltip="The EasyDistill JSON, and the command",
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
    ]  # fmt: skip

    def why_not(self, action: str) -> str:
        return UNREADABLE if self.unreadable and action in NEED_SETTINGS else super().why_not(action)

    def action_preset(self) -> None:
        from qdl_engine.settings.presets import PRESETS

        draft = self.draft
        if not self.settings_are_read(self.action_preset) or draft is None:
            return

        def chosen(name: str | None) -> None:
            if name:
                draft.use_preset(self.system, name)
                self.draft_changed()

        options = [(preset.name, preset.purpose) for preset in PRESETS]
        self.app.push_screen(ChooseScreen(f"Preset for {SYSTEM_NAMES[self.system]}", options), chosen)

    def action_data(self) -> None:
        """The prepared rows, rendered with the system prompt as it is now."""
        from qdl_tui.data.screen import DataScreen

        if self.settings_are_read(self.action_data):
            self.app.push_screen(DataScreen(self.system))

    def action_mapping(self) -> None:
        from qdl_tui.data.mapping import MappingScreen

        if self.settings_are_read(self.action_mapping):
            self.app.push_screen(MappingScreen(self.system), lambda _: self.draft_changed())

    def action_config(self) -> None:
        """What training would be given now, unsaved changes included."""
        self._use_config("dialog")

    def action_copy_config(self) -> None:
        self._use_config("copy")

    def action_copy_command(self) -> None:
        self._use_config("copy command")

    def _use_config(self, use: ConfigUse) -> None:
        if self.settings_are_read(partial(self._use_config, use)):
            self.read_config(use)

    @work(thread=True, exclusive=True, group=DIALOG, exit_on_error=False)
    def read_config(self, use: ConfigUse) -> None:
        if self.draft is not None:
            self.post_message(ConfigRead(self.draft.config_view(self.system), use))

    @on(ConfigRead)
    def config_read(self, message: ConfigRead) -> None:
        from qdl_tui.recipe.config import ConfigScreen, copy_command, copy_config

        if message.use == "dialog":
            self.app.push_screen(ConfigScreen(message.view))
        elif message.use == "copy":
            copy_config(self.app, message.view)
        elif message.use == "copy command":
            copy_command(self.app, message.view)

    def action_preflight(self) -> None:
        """What a training would need with the edits as they stand; Enter saves them and starts it."""
        draft = self.draft
        if not self.settings_are_read(self.action_preflight) or draft is None:
            return
        changes = [f"{key}={text}" for key, _saved, text in draft.changes()]
        start = self.save_then if changes else None
        self.lab_app.show_preflight(self.system, overrides=changes, start=start)

    def action_run(self) -> None:
        self.save_then(("train", self.system))

    def action_prepare(self) -> None:
        self.save_then(("prepare", self.system))

    def action_label(self) -> None:
        self.save_then(("label",))
