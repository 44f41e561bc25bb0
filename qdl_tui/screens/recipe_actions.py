"""What can be done with edited settings: save, take a preset, show the config, start a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.message import Message

from qdl_engine.status import SYSTEM_NAMES
from qdl_tui.draft import Draft
from qdl_tui.screens.base import BaseScreen
from qdl_tui.screens.dialogs import ChooseScreen, ConfirmScreen, TextScreen

if TYPE_CHECKING:
    from qdl_engine.settings import System


@dataclass
class DraftSaved(Message):
    """`qdl.toml` is written; `then` is the job that waited for it."""

    then: tuple[str, ...] = ()


@dataclass
class ConfigRead(Message):
    """The EasyDistill config of the draft, as text."""

    text: str


class DraftScreen(BaseScreen):
    """A screen on which the lab's one draft of its settings is edited.

    A job never starts from settings that are not in `qdl.toml`: what is changed is saved first.
    """

    BINDINGS = [
        Binding("ctrl+s", "save", "Save", tooltip="Write the changes to qdl.toml", id="recipe.save"),
        Binding("ctrl+z", "undo", "Undo", tooltip="Take back the last edit", id="recipe.undo"),
        Binding("r", "run", "Run", tooltip="Prepare, label where asked, and train", id="recipe.run"),
        Binding("p", "prepare", "Prepare the data", show=False, id="recipe.prepare"),
        Binding("l", "label", "Let the teacher label", show=False, id="recipe.label"),
        Binding(
            "P", "preset", "Presets", show=False, tooltip="Settings that fit a machine", id="recipe.preset"
        ),
        Binding(
            "v", "data", "Data", show=False, tooltip="The prepared rows and the report", id="recipe.data"
        ),
        Binding("c", "config", "Config", show=False, tooltip="The EasyDistill JSON", id="recipe.config"),
    ]

    def __init__(self, system: System) -> None:
        self.MODE = system
        super().__init__()
        self.system: System = system

    @property
    def draft(self) -> Draft | None:
        draft = self.lab_app.draft
        return draft if draft is not None and draft.lab == self.lab else None

    def draft_changed(self) -> None:
        """Draw what the draft says now."""

    def action_undo(self) -> None:
        draft = self.draft
        if draft is None or not draft.undo():
            self.notify("Nothing to undo", markup=False, timeout=2)
        self.draft_changed()

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
        changes = draft.changes()
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
        self.draft_changed()
        if message.then:
            self.lab_app.start_job(message.then)
        else:
            self.notify("Saved", markup=False, timeout=2)

    def action_preset(self) -> None:
        from qdl_engine.presets import PRESETS

        draft = self.draft
        if draft is None:
            return

        def chosen(name: str | None) -> None:
            if name:
                draft.use_preset(self.system, name)
                self.draft_changed()

        options = [(preset.name, preset.purpose) for preset in PRESETS]
        self.app.push_screen(ChooseScreen(f"Preset for {SYSTEM_NAMES[self.system]}", options), chosen)

    def action_data(self) -> None:
        """The prepared rows, rendered with the system prompt as it is now."""
        from qdl_tui.screens.data import DataScreen

        if self.draft is not None:
            prompt = self.draft.current.recipe(self.system).system_prompt
            self.app.push_screen(DataScreen(self.lab, self.system, prompt))

    @work(thread=True, exclusive=True, group="config", exit_on_error=False)
    def action_config(self) -> None:
        """What training would be given now, unsaved changes included."""
        if self.draft is not None:
            self.post_message(ConfigRead(self.draft.config_text(self.system)))

    @on(ConfigRead)
    def show_config(self, message: ConfigRead) -> None:
        self.app.push_screen(TextScreen("EasyDistill config, as training will write it", message.text))

    def action_run(self) -> None:
        self._save_then(("train", self.system))

    def action_prepare(self) -> None:
        self._save_then(("prepare", self.system))

    def action_label(self) -> None:
        self._save_then(("label",))
