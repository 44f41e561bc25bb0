"""Data made by EasyDistill 2.x: a form, the config that will be written, and the run.

What is shown is what `qdl easydistill run --dry-run` says, and what is started is what is shown.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import OptionList, Static
from textual.worker import Worker

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable
from qdl_engine.upstream.version2.options import JOB_PURPOSES
from qdl_tui.making import MakingField, MakingForm, found_text
from qdl_tui.shared.bars import KeyBar
from qdl_tui.shared.dialogs import DIALOGS_CSS, AskScreen, ChooseScreen
from qdl_tui.shared.engine_call import ask_engine
from qdl_tui.shared.fitting import middle_cut
from qdl_tui.shared.nav_list import NavList

if TYPE_CHECKING:
    from qdl_tui.app import QdlApp

NAME_WIDTH = 18
ASK_AFTER = 0.3
"""Seconds without a change after which the engine is asked for the config."""


def open_making(app: QdlApp) -> None:
    """Show the form for the lab that is open; a run that it starts is shown next."""

    def started(run_id: str | None) -> None:
        if run_id:
            app.attach(run_id)

    app.push_screen(MakingScreen(app.lab), started)


@dataclass
class FormRead(Message):
    """The settings were read, or could not be."""

    form: MakingForm | None
    problem: str = ""


class MakingList(NavList):
    """The rows of the form."""

    BINDINGS = [
        Binding("enter,space", "select", "Edit", key_display="enter", tooltip="Edit", id="making.edit")
    ]


class MakingScreen(ModalScreen[str]):
    """Answers with the id of the run that was started, or with nothing.

    Args:
        lab: Where the job runs.
    """

    CSS_PATH = [DIALOGS_CSS, "making.tcss"]
    BINDINGS = [
        Binding("r", "run", "Run", tooltip="Start the job as a run of its own", id="making.run"),
        Binding("y", "copy_config", "Copy", tooltip="Copy the config", id="making.copy"),
        Binding(
            "Y", "copy_command", "Copy command", tooltip="Copy the qdl command", id="making.copy_command"
        ),
        Binding(
            "right_square_bracket",
            "scroll(5)",
            "More",
            key_display="]",
            tooltip="Scroll the config down",
            id="making.config_down",
        ),
        Binding(
            "left_square_bracket",
            "scroll(-5)",
            "Config up",
            key_display="[",
            show=False,
            tooltip="Scroll the config up",
            id="making.config_up",
        ),
        Binding("escape,q", "back", "Back", key_display="esc", id="making.back"),
    ]

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.lab = lab
        self.form: MakingForm | None = None
        self.found: dict[str, Any] | None = None
        """What the engine said of the values as they stand; None until it has."""
        self.starting = False
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog making"):
            yield Static("Make data with EasyDistill 2.x", markup=False, classes="dialog-title")
            yield MakingList(id="making-fields")
            yield Static("", markup=False, id="making-help")
            with VerticalScroll(can_focus=False, id="making-scroll"):
                yield Static("", markup=False, id="making-text")
            yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(MakingList).focus()
        self.read_form()

    @work(thread=True, group="making-form", exit_on_error=False)
    def read_form(self) -> None:
        try:
            self.post_message(FormRead(MakingForm.read(self.lab)))
        except LabError as error:
            self.post_message(FormRead(None, str(error)))

    @on(FormRead)
    def show_form(self, message: FormRead) -> None:
        self.form = message.form
        if self.form is None:
            self._say(Content.styled(printable(message.problem), "$error"))
            return
        self._changed()

    # The rows --------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        form, listed = self.form, self.query_one(MakingList)
        if form is not None:
            room = max(8, listed.size.width - NAME_WIDTH - 4)
            listed.show_options([(field.key, self._row(form, field, room)) for field in form.fields])
            self.show_help()

    def _row(self, form: MakingForm, field: MakingField, room: int) -> Content:
        value = form.values[field.key]
        if value:
            return Content.assemble(
                f"{field.name:{NAME_WIDTH}}", (middle_cut(printable(value), room), "bold")
            )
        empty = field.empty
        return Content.assemble(f"{field.name:{NAME_WIDTH}}", (empty, "$text-muted"))

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _current(self) -> MakingField | None:
        option = self.query_one(MakingList).highlighted_option
        fields = self.form.fields if self.form is not None else []
        return next((field for field in fields if option is not None and field.key == option.id), None)

    @on(OptionList.OptionHighlighted)
    def show_help(self) -> None:
        field = self._current()
        if field is not None:
            text = Content.assemble(
                printable(field.help), "\n", ("accepts ", "$text-muted"), printable(field.accepts)
            )
            self.query_one("#making-help", Static).update(text)

    @on(OptionList.OptionSelected)
    def edit(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        field, form = self._current(), self.form
        if field is None or form is None:
            return
        now = form.values[field.key]
        if field.key == "job":
            choice = ChooseScreen("Which job?", list(JOB_PURPOSES.items()), now=now)
            self.app.push_screen(choice, lambda answer: self._take(field.key, answer or now))
        else:
            asked = EditScreen(field.name, now, field.help)
            self.app.push_screen(asked, partial(self._typed, field.key))

    def _typed(self, key: str, answer: str | None) -> None:
        if answer is not None:
            self._take(key, answer)

    def _take(self, key: str, text: str) -> None:
        if self.form is None:
            return
        try:
            self.form.set(key, text)
        except SettingsError as error:
            cast("QdlApp", self.app).tell_error(error)
            return
        self._changed()

    # The config ------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Draw the values, and ask what they make once nothing more is changed."""
        self.found = None
        self._draw()
        if self._timer is not None:
            self._timer.stop()
        if self.form is not None and self.form.missing:
            self._say(Content(f"Still to be typed: {self.form.missing}."))
            return
        self._say(Content("Asking EasyDistill 2.x..."))
        self._timer = self.set_timer(ASK_AFTER, self.ask_now)

    def ask_now(self) -> Worker[None]:
        """Ask without waiting for more changes."""
        if self._timer is not None:
            self._timer.stop()
        return self.ask()

    @work(exclusive=True, group="making", exit_on_error=False)
    async def ask(self) -> None:
        """What the values make; leaving the screen ends the engine's process."""
        if self.form is not None:
            self.found = await self._engine("--dry-run")
            self._say(found_text(self.found, self.command))

    async def _engine(self, flag: str) -> dict[str, Any]:
        words = self.form.words() if self.form is not None else []
        told = await ask_engine("--lab", str(self.lab.root), *words, flag, "--json")
        try:
            return cast("dict[str, Any]", json.loads(told))
        except ValueError:
            return {"error": {"message": "The engine said nothing.", "hint": f"Run: {self.command}"}}

    @property
    def command(self) -> str:
        """What does the same without the app."""
        words = self.form.words() if self.form is not None else []
        return shlex.join(["qdl", "--lab", str(self.lab.root), *words])

    def _say(self, text: Content) -> None:
        self.query_one("#making-text", Static).update(text)

    def action_run(self) -> None:
        if self.form is not None and self.form.missing:
            self.notify(f"Still to be typed: {self.form.missing}")
        elif self.form is not None and not self.starting:
            self.starting = True
            if self._timer is not None:
                self._timer.stop()
            self._say(Content("Starting..."))
            self.start()

    @work(exclusive=True, group="making", exit_on_error=False)
    async def start(self) -> None:
        """Start what is shown; the run outlives the app."""
        told = await self._engine("--detach")
        self.starting = False
        if "error" in told:
            self._say(found_text(told, self.command))
        else:
            self.dismiss(str(told["id"]))

    def action_copy_config(self) -> None:
        config = (self.found or {}).get("config")
        if config is None:
            self.notify("There is no config yet")
        else:
            text = json.dumps(config, ensure_ascii=False, indent=2)
            cast("QdlApp", self.app).copy_to_clipboard(text, "the config")

    def action_copy_command(self) -> None:
        cast("QdlApp", self.app).copy_to_clipboard(self.command, "the command")

    def action_scroll(self, lines: int) -> None:
        self.query_one("#making-scroll", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_back(self) -> None:
        self.dismiss("")


class EditScreen(AskScreen):
    """Asks for a value, which may be empty; None means the user went back."""

    def __init__(self, name: str, value: str, detail: str) -> None:
        super().__init__(name, value, detail)

    def action_back(self) -> None:
        self.dismiss(None)
