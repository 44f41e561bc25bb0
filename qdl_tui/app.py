"""The app: six screens by number keys, the lab that is open, a palette, and a clean end whatever ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual import on, work
from textual.actions import ActionParseResult, parse
from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Event, Key, Paste
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from qdl_engine.core.lab import Lab, user_settings_file
from qdl_engine.core.words import printable
from qdl_tui.lab.screen import LabHomeScreen
from qdl_tui.palette import LabCommands
from qdl_tui.shared import terminal
from qdl_tui.shared.bars import MODE_TITLES, key_of
from qdl_tui.shared.base import AFTER_FIRST_PAINT, BaseScreen
from qdl_tui.shared.held_keys import HeldKeys
from qdl_tui.shared.messages import Messages, Said, last_words
from qdl_tui.shared.state import UserState, load_state

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from qdl_engine.core.systems import System
    from qdl_engine.lab_state.status import Step
    from qdl_engine.runs.store import Run
    from qdl_tui.shared.draft import Draft
    from qdl_tui.shared.host import Host


# Each screen is imported when it is first shown: the first paint waits for the lab screen alone.
def _recipe(system: System) -> Screen[None]:
    from qdl_tui.recipe.screen import RecipeScreen

    return RecipeScreen(system)


def _runs() -> Screen[None]:
    from qdl_tui.runs.screen import RunsScreen

    return RunsScreen()


def _training() -> Screen[None]:
    from qdl_tui.runs.training import TrainingScreen

    return TrainingScreen()


def _compare() -> Screen[None]:
    from qdl_tui.compare.screen import CompareScreen

    return CompareScreen()


class QdlApp(App[None]):
    """The Qwen Distillation Lab in a terminal.

    Screens are modes: each keeps its state while another is on show, and is built when it is first shown.
    They see this class as `Host`.

    Args:
        lab: The lab to open; it need not exist yet.
        demo: Make the demo lab there if there is no lab yet.
        state: What is remembered of the user; read from its file by default.
    """

    TITLE = "Qwen Distillation Lab"
    CSS_PATH = "app.tcss"
    DEFAULT_MODE = "lab"
    MODES = {
        "lab": LabHomeScreen,
        "system1": partial(_recipe, "system1"),
        "system2": partial(_recipe, "system2"),
        "runs": _runs,
        "training": _training,
        "compare": _compare,
    }
    COMMANDS = {LabCommands}
    BINDINGS = [
        Binding("ctrl+g", "messages", "Messages", show=False, tooltip="Messages", id="app.messages"),
        *(
            Binding(
                str(number),
                f"show_mode('{mode}')",
                title,
                show=False,
                tooltip=f"Go to {title}",
                id=f"app.{mode}",
            )
            for number, (mode, title) in enumerate(MODE_TITLES.items(), 1)
        ),
        Binding(
            "ctrl+p",
            "command_palette",
            "Palette",
            show=False,
            tooltip="Every action and every run",
            id="app.palette",
        ),
        Binding("ctrl+o", "jump", "Jump", show=False, tooltip="Go to a pane by its letter", id="app.jump"),
        Binding("ctrl+t", "toggle_theme", "Theme", show=False, tooltip="Dark or light theme", id="app.theme"),
        # One key of each pair is text in an input; the footer then shows the other.
        Binding("question_mark", "help", "Help", key_display="?", tooltip="This help", id="app.help"),
        Binding("f1", "help", "Help", tooltip="This help", id="app.help_f1"),
        Binding("q", "quit", "Quit", tooltip="Quit; runs continue", id="app.quit"),
        Binding("ctrl+q", "quit", "Quit", tooltip="Quit; runs continue", priority=True, id="app.quit_ctrl"),
    ]

    def __init__(self, lab: Lab, *, demo: bool = False, state: UserState | None = None) -> None:
        super().__init__()
        self.held_keys = HeldKeys(self, self._handle_key)
        self.messages = Messages(self)
        self.lab = lab
        self.state = load_state() if state is None else state
        self.run_id = self.state.last_run.get(str(lab.root), "")
        self.draft: Draft | None = None
        self.wanted_setting = ""
        self._demo = demo
        for theme in (terminal.DARK, terminal.LIGHT):
            self.register_theme(theme)
        known = self.state.theme in self.available_themes
        # Textual draws NO_COLOR with an ANSI theme as black on black.
        ansi = known and self.available_themes[self.state.theme].ansi and "NO_COLOR" in os.environ
        self.theme = self.state.theme if known and not ansi else "qdl-dark"
        self._css_variables = self.get_css_variables()
        self.stylesheet.set_variables(self._css_variables)

    # Start and end ------------------------------------------------------------------------------------------

    def get_driver_class(self) -> type[Driver]:
        """Textual's own driver; where that is the one for Linux, in a form that outlives its terminal."""
        found = super().get_driver_class()
        return terminal.LastingDriver if found is LinuxDriver else found

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, partial(self.exit, return_code=128 + number))
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        if user_settings_file().is_file():
            from qdl_tui.shared.keymap import read_keymap

            self.set_keymap(read_keymap())
            self.check_keymap()
        if self._demo and not self.lab.settings_file.exists():
            self.create_lab(self.lab, demo=True)
        elif self.lab.settings_file.exists():
            self.state.remember_lab(self.lab.root)
            self.set_timer(AFTER_FIRST_PAINT, self.save_state)

    @work(group="keymap", exit_on_error=False)
    async def check_keymap(self) -> None:
        """Check the user's keys in a thread: the table of all bindings takes the import of every screen."""
        from qdl_tui.shared.keymap import user_keymap

        keymap = await asyncio.to_thread(user_keymap)
        self.set_keymap(keymap.keys)
        for problem in keymap.problems:
            self.notify(problem, severity="warning")

    def on_unmount(self) -> None:
        self.state.save()

    async def action_quit(self) -> None:
        """Quit, after a question when edits would be lost."""
        if self.draft is None or not self.draft.dirty:
            await self._leave()
            return
        from qdl_tui.shared.dialogs import ConfirmScreen

        async def answered(leave: bool | None) -> None:
            if leave:
                await self._leave()

        changes = "\n".join(f"{key}: {old} -> {new}" for key, old, new in self.draft.changes())
        self.push_screen(ConfirmScreen("Quit without saving the settings?", changes), answered)

    async def _leave(self) -> None:
        """Exit, and name on the terminal the runs that continue."""
        running = await asyncio.to_thread(self._runs_left)
        self.exit(message=Text(printable("\n".join(running))) if running else None)

    def _runs_left(self) -> list[str]:
        from qdl_engine.runs.store import list_runs

        # The command on a line of its own: one that is broken cannot be pasted.
        return [
            f"Run {run.id} continues. To watch it:\n  qdl --lab {self.lab.word} attach {run.id}"
            for run in list_runs(self.lab)
            if run.active
        ]

    def action_help_quit(self) -> None:
        """Name the key that quits: people press ctrl+c for it."""
        keys = {active.binding.id: active.binding for active in self.active_bindings.values()}
        quits = keys.get("app.quit") or keys["app.quit_ctrl"]
        self.notify(f"{self.get_key_display(quits)} quits the app; runs continue")

    def _fatal_error(self) -> None:
        """End on a defect with two lines on the terminal, not with Textual's traceback of every local."""
        if self._exception is None:
            super()._fatal_error()
        else:
            self.panic(Text(last_words(self._exception)))

    # Keys and messages --------------------------------------------------------------------------------------

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Key | Paste) and not event.is_forwarded:
            await self.held_keys.take(event)
        else:
            await super().on_event(event)

    async def _handle_key(self, key: Key | Paste) -> None:
        """Do what a key does; one that clears an error does nothing else."""
        if not (isinstance(key, Key) and self.messages.clear(key.key)):
            await super().on_event(key)

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

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a message. `Messages` decides how long; `timeout` is ignored, and no message is markup."""
        text, seconds = self.messages.keep(message, severity)
        super().notify(text, title=title, severity=severity, timeout=seconds, markup=False)

    @on(Said)
    def said(self, message: Said) -> None:
        self.notify(message.text, severity="error" if message.severe else "information")

    def action_messages(self) -> None:
        from qdl_tui.shared.dialogs import TextScreen

        self.push_screen(TextScreen("Messages", self.messages.history))

    def tell_error(self, error: BaseException) -> None:
        self.messages.tell_error(error)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.tell_error(event.worker.error)

    def copy_to_clipboard(self, text: str, what: str = "") -> None:
        """Textual's own inputs copy through here too, so their text goes the same ways."""
        self.messages.copy(text, what)

    # Looks and the screens over all screens -----------------------------------------------------------------

    def refresh_css(self, animate: bool = True) -> None:
        """Textual parses every stylesheet again here, also at start, where nothing has changed yet."""
        variables = self.get_css_variables()
        if variables != self._css_variables:
            self._css_variables = variables
            super().refresh_css(animate)

    def action_toggle_theme(self) -> None:
        self.theme = "qdl-light" if self.current_theme.dark else "qdl-dark"

    def _theme_changed(self, theme: object) -> None:
        self.state.theme = self.theme
        self.save_state()

    def on_split_panes_changed(self) -> None:
        """Found by its name: the first screen has no panes, and imports none."""
        self.save_state()

    @work(thread=True, group="state", exit_on_error=False)
    def save_state(self) -> None:
        self.state.save()

    def action_help(self) -> None:
        from qdl_tui.shared.dialogs import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def action_jump(self) -> None:
        """Put a letter on each pane of the screen, and focus the one whose letter is pressed."""
        from qdl_tui.shared.dialogs import JumpScreen, jump_targets

        if not isinstance(self.screen, BaseScreen):
            return
        below, modes = self.screen, list(MODE_TITLES)
        targets = jump_targets(below)

        def jumped(pressed: str | None) -> None:
            if pressed and pressed in targets:
                below.set_focus(targets[pressed])
            elif pressed:
                self.action_show_mode(modes[int(pressed) - 1])

        self.push_screen(JumpScreen(targets, self.size), jumped)

    # The lab that is open -----------------------------------------------------------------------------------

    def open_lab(self, lab: Lab) -> None:
        self.lab = lab
        self.run_id = self.state.last_run.get(str(lab.root), "")
        if lab.settings_file.exists():
            self.state.remember_lab(lab.root)
            self.save_state()
        if isinstance(self.screen, BaseScreen):
            self.screen.on_screen_resume()

    @work(group="jobs", exit_on_error=False)
    async def create_lab(self, lab: Lab, *, demo: bool) -> None:
        await asyncio.to_thread(_write_lab, lab, demo=demo)
        self.open_lab(lab)
        self.notify("The lab is ready")

    def action_show_mode(self, mode: str) -> None:
        """Go to a screen, unless a dialog waits for an answer."""
        if isinstance(self.screen, BaseScreen):
            self.switch_mode(mode)

    def attach(self, run_id: str) -> None:
        self.run_id = run_id
        self.state.remember_run(self.lab.root, run_id)
        self.save_state()
        self._show_or_tick("training")

    def show_setting(self, key: str) -> None:
        """Go to one setting; those that both recipes share are on either's screen."""
        section = key.split(".", 1)[0]
        systems = ("system1", "system2")
        here = self.screen.MODE if isinstance(self.screen, BaseScreen) else ""
        shared = here if here in systems else "system1"
        self.wanted_setting = key
        self._show_or_tick(section if section in systems else shared)

    def _show_or_tick(self, mode: str) -> None:
        """Go to a screen; the one on show looks again at once."""
        if isinstance(self.screen, BaseScreen) and mode == self.screen.MODE:
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

    def start_step(self, step: Step) -> None:
        if step.run_id:
            self.attach(step.run_id)
        elif step.screen:
            self.action_show_mode(step.screen)
        elif step.command[0] == "resume":
            self.resume_run(step.command)
        else:
            self.start_job(step.command)

    def start_job(self, command: tuple[str, ...]) -> None:
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
        """Check whether a training fits, and how long it takes.

        Args:
            system: Which student.
            overrides: Settings that are not saved yet, as `--set` takes them.
            command: The training to start; empty when the user only wants the check.
            start: Gets the command of the training that the user agreed to; `launch_job` by default.
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

    @work(group="jobs", exit_on_error=False)
    async def launch_job(self, command: tuple[str, ...]) -> None:
        from qdl_engine.runs.launch import start_job

        self.run_started(await asyncio.to_thread(start_job, self.lab, list(command)), command)

    @work(group="jobs", exit_on_error=False)
    async def resume_run(self, command: tuple[str, ...]) -> None:
        from qdl_engine.runs.launch import resume_run
        from qdl_engine.runs.store import get_run

        lab = self.lab
        self.run_started(await asyncio.to_thread(lambda: resume_run(get_run(lab, command[1]))), command)

    def run_started(self, run: Run, command: tuple[str, ...]) -> None:
        """Make a run that has just started the one to watch."""
        self.run_id = run.id
        shows = key_of(self.screen, "app.training")
        self.notify(f"Started: qdl {' '.join(command)} ({shows} shows it)")
        if isinstance(self.screen, BaseScreen):
            self.screen.tick()


def _write_lab(lab: Lab, *, demo: bool) -> None:
    """Write what `qdl init` or `qdl demo` writes.

    Raises:
        SettingsError: when there is a lab already; nothing is overwritten.
    """
    if demo:
        from qdl_engine.demo.lab import create_demo_lab

        create_demo_lab(lab.root)
    else:
        from qdl_engine.settings.toml import make_lab

        make_lab(lab)


if TYPE_CHECKING:
    _host: type[Host] = QdlApp  # mypy holds what screens see against what the app has
