"""Settings edited and saved: the diff before a save, undo, a file that somebody else changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.message import Message

from qdl_tui.recipe.draft import Draft
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import ConfirmScreen

if TYPE_CHECKING:
    from qdl_engine.core.systems import System


@dataclass
class DraftSaved(Message):
    """`qdl.toml` is written; `then` is the job that waited for it."""

    then: tuple[str, ...] = ()


UNREADABLE = "The settings cannot be read"
"""What the keys say that need them; why, and what to do, stands on the screen."""


def counted(changes: int) -> str:
    """`1 change`, `2 changes`."""
    return f"{changes} change{'' if changes == 1 else 's'}"


class SystemScreen(BaseScreen):
    """A screen of one student, drawn from the lab's one draft of its settings."""

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

    reading = False
    """Whether the settings are about to be there."""
    later: Callable[[], object] | None = None
    """What waits for the settings."""

    @property
    def unreadable(self) -> bool:
        """Whether there are no settings, and none are about to be there."""
        return self.draft is None and not self.reading

    def settings_are_read(self, act: Callable[[], object]) -> bool:
        """Whether there are settings to work with; an action asked for too early is done once they are."""
        if self.draft is None and self.reading:
            self.later = act
        elif self.draft is None:
            self.notify(UNREADABLE)
        return self.draft is not None


class SavingScreen(SystemScreen):
    """A screen on which the draft is edited."""

    BINDINGS = [
        Binding("ctrl+s", "save", "Save", tooltip="Write the changes to qdl.toml", id="recipe.save"),
        Binding("ctrl+z", "undo", "Undo", tooltip="Take back the last edit", id="recipe.undo"),
    ]

    def why_not(self, action: str) -> str:
        draft = self.draft
        if draft is None or action not in ("save", "undo"):
            return super().why_not(action)
        if action == "save":
            return "" if draft.dirty else "Nothing to save"
        return "" if draft.can_undo else "Nothing to undo"

    def action_undo(self) -> None:
        if not self.settings_are_read(self.action_undo) or self.draft is None:
            return
        self.notify(f"Undone: {self.draft.undo()}")
        self.draft_changed()

    def action_save(self) -> None:
        """Show what will change, and write it once that is agreed to."""
        draft = self.draft
        if not self.settings_are_read(self.action_save) or draft is None:
            return
        if draft.dirty:
            self.save_then(())

    def save_then(self, command: tuple[str, ...]) -> None:
        """Save what is changed, after a look at it, and then start a job; no job when the save fails."""
        draft = self.draft
        if not self.settings_are_read(partial(self.save_then, command)) or draft is None:
            return
        if not draft.dirty:
            self.post_message(DraftSaved(command))
            return
        warning = (
            "\nqdl.toml changed outside; your changes are laid over it." if draft.changed_outside else ""
        )

        def answered(agreed: bool | None) -> None:
            if agreed:
                self.save_draft(draft, command)

        self.app.push_screen(
            ConfirmScreen(f"Save {counted(len(draft.changes()))} to qdl.toml?", draft.diff() + warning),
            answered,
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
            self.notify("Saved")
