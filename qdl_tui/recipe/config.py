"""The EasyDistill config that training would get now, edits included, and the command that takes it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from textual.app import App
from textual.binding import Binding
from textual.content import Content

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable
from qdl_tui.shared.dialogs import TextScreen
from qdl_tui.shared.draft import Draft

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.settings import LabSettings, RuntimeSettings


@dataclass(frozen=True)
class ConfigView:
    """A config line by line, and its command."""

    lines: tuple[str, ...]
    changed: frozenset[int]
    """Numbers of the lines that differ from what the saved settings give."""
    command: str
    """What starts the training, with `ID` for the time of the start; empty when there is a problem."""
    problem: str = ""
    """Why the runtime cannot start."""

    @property
    def config(self) -> str:
        """The JSON as it is written, without marks."""
        return "\n".join(self.lines)

    @property
    def command_line(self) -> str:
        return f"$ cannot be built: {self.problem}" if self.problem else f"$ {self.command}"

    @property
    def text(self) -> str:
        """Config and command as plain text; a star marks a changed line."""
        if not self.changed:
            return f"{self.config}\n\n{self.command_line}"
        marks = ("*" if number in self.changed else " " for number in range(len(self.lines)))
        lines = [f"{mark} {line}" for mark, line in zip(marks, self.lines, strict=True)]
        return "\n".join([*lines, "", self.command_line])

    @property
    def content(self) -> Content:
        """Command and config in colours; a changed line has a star too."""
        lines = [
            Content.styled(f"* {printable(line)}", "bold $warning")
            if number in self.changed
            else Content(f"  {printable(line)}")
            for number, line in enumerate(self.lines)
        ]
        command = Content.assemble(("$ ", "bold $accent"), printable(self.command_line.removeprefix("$ ")))
        return Content("\n").join([command, Content(""), *lines])


class ConfigPreview:
    """Builds the config of one system from a draft."""

    def __init__(self, system: System) -> None:
        self.system: System = system
        self._known: tuple[Lab, RuntimeSettings, tuple[str, str]] | None = None
        """The last command: with `runtime.kind = easydistill` another interpreter has to answer for it."""

    def build(self, draft: Draft) -> ConfigView:
        """The config as training would write it now. Call it from a worker: it may start a process."""
        lines, before = (self._lines(draft.lab, settings) for settings in (draft.current, draft.saved))
        pairs = enumerate(zip_longest(lines, before))
        changed = frozenset(number for number, (new, old) in pairs if new != old and number < len(lines))
        return ConfigView(tuple(lines), changed, *self._command(draft.lab, draft.current.runtime))

    def _lines(self, lab: Lab, settings: LabSettings) -> list[str]:
        from qdl_engine.config.write import build_config

        config = build_config(lab, settings, self.system)
        return json.dumps(config, ensure_ascii=False, indent=2).splitlines()

    def _command(self, lab: Lab, runtime: RuntimeSettings) -> tuple[str, str]:
        """The command, or nothing and why."""
        from qdl_engine.training.command import build_command

        if self._known is not None and self._known[:2] == (lab, runtime):
            return self._known[2]
        try:
            found = (shlex.join(build_command(lab.config_file(self.system, "ID"), runtime).argv), "")
        except LabError as error:
            found = ("", error.message)
        self._known = (lab, runtime, found)
        return found


def copy_config(app: App[None], view: ConfigView) -> None:
    """Copy the JSON alone, without marks."""
    app.copy_to_clipboard(view.config, "the EasyDistill config")  # type: ignore[call-arg]


def copy_command(app: App[None], view: ConfigView) -> None:
    """Copy the command, if the runtime can start."""
    if view.problem:
        app.notify(f"No command to copy: {view.problem}", severity="error")
    else:
        what = "the command; ID stands for the start time"
        app.copy_to_clipboard(view.command, what)  # type: ignore[call-arg]


class ConfigScreen(TextScreen):
    """The whole config in a dialog: a narrow terminal has no room for it beside the form."""

    BINDINGS = [
        Binding("y", "copy_config", "Copy", tooltip="Copy the EasyDistill JSON", id="config.copy"),
        Binding("Y", "copy_command", "Copy command", tooltip="Copy the command", id="config.copy_command"),
    ]

    def __init__(self, view: ConfigView) -> None:
        super().__init__("EasyDistill config, as training will write it", view.text)
        self.view = view

    def action_copy_config(self) -> None:
        copy_config(self.app, self.view)

    def action_copy_command(self) -> None:
        copy_command(self.app, self.view)
