"""The looks of a dozen screens as SVG; QDL_WRITE_GOLDEN=1 writes them anew, to be looked at before commit."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.tui.looks import MACHINE, PREFIX, SCREENS, go_to, looks_app, looks_lab

SNAPSHOTS = Path(__file__).parent / "snapshots"
CASES = [(screen, (80, 24), "qdl-dark") for screen in SCREENS] + [
    ("lab", (120, 40), "qdl-light"),
    ("training", (120, 40), "qdl-dark"),
    ("compare", (120, 40), "qdl-light"),
]


def normalised(svg: str) -> str:
    """Without what differs from run to run: the lab's random name, and the ids made from the content."""
    name = PREFIX.rpartition("/")[2]
    svg = re.sub(rf"{name}(\w{{1,8}})", lambda found: name + "x" * len(found[1]), svg)
    return re.sub(r"terminal-\d+", "terminal", svg)


@pytest.mark.parametrize(("screen", "size", "theme"), CASES)
async def test_it_looks_as_it_did(
    screen: str, size: tuple[int, int], theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdl_tui.lab.screen.machine_status", lambda _root: MACHINE)
    path = SNAPSHOTS / f"{screen}-{size[0]}x{size[1]}-{theme.removeprefix('qdl-')}.svg"
    with looks_lab() as lab:
        app = looks_app(lab, theme)
        async with app.run_test(size=size) as pilot:
            await go_to(app, pilot, screen)
            shown = normalised(app.export_screenshot(title="qdl-tui"))
    if os.environ.get("QDL_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8"), f"{path} differs; open both in a browser"
