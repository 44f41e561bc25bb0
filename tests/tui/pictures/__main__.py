"""Pictures of the app for the README, from a lab as it stands: `python -m tests.tui.pictures LAB [DIR]`.

Each screen is drawn by the app itself and saved as SVG. On the comparison the first prompt is asked, so the
lab's models must be there; `qdl demo DIR` makes such a lab.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from textual.pilot import Pilot

from qdl_engine.core.lab import Lab
from qdl_tui.app import QdlApp
from qdl_tui.compare.screen import CompareScreen
from qdl_tui.shared.state import UserState

SIZE = (110, 32)
SHOWN = ("lab", "training", "compare")
"""Those that show no path of the machine they were taken on."""
ANSWER_SECONDS = 300
STORY = 5
"""The sample prompt that both students were taught: a word problem."""


async def _settle(app: QdlApp, pilot: Pilot[None]) -> None:
    await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause(0.3)


async def _answered(app: QdlApp, pilot: Pilot[None]) -> None:
    for _ in range(STORY - 1):
        await pilot.press("]")
        await pilot.pause()
    await pilot.press("enter")
    for _ in range(ANSWER_SECONDS * 2):
        await pilot.pause(0.5)
        if isinstance(app.screen, CompareScreen) and app.screen.live is None:
            return


async def take(lab: Lab, directory: Path) -> list[Path]:
    """Save one picture of each screen, and return where they are."""
    app = QdlApp(lab, state=UserState())
    taken = []
    async with app.run_test(size=SIZE) as pilot:
        for key, name in enumerate(("lab", "system1", "system2", "runs", "training", "compare"), 1):
            await _settle(app, pilot)
            await pilot.press(str(key))
            await _settle(app, pilot)
            if name == "compare":
                await _answered(app, pilot)
                await pilot.press("t")
                await _settle(app, pilot)
            if name not in SHOWN:
                continue
            path = directory / f"{name}.svg"
            path.write_text(app.export_screenshot(title=f"qdl-tui {lab.root.name}"), encoding="utf-8")
            taken.append(path)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("lab", help="a lab with trained students")
    parser.add_argument(
        "directory", nargs="?", default=Path(__file__).parent, type=Path, help="where the pictures go"
    )
    options = parser.parse_args()
    directory: Path = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        for path in asyncio.run(take(Lab.open(options.lab), directory)):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
