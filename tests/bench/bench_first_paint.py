"""First full paint of the app on a lab with 50 runs against a bare Textual app: one ratio from one run.

`python -m tests.bench.bench_first_paint` or `pytest -m bench tests/bench/bench_first_paint.py -s`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.events import append_event, make_event
from qdl_engine.lab import Lab
from qdl_engine.runs.store import create_run, save_run
from tests.e2e.terminal import Terminal, app_command

ROUNDS = 7
RUNS = 50
BARE = """
from textual.app import App
from textual.widgets import Footer, Header, Static

class Bare(App):
    BINDINGS = [("q", "quit", "Quit")]

    def compose(self):
        yield Header()
        yield Static("READY")
        yield Footer()

Bare().run()
"""


def lab_with_runs(root: Path) -> Lab:
    lab = Lab.at(root)
    lab.create_directories()
    lab.settings_file.write_text("", encoding="utf-8")
    for _ in range(RUNS):
        run = create_run(lab, "train", system="system1", argv=["true"])
        for step in range(100):
            append_event(run.events_file, make_event("metrics", step=step, total_steps=100, loss=1.0))
        save_run(replace(run, state="done", started=1.0, ended=2.0))
    return lab


def paint_seconds(argv: list[str], marker: str, state: Path) -> float:
    """Seconds from exec to the screen that holds `marker`."""
    started = time.perf_counter()
    terminal = Terminal(argv, env={"XDG_STATE_HOME": str(state)})
    try:
        terminal.wait_until(lambda shown: marker in shown, 60)
        seconds = time.perf_counter() - started
        terminal.press("q")
        terminal.end()
    finally:
        terminal.close()
    return seconds


def measure(directory: Path) -> tuple[float, float]:
    """Medians of the bare app and of ours, measured in turns; the first turn warms the caches."""
    lab = lab_with_runs(directory / "lab")
    bare_file = directory / "bare.py"
    bare_file.write_text(BARE, encoding="utf-8")
    bare, ours = [], []
    for _ in range(ROUNDS + 1):
        bare.append(paint_seconds([sys.executable, str(bare_file)], "READY", directory))
        # The last thing that is painted: the next step, which needs the status of the whole lab.
        ours.append(paint_seconds(app_command(str(lab.root)), "qdl prepare system1", directory))
    return statistics.median(bare[1:]), statistics.median(ours[1:])


@pytest.mark.bench
def test_first_paint(tmp_path: Path) -> None:
    bare, ours = measure(tmp_path)
    print(f"\nfirst full paint, lab with {RUNS} runs: {ours:.3f} s; bare: {bare:.3f} s; {ours / bare:.2f} x")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        seconds = measure(Path(temporary))
    print(f"bare {seconds[0]:.3f} s, qdl-tui {seconds[1]:.3f} s, {seconds[1] / seconds[0]:.2f} x")
