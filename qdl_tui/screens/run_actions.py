"""Stop, resume and delete a run: the same three keys on the runs screen and on the training screen."""

from __future__ import annotations

from textual import work
from textual.binding import Binding

from qdl_engine.runs.store import Run
from qdl_tui.messages import Said
from qdl_tui.screens.base import BaseScreen
from qdl_tui.screens.dialogs import ConfirmScreen


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
    ]

    def run_at_hand(self) -> Run | None:
        """The run that the keys act on."""
        return None

    def action_stop(self) -> None:
        run = self.run_at_hand()
        if run is None or not run.active:
            self.notify("No run to stop here", markup=False, timeout=2)
            return

        def answered(agreed: bool | None) -> None:
            if agreed:
                self.stop_run(run)

        detail = "It writes a checkpoint first, and can be resumed." if run.kind == "train" else ""
        self.app.push_screen(ConfirmScreen(f"Stop run {run.id}?", detail), answered)

    def action_resume(self) -> None:
        run = self.run_at_hand()
        if run is None or run.active or run.state == "done":
            self.notify("Only a stopped, failed or lost run can be resumed", markup=False, timeout=3)
            return
        self.resume_run(run)

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
    def delete_run(self, run: Run) -> None:
        from qdl_engine.runs.edit import delete_run

        delete_run(run)
        self.app.post_message(Said(f"Run {run.id} is deleted; its checkpoint stays"))
