"""The screens that the tests of looks draw: the same lab every time, whatever machine they run on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.pilot import Pilot

from qdl_engine.core.lab import Lab
from qdl_engine.lab_state.status import MachineStatus
from qdl_tui.app import QdlApp
from qdl_tui.shared.state import UserState
from tests.tui.conftest import finished_run
from tests.tui.screen import settled

PREFIX = "/tmp/qdl-looks-"
"""A lab's path is part of what is shown: always as long, so that nothing moves."""
MACHINE = MachineStatus(gpus=(), disk_free=80 * 10**9, disk_total=270 * 10**9)
SCREENS: dict[str, tuple[str, ...]] = {
    "lab": (),
    "recipe": ("2",),
    "recipe-edit": ("3", "j", "enter"),
    "runs": ("4",),
    "training": ("5",),
    "compare": ("6",),
    "help": ("question_mark",),
    "jump": ("5", "ctrl+o"),
    "ask": ("n",),
}
"""The keys that lead to each."""


@contextmanager
def looks_lab() -> Iterator[Lab]:
    """A lab with one run that is done and one that failed, at a path of fixed length."""
    root = Path(tempfile.mkdtemp(prefix=PREFIX.rpartition("/")[2], dir="/tmp"))
    try:
        lab = Lab.at(root / "lab")
        lab.create_directories()
        lab.settings_file.write_text("[system1]\nrows = 1000\n", encoding="utf-8")
        lab.sample_prompts.write_text("What is 17 + 25?\nIs 91 a prime?\n", encoding="utf-8")
        finished_run(lab)
        finished_run(lab, state="failed", message="Out of GPU memory")
        yield lab
    finally:
        shutil.rmtree(root)


def looks_app(lab: Lab, theme: str = "qdl-dark") -> QdlApp:
    return QdlApp(lab, state=UserState(theme=theme))


async def go_to(app: QdlApp, pilot: Pilot[None], screen: str) -> None:
    """Press the keys that lead to a screen, and wait until it stands still."""
    await settled(app, pilot)
    for key in SCREENS[screen]:
        await pilot.press(key)
        await settled(app, pilot)
