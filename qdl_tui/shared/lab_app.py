"""What the app does with the lab that is open: another one, a step, a run, a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.actions import ActionParseResult, parse
from textual.dom import DOMNode

from qdl_engine.core.lab import Lab
from qdl_engine.lab_state.status import Step
from qdl_tui.shared.bars import key_of
from qdl_tui.shared.base import BaseScreen
from qdl_tui.shared.messages import LabCreated, RunStarted
from qdl_tui.shared.state import UserState
from qdl_tui.shared.telling import TellingApp

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_tui.shared.draft import Draft


class LabApp(TellingApp):
    """An app that has a lab open.

    Args:
        lab: The lab; it need not exist yet.
        state: What is remembered of the user.
    """

    def __init__(self, lab: Lab, state: UserState) -> None:
        super().__init__()
        self.lab = lab
        self.state = state
        self.run_id = self.state.last_run.get(str(lab.root), "")
        """The run the training screen shows; empty is the one to watch."""
        self.draft: Draft | None = None
        """The settings being edited: one draft, whichever recipe is on show."""
        self.wanted_setting = ""
        """The setting that the next recipe on show puts its cursor on."""

    def _remember(self) -> None:
        self.state.remember_lab(self.lab.root)
        self.save_state()

    @work(thread=True, group="state", exit_on_error=False)
    def save_state(self) -> None:
        self.state.save()

    def action_show_mode(self, mode: str) -> None:
        """Go to a screen, unless a dialog waits for an answer."""
        if isinstance(self.screen, BaseScreen):
            self.switch_mode(mode)

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do an action; where a screen says that it cannot be done now, say why."""
        if await super().run_action(action, default_namespace, namespaces):
            return True
        destination, name, _ = parse(action) if isinstance(action, str) else action
        node = self.screen if destination == "screen" else default_namespace
        why = node.why_not(name) if isinstance(node, BaseScreen) else ""
        if why:
            self.notify(why)
        return bool(why)

    def show_setting(self, key: str) -> None:
        """Go to one setting; those that both recipes share are on either's screen."""
        section = key.split(".", 1)[0]
        here = self.screen.MODE if isinstance(self.screen, BaseScreen) else ""
        shared = here if here in ("system1", "system2") else "system1"
        self.wanted_setting = key
        mode = section if section in ("system1", "system2") else shared
        if mode == here and isinstance(self.screen, BaseScreen):
            self.screen.tick()
        else:
            self.action_show_mode(mode)

    async def show_comparison(self, name: str) -> None:
        """Open a saved comparison on the compare screen."""
        from qdl_tui.compare.screen import CompareScreen

        if isinstance(self.screen, BaseScreen):
            await self.switch_mode("compare")
            if isinstance(self.screen, CompareScreen):
                self.screen.open_saved(self.lab, name)

    def open_lab(self, lab: Lab) -> None:
        self.lab = lab
        self.run_id = self.state.last_run.get(str(lab.root), "")
        if lab.settings_file.exists():
            self._remember()
        if isinstance(self.screen, BaseScreen):
            self.screen.on_screen_resume()

    @work(thread=True, group="jobs", exit_on_error=False)
    def create_lab(self, lab: Lab, *, demo: bool) -> None:
        from qdl_tui.lab.create import create_lab

        create_lab(lab, demo=demo)
        self.post_message(LabCreated(lab, demo))

    @on(LabCreated)
    def lab_created(self, message: LabCreated) -> None:
        self.open_lab(message.lab)
        self.notify("The lab is ready")

    def start_step(self, step: Step) -> None:
        """Do one step: on its own screen, or as a detached run."""
        if step.run_id:
            self.attach(step.run_id)
        elif step.screen:
            self.action_show_mode(step.screen)
        elif step.command[0] == "resume":
            self.resume_run(step.command)
        else:
            self.start_job(step.command)

    @work(thread=True, group="jobs", exit_on_error=False)
    def resume_run(self, command: tuple[str, ...]) -> None:
        from qdl_engine.runs.launch import resume_run
        from qdl_engine.runs.store import get_run

        self.post_message(RunStarted(resume_run(get_run(self.lab, command[1])), command))

    def start_job(self, command: tuple[str, ...]) -> None:
        """Start a detached run; what a training needs is shown first, and Enter starts it."""
        if command[0] == "train" and isinstance(self.screen, BaseScreen):
            self.show_preflight(cast("System", command[1]), command=command)
        else:
            self.launch_job(command)

    def show_preflight(
        self,
        system: System,
        *,
        overrides: Sequence[str] = (),
        command: tuple[str, ...] = (),
        start: Callable[[tuple[str, ...]], object] | None = None,
    ) -> None:
        """Will a training fit, and how long will it take.

        Args:
            system: Which student.
            overrides: Settings that are not saved yet, as `--set` takes them.
            command: The training that was asked for; empty when only these questions were.
            start: What is done with the command of the training that the user agreed to.
        """
        from qdl_tui.recipe.preflight import PREPARE, PreflightScreen

        train = command or ("train", system)
        screen = PreflightScreen(
            self.lab, system, overrides, prepares=PREPARE in train, only_asked=not command
        )

        def answered(answer: str | None) -> None:
            if answer in ("start", "prepare"):
                (start or self.launch_job)((*train, PREPARE) if answer == "prepare" else train)
            elif answer == "edit":
                self.show_setting(screen.wanted_setting or f"{system}.batch_size")

        self.push_screen(screen, answered)

    @work(thread=True, group="jobs", exit_on_error=False)
    def launch_job(self, command: tuple[str, ...]) -> None:
        from qdl_engine.runs.launch import start_job

        self.post_message(RunStarted(start_job(self.lab, list(command)), command))

    @on(RunStarted)
    def run_started(self, message: RunStarted) -> None:
        self.run_id = message.run.id
        shows = key_of(self.screen, "app.training")
        self.notify(f"Started: qdl {' '.join(message.command)} ({shows} shows it)")
        if isinstance(self.screen, BaseScreen):
            self.screen.tick()

    def attach(self, run_id: str) -> None:
        """Show a run on the training screen, and remember it."""
        self.run_id = run_id
        self.state.remember_run(self.lab.root, run_id)
        self.save_state()
        if isinstance(self.screen, BaseScreen) and self.screen.MODE == "training":
            self.screen.tick()
        else:
            self.action_show_mode("training")
