"""Saving and undoing for the screens that edit the draft of the settings.

The user sees the changes first; then the file is written, and a job that waited for it starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.binding import Binding

from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.draft import Draft, counted

SAVE_KEYS = [
    Binding("ctrl+s", "save", "Save", tooltip="Write the changes to qdl.toml", id="recipe.save"),
    Binding("ctrl+z", "undo", "Undo", tooltip="Undo the last edit", id="recipe.undo"),
]
"""The bindings of a screen that edits the draft."""


def draft_of(screen: BaseScreen) -> Draft | None:
    """The app's draft, if it is of the lab that the screen shows."""
    draft = screen.lab_app.draft
    return draft if draft is not None and draft.lab == screen.lab else None


class DraftSaver:
    """Save and undo for a screen that edits the draft.

    Args:
        screen: The screen; its workers write the file.
        redraw: Called when the draft has changed.
    """

    def __init__(self, screen: BaseScreen, redraw: Callable[[], object]) -> None:
        self._screen = screen
        self._redraw = redraw

    def why_not(self, draft: Draft, action: str) -> str:
        """Why `save` or `undo` has nothing to do; empty for any other action."""
        if action == "save" and not draft.dirty:
            return "Nothing to save"
        return "Nothing to undo" if action == "undo" and not draft.can_undo else ""

    def undo(self, draft: Draft) -> None:
        """Undo the last edit, and name it."""
        self._screen.notify(f"Undone: {draft.undo()}")
        self._redraw()

    def save(self, draft: Draft, then: tuple[str, ...] = ()) -> None:
        """Show the changes, save them if the user agrees, then start a job; no job when the save fails."""
        from qdl_tui.shared.dialogs import ConfirmScreen

        if not draft.dirty:
            if then:
                self._screen.lab_app.start_job(then)
            return
        detail = draft.diff()
        if draft.changed_outside:
            detail += "\nqdl.toml changed outside the app: only these settings are written over it."

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._screen.run_worker(self._write(draft, then), group="save", exit_on_error=False)

        question = f"Save {counted(len(draft.changes()))} to qdl.toml?"
        self._screen.app.push_screen(ConfirmScreen(question, detail), answered)

    async def _write(self, draft: Draft, then: tuple[str, ...]) -> None:
        await asyncio.to_thread(draft.save)
        self._redraw()
        if then:
            self._screen.lab_app.start_job(then)
        else:
            self._screen.notify("Saved")
