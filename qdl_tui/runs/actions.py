"""What can be done to a run: the same keys on the runs screen and on the training screen."""

from __future__ import annotations

from textual import work
from textual.binding import Binding

from qdl_engine.core.words import one_line
from qdl_engine.runs.store import Run
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.dialogs import AskScreen, ConfirmScreen
from qdl_tui.shared.messages import Said


class WriteScreen(AskScreen):
    """Asks for a line that may be empty: None is the answer of who went back."""

    def action_back(self) -> None:
        self.dismiss(None)


RUN_ACTIONS = ("stop", "resume", "rename", "note", "copy_id", "export", "delete", "overlay")
"""What needs a run at hand."""
NOT_RESUMABLE = {
    "queued": "It is about to start: there is nothing to resume",
    "starting": "It is about to start: there is nothing to resume",
    "running": "It is running: there is nothing to resume",
    "stopping": "It is stopping: it can be resumed once it has stopped",
    "done": "It is done: there is nothing to resume",
}


class RunActionsScreen(BaseScreen):
    """A screen with a run at hand."""

    BINDINGS = [
        Binding("s", "stop", "Stop", tooltip="Stop the run, with a checkpoint", id="run.stop"),
        Binding(
            "R",
            "resume",
            "Resume",
            key_display="R",
            tooltip="Go on from the last checkpoint",
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

    def __init__(self) -> None:
        super().__init__()
        self._offered = ("", "")

    def run_at_hand(self) -> Run | None:
        """The run that the keys act on."""
        return None

    def why_not(self, action: str) -> str:
        run = self.run_at_hand()
        if action not in RUN_ACTIONS:
            return super().why_not(action)
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
            return "This lab is a copy: resume it in the lab it was made in, or train anew here"
        if action == "delete" and run.active:
            return f"It is {run.state}: stop it first ({self.key_of('run.stop')})"
        return ""

    def no_run(self) -> str:
        """What a screen without runs says."""
        return f"No runs yet. The lab screen ({self.key_of('app.lab')}) starts one."

    def offer_again(self) -> None:
        """Another run is at hand, or it stands otherwise: what can be done may have changed."""
        run = self.run_at_hand()
        now = (run.id, run.state) if run is not None else ("", "")
        if now != self._offered:
            self._offered = now
            self.refresh_bindings()

    def action_stop(self) -> None:
        run = self.run_at_hand()
        if run is None:
            return

        def answered(agreed: bool | None) -> None:
            if agreed:
                self.stop_run(run)

        detail = "It writes a checkpoint first, and can be resumed." if run.kind == "train" else ""
        self.app.push_screen(ConfirmScreen(f"Stop run {run.id}?", detail), answered)

    def action_resume(self) -> None:
        run = self.run_at_hand()
        if run is not None:
            self.resume_run(run)

    def action_rename(self) -> None:
        """Ask for a name; an empty one takes it away."""
        run = self.run_at_hand()
        if run is None:
            return

        def answered(name: str | None) -> None:
            if name is not None and name != run.name:
                self.rename_run(run, name)

        self.app.push_screen(WriteScreen(f"Name of run {run.id}", run.name, "Empty: no name."), answered)

    def action_note(self) -> None:
        """Ask for a note; an empty one takes it away."""
        run = self.run_at_hand()
        if run is None:
            return

        def answered(note: str | None) -> None:
            if note is not None and note != run.note:
                self.note_run(run, note)

        note = " ".join(run.note.split())
        self.app.push_screen(WriteScreen(f"Note on run {run.id}", note, "Empty: no note."), answered)

    def action_copy_id(self) -> None:
        """Copy what `qdl stop` and the others take."""
        run = self.run_at_hand()
        if run is not None:
            self.app.copy_to_clipboard(run.id, f"run id {run.id}")  # type: ignore[call-arg]

    def action_export(self) -> None:
        run = self.run_at_hand()
        if run is not None:
            self.export_run(run)

    @work(thread=True, group="jobs", exit_on_error=False)
    def stop_run(self, run: Run) -> None:
        from qdl_engine.runs.launch import stop_run

        stop_run(run)
        self.app.post_message(Said(f"Run {run.id} was asked to stop"))

    @work(thread=True, group="jobs", exit_on_error=False)
    def resume_run(self, run: Run) -> None:
        from qdl_engine.runs.launch import resume_run

        resume_run(run)
        self.app.post_message(Said(f"Run {run.id} goes on"))

    @work(thread=True, group="jobs", exit_on_error=False)
    def rename_run(self, run: Run, name: str) -> None:
        from qdl_engine.runs.edit import rename_run

        renamed = rename_run(run, name)
        self.app.post_message(
            Said(f"Run {run.id} is called {renamed.name}" if renamed.name else f"Run {run.id} has no name")
        )
        self.app.call_from_thread(self.tick)

    @work(thread=True, group="jobs", exit_on_error=False)
    def note_run(self, run: Run, note: str) -> None:
        from qdl_engine.runs.edit import note_run

        note_run(run, note)
        self.app.call_from_thread(self.tick)

    @work(thread=True, group="jobs", exit_on_error=False)
    def export_run(self, run: Run) -> None:
        from qdl_engine.runs.reader import export_metrics

        table, document = export_metrics(run)
        place = table.relative_to(run.lab.root)
        self.app.post_message(Said(f"Wrote {one_line(str(place), 200)} and {document.name} in the lab"))

    @work(thread=True, group="jobs", exit_on_error=False)
    def delete_run(self, run: Run) -> None:
        from qdl_engine.runs.edit import delete_run

        delete_run(run)
        self.app.post_message(Said(f"Run {run.id} is deleted"))
        self.app.call_from_thread(self.tick)
