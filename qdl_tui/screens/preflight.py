"""Before a training: will it fit, how long will it take. Enter starts it, at any time.

What is shown is what `qdl preflight --json` says, asked in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from qdl_engine.lab import Lab
from qdl_engine.status import SYSTEM_NAMES, size_text
from qdl_engine.text import one_line, printable
from qdl_tui.engine_call import ask_engine
from qdl_tui.widgets.bars import KeyBar

Answer = Literal["start", "edit", ""]

VERDICT_LOOKS = {
    "fits": ("✓ fits", "$success"),
    "tight": ("! tight", "$warning"),
    "does not fit": ("✗ does not fit", "$error"),
}
LABEL, BAR, SIZE = 16, 30, 9
BESIDES = 4
"""Cells of a line that are a blank, or that the scrollbar may take."""
LINES = ("rows", "tokens", "steps", "time", "disk", "teacher")
"""Those of the engine's summary that follow the memory."""


class PreflightScreen(ModalScreen[Answer]):
    """What is known of a training; `self.found` is None until it is measured.

    Args:
        lab: Where the training would be.
        system: Which student.
        overrides: Settings that are not saved yet, as `--set` takes them.
    """

    CSS_PATH = ["dialogs.tcss", "preflight.tcss"]
    BINDINGS = [
        Binding(
            "enter",
            "answer('start')",
            "Start",
            key_display="enter",
            tooltip="Start the training",
            id="preflight.start",
        ),
        Binding("e", "answer('edit')", "Edit recipe", tooltip="Go to the recipe", id="preflight.edit"),
        Binding("escape,q", "answer('')", "Back", key_display="esc", id="preflight.back"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="preflight.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="preflight.up"),
    ]

    def __init__(self, lab: Lab, system: str, overrides: Sequence[str] = ()) -> None:
        super().__init__()
        self.lab = lab
        self.system = system
        self.overrides = tuple(overrides)
        self.found: dict[str, Any] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Static(f"Train {SYSTEM_NAMES[self.system]}?", markup=False, classes="dialog-title")
            with VerticalScroll(can_focus=False, id="preflight-scroll"):
                yield Static("Measuring what it needs...", markup=False, id="preflight-text")
            yield KeyBar()

    def on_mount(self) -> None:
        self.measure()

    @work(exclusive=True, group="preflight", exit_on_error=False)
    async def measure(self) -> None:
        """Ask the engine; leaving the screen ends its process."""
        words = [word for override in self.overrides for word in ("--set", override)]
        self._show(await ask_engine("--lab", str(self.lab.root), "preflight", self.system, "--json", *words))

    def _show(self, told: bytes) -> None:
        try:
            found = json.loads(told)
        except ValueError:
            found = {"error": {"message": "Nothing could be measured.", "hint": "Run: qdl preflight"}}
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
        """The setting that `e` should go to: the first that the cure would change."""
        cure = (self.found or {}).get("cure")
        return f"{self.system}.{next(iter(cure['changes']))}" if cure else ""


def _error_text(error: dict[str, str]) -> Content:
    return Content.assemble(
        (printable(error.get("message", "")), "bold $error"), "\n", printable(error.get("hint", ""))
    )


def preflight_text(found: dict[str, Any], *, bar: int = BAR) -> Content:
    """Verdict, memory by part, rows, time, disk, warnings: what is worst comes first.

    Args:
        found: What `qdl preflight --json` says.
        bar: Cells of the longest bar.
    """
    sign, colour = VERDICT_LOOKS[found["verdict"]]
    memory, summary = found["memory"], found["summary"]
    room = f"{size_text(memory['bytes'])} of {size_text(memory['capacity_bytes'])}"
    device = one_line(found["device"]["name"], 30)
    lines = [Content.assemble((sign, f"bold {colour}"), f"  {room} of memory on {device}")]
    cure = found["cure"]
    if cure is not None:
        changes = " ".join(f"{key}={str(value).lower()}" for key, value in cure["changes"].items())
        lines.append(Content.assemble(("fits with ", "bold"), f"{changes}  ({size_text(cure['bytes'])})"))
    lines += [Content.assemble(("! ", "bold $warning"), printable(warning)) for warning in found["warnings"]]
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
    return Content.assemble(
        f"{part['name']:{LABEL}}",
        ("━" * cells, colour),
        ("─" * (longest - cells), "$text-muted"),
        f" {size_text(part['bytes']):>{SIZE}}",
    )
