"""The EasyDistill config of a recipe and the command that takes it, to be read and copied."""

from __future__ import annotations

from textual.app import App
from textual.binding import Binding

from qdl_tui.recipe.draft import ConfigView
from qdl_tui.shared.dialogs import TextScreen


def copy_config(app: App[None], view: ConfigView) -> None:
    """Copy the JSON alone: no mark of a change goes with it."""
    app.copy_to_clipboard(view.config, "the EasyDistill config")  # type: ignore[call-arg]


def copy_command(app: App[None], view: ConfigView) -> None:
    """Copy the command; a runtime that cannot be started has none."""
    if view.problem:
        app.notify(f"No command to copy: {view.problem}", severity="error")
    else:
        app.copy_to_clipboard(view.command, "the command; a start puts its time for ID")  # type: ignore[call-arg]


class ConfigScreen(TextScreen):
    """All of the config, in a dialog: a narrow terminal has no room for it beside the form."""

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
