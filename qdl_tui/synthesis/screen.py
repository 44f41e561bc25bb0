"""Makes data with EasyDistill 2.x: a form, the config that will be written, and the run.

The screen shows what `qdl easydistill run --dry-run` says, and starts what it shows.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

from qdl_engine.core.errors import LabError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.words import printable
from qdl_engine.upstream.version2 import JOBS
from qdl_tui.shared.bars import KeyBar
from qdl_tui.shared.dialogs import DIALOGS_CSS, AskScreen, ChooseScreen
from qdl_tui.shared.host import ask_engine
from qdl_tui.shared.lists import NavList, middle_cut
from qdl_tui.synthesis.form import FIELDS, SynthesisForm

if TYPE_CHECKING:
    from qdl_tui.shared.host import Host

NAME_WIDTH = 10
PREVIEW_AFTER = 0.3
"""Seconds without a change before the engine is asked for the config."""


def open_synthesis(app: Host) -> None:
    """Show the form for the lab that is open; a run that it starts is shown next."""

    def started(run_id: str | None) -> None:
        if run_id:
            app.attach(run_id)

    app.push_screen(SynthesisScreen(app.lab), started)


class FormList(NavList):
    """The rows of the form."""

    BINDINGS = [
        Binding("enter,space", "select", "Edit", key_display="enter", tooltip="Edit", id="making.edit")
    ]


class SynthesisScreen(ModalScreen[str]):
    """Answers with the id of the run that was started, or with nothing.

    Args:
        lab: Where the job runs.
    """

    CSS_PATH = [DIALOGS_CSS, "synthesis.tcss"]
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
        self.form: SynthesisForm | None = None
        self.config: dict[str, Any] | None = None
        """The config of the values as they stand; None until the engine has made it."""
        self.starting = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog synthesis"):
            yield Static("Make data with EasyDistill 2.x", markup=False, classes="dialog-title")
            yield FormList(id="synthesis-fields")
            yield Static("", markup=False, id="synthesis-help")
            with VerticalScroll(can_focus=False, id="synthesis-scroll"):
                yield Static("", markup=False, id="synthesis-text")
            yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(FormList).focus()
        self.read_form()

    @work(group="synthesis-form", exit_on_error=False)
    async def read_form(self) -> None:
        try:
            self.form = await asyncio.to_thread(SynthesisForm, self.lab)
        except LabError as error:
            self._say(Content.styled(printable(str(error)), "$error"))
        else:
            self._changed()

    # The rows --------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        listed = self.query_one(FormList)
        if self.form is not None:
            room = max(8, listed.size.width - NAME_WIDTH - 4)
            listed.show_options([(name, _row(name, self.form.values[name], room)) for name in FIELDS])

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @on(OptionList.OptionHighlighted)
    def show_help(self, event: OptionList.OptionHighlighted) -> None:
        self.query_one("#synthesis-help", Static).update(printable(FIELDS[event.option_id or "job"]))

    @on(OptionList.OptionSelected)
    def edit(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        name = event.option_id or "job"
        now = self.form.values[name] if self.form is not None else ""
        if name == "job":
            choice = ChooseScreen("Which job?", list(JOBS.items()), now=now)
            self.app.push_screen(choice, lambda answer: self._take(name, answer or now))
        else:
            self.app.push_screen(EditScreen(name, now, FIELDS[name]), partial(self._take, name))

    def _take(self, name: str, text: str | None) -> None:
        if self.form is None or text is None:
            return
        try:
            self.form.set(name, text)
        except SettingsError as error:
            cast("Host", self.app).tell_error(error)
        else:
            self._changed()

    # The config ------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Draw the values, and preview their config once they stop changing."""
        self.config = None
        self.workers.cancel_group(self, "synthesis")
        self._draw()
        if self.form is not None and self.form.missing:
            self._say(Content(f"{self.form.missing}."))
        else:
            self._say(Content("Checking EasyDistill 2.x..."))
            self.preview()

    @work(exclusive=True, group="synthesis", exit_on_error=False)
    async def preview(self) -> None:
        """Ask the engine what the values make; a further change, or leaving, ends its process."""
        await asyncio.sleep(PREVIEW_AFTER)
        found = await self._engine("--dry-run")
        self.config = found.get("config")
        self._say(_preview_text(found, self.command))

    @work(exclusive=True, group="synthesis", exit_on_error=False)
    async def start(self) -> None:
        """Start what is shown; the run outlives the app."""
        found = await self._engine("--detach")
        self.starting = False
        if "error" in found:
            self._say(_preview_text(found, self.command))
        else:
            self.dismiss(str(found["id"]))

    async def _engine(self, flag: str) -> dict[str, Any]:
        said = await ask_engine(*self._words, flag, "--json")
        try:
            return cast("dict[str, Any]", json.loads(said))
        except ValueError:
            return {"error": {"message": "The engine printed nothing.", "hint": f"Run: {self.command}"}}

    @property
    def _words(self) -> list[str]:
        return ["--lab", str(self.lab.root), *(self.form.words() if self.form is not None else [])]

    @property
    def command(self) -> str:
        """What does the same without the app."""
        return shlex.join(["qdl", *self._words])

    def _say(self, text: Content) -> None:
        self.query_one("#synthesis-text", Static).update(text)

    # The keys --------------------------------------------------------------------------------------------

    def action_run(self) -> None:
        if self.form is not None and self.form.missing:
            self.notify(self.form.missing)
        elif self.form is not None and not self.starting:
            self.starting = True
            self._say(Content("Starting..."))
            self.start()

    def action_copy_config(self) -> None:
        if self.config is None:
            self.notify("No config yet")
        else:
            text = json.dumps(self.config, ensure_ascii=False, indent=2)
            cast("Host", self.app).copy_to_clipboard(text, "the config")

    def action_copy_command(self) -> None:
        cast("Host", self.app).copy_to_clipboard(self.command, "the command")

    def action_scroll(self, lines: int) -> None:
        self.query_one("#synthesis-scroll", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_back(self) -> None:
        self.dismiss("")


class EditScreen(AskScreen):
    """Asks for a value, which may be empty; None means the user went back."""

    # Textual looks for the styles of a subclass beside its own module.
    CSS_PATH = DIALOGS_CSS

    def action_back(self) -> None:
        self.dismiss(None)


def _row(name: str, value: str, room: int) -> Content:
    empty = "(required)" if name == "input" else "(default)"
    shown = (middle_cut(printable(value), room), "bold") if value else (empty, "$text-muted")
    return Content.assemble(f"{name:{NAME_WIDTH}}", shown)


def _preview_text(found: dict[str, Any], command: str) -> Content:
    """What a run would do, its config and command; or what is wrong, and what to do."""
    if (error := found.get("error")) is not None:
        message, hint = printable(error.get("message", "")), printable(error.get("hint") or "")
        return Content.assemble((message, "bold $error"), "\n", hint)
    earlier = f", answered earlier: {found['answered']:,}" if found["answered"] else ""
    lines = [
        f"Questions: {found['rows']:,}{earlier}. Rows go to {found['output']}",
        f"$ {command}",
        "The config (JSON, which is valid YAML):",
        json.dumps(found["config"], ensure_ascii=False, indent=2),
        f"$ {found['command']}",
    ]
    return Content(printable("\n".join(lines)))
