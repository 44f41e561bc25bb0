"""What the terminal shows, as text, and the golden files it is held against."""

from __future__ import annotations

import os
import re
from pathlib import Path

from textual.app import App
from textual.pilot import Pilot

GOLDEN = Path(__file__).parent / "golden"


def screen_text(app: App[None]) -> str:
    """The screen on show, row by row, without trailing spaces."""
    rows = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in row).rstrip() for row in rows)


def check_golden(name: str, shown: str, root: Path) -> None:
    """Hold `shown` against a golden file; QDL_WRITE_GOLDEN=1 writes it anew, to be read before commit."""
    text = shown.replace(str(root), "LAB")
    text = re.sub(r" .*disk .* free of .*", " MACHINE", text)
    text += "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("QDL_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


async def settled(app: App[None], pilot: Pilot[None]) -> None:
    """Wait until every worker is done and its message was handled."""
    await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()
