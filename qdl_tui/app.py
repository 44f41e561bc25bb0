"""The app: six screens by number keys, a palette, two themes, a clean end whatever ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text
from textual import on, work
from textual.binding import Binding
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen

from qdl_engine.core.lab import Lab, user_settings_file
from qdl_engine.core.words import printable
from qdl_tui.lab.screen import LabHomeScreen
from qdl_tui.shared import themes
from qdl_tui.shared.bars import MODE_TITLES
from qdl_tui.shared.base import AFTER_FIRST_PAINT, BaseScreen
from qdl_tui.shared.lab_app import LabApp
from qdl_tui.shared.messages import KeymapRead
from qdl_tui.shared.palette import LabCommands
from qdl_tui.shared.state import UserState, load_state
from qdl_tui.shared.terminal import LastingDriver

if TYPE_CHECKING:
    from qdl_engine.core.systems import System


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


class QdlApp(LabApp):
    """The Qwen Distillation Lab in a terminal.

    Screens are modes: each keeps its state while another is on show; none is built before it is asked for.
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
        Binding("q", "quit", "Quit", tooltip="Leave; runs go on", id="app.quit"),
        Binding("ctrl+q", "quit", "Quit", tooltip="Leave; runs go on", priority=True, id="app.quit_ctrl"),
    ]

    def __init__(self, lab: Lab, *, demo: bool = False, state: UserState | None = None) -> None:
        super().__init__(lab, load_state() if state is None else state)
        self._demo = demo
        for theme in (themes.DARK, themes.LIGHT):
            self.register_theme(theme)
        known = self.state.theme in self.available_themes
        # Textual draws NO_COLOR with an ANSI theme as black on black.
        ansi = known and self.available_themes[self.state.theme].ansi and "NO_COLOR" in os.environ
        self.theme = self.state.theme if known and not ansi else "qdl-dark"
        self._css_variables = self.get_css_variables()
        self.stylesheet.set_variables(self._css_variables)

    def get_driver_class(self) -> type[Driver]:
        """Textual's own driver where it is the one for terminals, in a form that outlives its terminal."""
        found = super().get_driver_class()
        return LastingDriver if found is LinuxDriver else found

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

    @work(thread=True, group="keymap", exit_on_error=False)
    def check_keymap(self) -> None:
        from qdl_tui.shared.key_table import user_keymap

        self.post_message(KeymapRead(user_keymap()))

    @on(KeymapRead)
    def keymap_read(self, message: KeymapRead) -> None:
        self.set_keymap(message.keymap.keys)
        for problem in message.keymap.problems:
            self.notify(printable(problem), severity="warning")

    def on_unmount(self) -> None:
        self.state.save()

    def on_split_panes_changed(self) -> None:
        """Found by its name: the first screen has no panes, and imports none."""
        self.save_state()

    def _theme_changed(self, theme: object) -> None:
        self.state.theme = self.theme
        self.save_state()

    async def action_quit(self) -> None:
        """Leave, after a question when edits would be lost."""
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
        """Exit; what goes on without the app is named on the terminal that is left behind."""
        going = await asyncio.to_thread(self._going_on)
        self.exit(message=Text(printable("\n".join(going))) if going else None)

    def _going_on(self) -> list[str]:
        from qdl_engine.runs.store import list_runs

        runs = [run for run in list_runs(self.lab) if run.active]
        # The command on a line of its own: one that is broken cannot be pasted.
        return [
            f"Run {run.id} goes on; back to it:\n  qdl --lab {self.lab.word} attach {run.id}" for run in runs
        ]

    def refresh_css(self, animate: bool = True) -> None:
        """Textual parses every stylesheet anew here, also at start, where nothing has changed yet."""
        variables = self.get_css_variables()
        if variables != self._css_variables:
            self._css_variables = variables
            super().refresh_css(animate)

    def action_toggle_theme(self) -> None:
        self.theme = "qdl-light" if self.current_theme.dark else "qdl-dark"

    def action_help(self) -> None:
        from qdl_tui.shared.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def action_jump(self) -> None:
        """Put a letter on each pane of the screen, and give the keys to the one whose letter is pressed."""
        from qdl_tui.shared.jump import JumpScreen, jump_targets

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
