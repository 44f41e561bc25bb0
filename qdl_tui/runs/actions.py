"""What a user can do to a run: the same keys on the runs screen and on the training screen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from textual.binding import Binding

from qdl_engine.core.words import one_line, printable
from qdl_engine.runs.store import Run
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import AskScreen, ConfirmScreen
from qdl_tui.shared.held_keys import DIALOG

RUN_KEYS = [
    Binding("s", "stop", "Stop", tooltip="Stop the run, with a checkpoint", id="run.stop"),
    Binding(
        "R",
        "resume",
        "Resume",
        key_display="R",
        tooltip="Resume from the last checkpoint",
        id="run.resume",
    ),
    Binding("r", "rename", "Rename", show=False, tooltip="Give the run a name", id="run.rename"),
    Binding("o", "note", "Note", show=False, tooltip="Write a note on the run", id="run.note"),
    Binding("c", "copy_id", "Copy id", show=False, tooltip="Copy the id of the run", id="run.copy"),
    Binding(
        "E",
        "export",
        "Export",
        show=False,
        key_display="E",
        tooltip="Write the run's figures as CSV and JSON",
        id="run.export",
    ),
]
"""The bindings of a screen with a run at hand; its actions call `RunActions`."""
NEED_A_RUN = ("stop", "resume", "rename", "note", "copy_id", "export", "delete", "overlay")
NOT_RESUMABLE = {
    "queued": "It is about to start: there is nothing to resume",
    "starting": "It is about to start: there is nothing to resume",
    "running": "It is running: there is nothing to resume",
    "stopping": "It is stopping: resume it when it has stopped",
    "done": "It is done: there is nothing to resume",
}


class WriteScreen(AskScreen):
    """Asks for a line that may be empty; the answer is None when the user went back."""

    def action_back(self) -> None:
        self.dismiss(None)


class RunActions:
    """Asks, does it in a thread, and says what was done.

    Args:
        screen: The screen that has the keys.
        at_hand: The run that they act on; None when the screen shows none.
    """

    def __init__(self, screen: BaseScreen, at_hand: Callable[[], Run | None]) -> None:
        self._screen = screen
        self._at_hand = at_hand
        self._offered = ("", "")
        """Id and state of the run that the footer's keys are for."""

    def why_not(self, action: str) -> str:
        """Why an action cannot be done to this run now; empty when it can, and for any other action."""
        run = self._at_hand()
        if action not in NEED_A_RUN:
            return ""
        if run is None:
            return "There is no run here"
        if action == "stop" and not run.active:
            return f"It is {run.state}: there is nothing to stop"
        if action == "stop" and run.state == "stopping":
            return "It is stopping already"
        if action == "resume" and not run.resumable:
            no_way = f"It cannot be resumed: {run.cannot_go_on or 'its record names no command'}"
            return NOT_RESUMABLE.get(run.state, no_way)
        if action == "resume" and run.writes_elsewhere:
            return "This lab is a copy: resume the run in the lab it was made in, or train again here"
        if action == "delete" and run.active:
            return f"It is {run.state}: stop it first ({self._screen.key_of('run.stop')})"
        return ""

    def no_run(self) -> str:
        """What a screen without runs says."""
        return f"No runs yet. The lab screen ({self._screen.key_of('app.lab')}) starts one."

    def offer_again(self) -> None:
        """Update the footer when another run is at hand, or its state has changed."""
        run = self._at_hand()
        now = (run.id, run.state) if run is not None else ("", "")
        if now != self._offered:
            self._offered = now
            self._screen.refresh_bindings()

    def stop(self) -> None:
        run = self._at_hand()
        if run is None:
            return
        detail = "It writes a checkpoint first, and can be resumed." if run.kind == "train" else ""
        self._confirm(f"Stop run {run.id}?", detail, partial(_stop, run))

    def resume(self) -> None:
        run = self._at_hand()
        if run is not None:
            self._do(partial(_resume, run))

    def rename(self) -> None:
        """Ask for a name; an empty one removes it."""
        run = self._at_hand()
        if run is not None:
            self._write(f"Name of run {run.id}", run.name, "Empty: no name.", partial(_rename, run))

    def note(self) -> None:
        """Ask for a note; an empty one removes it."""
        run = self._at_hand()
        if run is not None:
            old = " ".join(run.note.split())
            self._write(f"Note on run {run.id}", old, "Empty: no note.", partial(_note, run))

    def copy_id(self) -> None:
        """Copy what `qdl stop` and the others take."""
        run = self._at_hand()
        if run is not None:
            self._screen.lab_app.copy_to_clipboard(run.id, f"run id {run.id}")

    def export(self) -> None:
        run = self._at_hand()
        if run is not None:
            self._do(partial(_export, run))

    def delete(self) -> None:
        run = self._at_hand()
        if run is not None:
            self._screen.run_worker(self._ask_deletion(run), group=DIALOG, exit_on_error=False)

    async def _ask_deletion(self, run: Run) -> None:
        from qdl_engine.runs.edit import deletion

        found = await asyncio.to_thread(deletion, run)
        name = f" ({printable(run.name)})" if run.name else ""
        self._confirm(f"Delete run {run.id}{name}?", found.text(), partial(_delete, run))

    def _confirm(self, question: str, detail: str, job: Callable[[], str]) -> None:
        def answered(agreed: bool | None) -> None:
            if agreed:
                self._do(job)

        self._screen.app.push_screen(ConfirmScreen(question, detail), answered)

    def _write(self, question: str, old: str, detail: str, job: Callable[[str], str]) -> None:
        def answered(text: str | None) -> None:
            if text is not None and text != old:
                self._do(partial(job, text))

        self._screen.app.push_screen(WriteScreen(question, old, detail), answered)

    def _do(self, job: Callable[[], str]) -> None:
        self._screen.run_worker(self._done(job), group="jobs", exit_on_error=False)

    async def _done(self, job: Callable[[], str]) -> None:
        message = await asyncio.to_thread(job)
        if message:
            self._screen.notify(message)
        self._screen.tick()


# The jobs, for a thread. Each returns the message for the user; empty where the screen shows the change.


def _stop(run: Run) -> str:
    from qdl_engine.runs.launch import stop_run

    stop_run(run)
    return f"Stopping run {run.id} …"


def _resume(run: Run) -> str:
    from qdl_engine.runs.launch import resume_run

    resume_run(run)
    return f"Resumed run {run.id}"


def _rename(run: Run, name: str) -> str:
    from qdl_engine.runs.edit import rename_run

    renamed = rename_run(run, name)
    return f"Named run {run.id}: {renamed.name}" if renamed.name else f"Removed the name of run {run.id}"


def _note(run: Run, note: str) -> str:
    from qdl_engine.runs.edit import note_run

    note_run(run, note)
    return ""


def _export(run: Run) -> str:
    from qdl_engine.runs.reader import export_metrics

    table, document = export_metrics(run)
    place = table.relative_to(run.lab.root)
    return f"Wrote {one_line(str(place), 200)} and {document.name} in the lab"


def _delete(run: Run) -> str:
    from qdl_engine.runs.edit import delete_run

    delete_run(run)
    return f"Deleted run {run.id}"
