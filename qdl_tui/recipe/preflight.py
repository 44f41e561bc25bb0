"""Before a training: whether it fits and how long it takes. Enter starts it at any time.

`qdl preflight --json` measures, in a process of its own; this screen draws the result.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import one_line, printable, size_text
from qdl_tui.shared.bars import KeyBar
from qdl_tui.shared.dialogs import DIALOGS_CSS
from qdl_tui.shared.host import ask_engine

if TYPE_CHECKING:
    from qdl_engine.core.systems import System
    from qdl_engine.data.report import SettingChange

Answer = Literal["start", "prepare", "edit", ""]
PREPARE = "--prepare"
"""The option of `qdl train` that prepares the data again."""

VERDICT_LOOKS = {
    "fits": ("✓ Fits:", "$success"),
    "tight": ("! Tight:", "$warning"),
    "does not fit": ("✗ Does not fit:", "$error"),
}
LABEL, BAR, SIZE = 16, 30, 9
BESIDES = 4
"""Cells of a line for a blank and the scrollbar."""
LINES = ("rows", "tokens", "steps", "time", "disk", "teacher")
"""The lines of the engine's summary that follow the memory."""


class PreflightScreen(ModalScreen[Answer]):
    """What a training needs; `self.found` is None until it is measured.

    Args:
        lab: The lab of the training.
        system: Which student.
        overrides: Unsaved settings, as `--set` takes them.
        prepares: Whether the training prepares its data again, whatever the user answers.
        only_asked: Whether the user asked only what it needs, and not for the training.
    """

    CSS_PATH = [DIALOGS_CSS, "preflight.tcss"]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (24, "-tall")]
    BINDINGS = [
        Binding(
            "enter",
            "answer('start')",
            "Start",
            key_display="enter",
            tooltip="Start the training",
            id="preflight.start",
        ),
        Binding(
            "p",
            "answer('prepare')",
            "Prepare again, train",
            tooltip="Prepare the data again, then train",
            id="preflight.anew",
        ),
        Binding("e", "answer('edit')", "Edit recipe", tooltip="Go to the recipe", id="preflight.edit"),
        Binding("escape,q", "answer('')", "Back", key_display="esc", id="preflight.back"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="preflight.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="preflight.up"),
    ]

    def __init__(
        self,
        lab: Lab,
        system: System,
        overrides: Sequence[str] = (),
        *,
        prepares: bool = False,
        only_asked: bool = False,
    ) -> None:
        super().__init__()
        self.lab = lab
        self.system: System = system
        self.prepares = prepares
        self.only_asked = only_asked
        self.changed: tuple[SettingChange, ...] = ()
        self.overrides = tuple(overrides)
        self.found: dict[str, Any] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            name = SYSTEM_NAMES[self.system]
            title = f"Will the training of {name} fit?" if self.only_asked else f"Train {name}?"
            yield Static(title, markup=False, classes="dialog-title")
            with VerticalScroll(can_focus=False, id="preflight-scroll"):
                yield Static("", markup=False, id="preflight-data")
                yield Static("Measuring…", markup=False, id="preflight-text")
            yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#preflight-data").display = self.prepares
        if self.prepares:
            self.query_one("#preflight-data", Static).update("Prepares the data again first.")
        else:
            self.compare_data()
        self.measure()

    @work(group="preflight-data", exit_on_error=False)
    async def compare_data(self) -> None:
        """Name the settings that changed since the data were prepared."""
        self.changed = await asyncio.to_thread(self._changed_settings)
        self.refresh_bindings()
        if self.changed:
            how = "; ".join(map(str, self.changed))
            text = printable(f"Training on data that were prepared with other settings: {how}")
            shown = self.query_one("#preflight-data", Static)
            shown.update(Content.assemble(("! ", "bold $warning"), text))
            shown.display = True

    def _changed_settings(self) -> tuple[SettingChange, ...]:
        """Edits included. None for a broken recipe: the measuring says what is wrong with it."""
        from qdl_engine.lab_state.stages import data_stage, read_report
        from qdl_engine.settings.toml import apply_overrides, load_settings

        try:
            settings = apply_overrides(load_settings(self.lab), self.overrides)
        except LabError:
            return ()
        labelled = self.system == "system1" and settings.system1.label
        table = settings.recipe(self.system).model_dump()
        report = read_report(self.lab, self.system)
        return data_stage(self.lab, self.system, labelled, table, report).changed

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "answer" and parameters == ("prepare",):
            return bool(self.changed)
        return super().check_action(action, parameters)

    @work(exclusive=True, group="preflight", exit_on_error=False)
    async def measure(self) -> None:
        """Ask the engine; leaving the screen ends its process."""
        words = [word for override in self.overrides for word in ("--set", override)]
        self._show(await ask_engine("--lab", str(self.lab.root), "preflight", self.system, "--json", *words))

    def _show(self, told: bytes) -> None:
        try:
            found = json.loads(told)
        except ValueError:
            found = {"error": {"message": "The measurement failed.", "hint": "Run: qdl preflight"}}
        self.found = found
        error = found.get("error")
        room = self.query_one("#preflight-scroll").size.width - LABEL - SIZE - BESIDES
        text = _error_text(error) if error else preflight_text(found, bar=max(0, min(BAR, room)))
        self.query_one("#preflight-text", Static).update(text)

    def action_answer(self, answer: str) -> None:
        self.dismiss(cast(Answer, answer))

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    @property
    def wanted_setting(self) -> str:
        """The setting that `e` goes to: the first that the cure changes."""
        cure = (self.found or {}).get("cure")
        return f"{self.system}.{next(iter(cure['changes']))}" if cure else ""


def _error_text(error: dict[str, str]) -> Content:
    return Content.assemble(
        (printable(error.get("message", "")), "bold $error"), "\n", printable(error.get("hint", ""))
    )


def preflight_text(found: dict[str, Any], *, bar: int = BAR) -> Content:
    """Verdict, cure, warnings, memory by part, then rows, tokens, steps, time, disk and teacher.

    Args:
        found: What `qdl preflight --json` says.
        bar: Cells of the longest bar.
    """
    sign, colour = VERDICT_LOOKS[found["verdict"]]
    memory, summary = found["memory"], found["summary"]
    room = f"{size_text(memory['bytes'])} of {size_text(memory['capacity_bytes'])}"
    # On a CPU a run reports the memory of its whole process, the libraries included.
    on_cpu = found["device"]["kind"] == "cpu"
    where = " RAM, libraries not counted" if on_cpu else f" on {one_line(found['device']['name'], 30)}"
    lines = [Content.assemble((sign, f"bold {colour}"), f" {room}{where}")]
    cure = found["cure"]
    if cure is not None:
        changes = " ".join(f"{key}={str(value).lower()}" for key, value in cure["changes"].items())
        lines.append(Content.assemble(("Fits with ", "bold"), f"{changes}  ({size_text(cure['bytes'])})"))
    lines += [Content.assemble(("! ", "bold $warning"), printable(warning)) for warning in found["warnings"]]
    lines += [Content(printable(note)) for note in found["notes"]]
    scale = max(memory["bytes"], memory["capacity_bytes"])
    lines += [_bar(part, scale, colour, bar) for part in memory["parts"]]
    lines += [
        Content.assemble((f"{name:8}", "$text-muted"), printable(summary[name]))
        for name in LINES
        if name in summary
    ]
    return Content("\n").join(lines)


def _bar(part: dict[str, Any], scale: int, colour: str, longest: int) -> Content:
    cells = round(longest * part["bytes"] / max(1, scale))
    if part["bytes"] > 0:
        cells = min(longest, max(1, cells))  # a small part still shows
    return Content.assemble(
        f"{part['name']:{LABEL}}",
        ("━" * cells, colour),
        ("─" * (longest - cells), "$text-muted"),
        f" {size_text(part['bytes']):>{SIZE}}",
    )
