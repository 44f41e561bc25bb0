"""First full paint at 80x24 on a lab with 50 runs, against a bare Textual app, posting and harlequin.

    python -m pytest tests/bench/bench_first_paint.py -m bench -s

posting and harlequin pin other versions of Textual, so each wants an environment of its own; the bench finds
them by QDL_POSTING_PYTHON and QDL_HARLEQUIN_PYTHON, the interpreters of those environments, and passes over
those that are not set (posting 2.11 wants `tree-sitter<0.26` beside it). All start in turns; the ratios are
those of one run. Processor seconds are the better figure on a busy machine.

On two cores of an EPYC, Python 3.11: 1.14 to 1.23 x a bare app, 0.32 x posting, 0.26 x harlequin.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from qdl_engine.core.events import Metrics, append_event
from qdl_engine.core.lab import Lab
from qdl_engine.runs.store import create_run, save_run
from tests.e2e.terminal import Terminal, app_command

ROUNDS = 7
RUNS = 50
REACH = {"bare": 1.3, "posting": 1 / 2, "harlequin": 1 / 3}
"""The ratios to reach."""
INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Textual and the anchors come with their bytecode; ours is written in the first turn, as at a user's."""
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


@dataclass(frozen=True)
class Program:
    """Something that paints: how to start it, and what the screen holds when it is whole."""

    name: str
    argv: list[str]
    marker: str


@dataclass(frozen=True)
class Paint:
    """What one paint cost: seconds from exec, processor seconds, peak memory in bytes."""

    wall: float
    cpu: float
    peak: int


def lab_with_runs(root: Path) -> Lab:
    lab = Lab.at(root)
    lab.create_directories()
    lab.settings_file.write_text("", encoding="utf-8")
    for _ in range(RUNS):
        run = create_run(lab, "train", system="system1", argv=["true"])
        for step in range(100):
            append_event(run.events_file, Metrics(step=step, total_steps=100, loss=1.0))
        save_run(replace(run, state="done", started=1.0, ended=2.0))
    return lab


def programs(directory: Path) -> list[Program]:
    """Ours, the bare app, and the anchors that are installed."""
    lab = lab_with_runs(directory / "lab")
    bare = directory / "bare.py"
    bare.write_text(BARE, encoding="utf-8")
    found = [
        # The last thing that is painted: the next step, which needs the status of the whole lab.
        Program("qdl-tui", app_command(str(lab.root)), "qdl prepare system1"),
        Program("bare", [sys.executable, str(bare)], "READY"),
    ]
    for name, arguments, marker in (
        ("posting", ["--collection", str(directory)], "No headers"),
        ("harlequin", [], "memory"),
    ):
        python = os.environ.get(f"QDL_{name.upper()}_PYTHON")
        if python:
            found.append(Program(name, [str(Path(python).parent / name), *arguments], marker))
    return found


def paint(program: Program, home: Path) -> Paint:
    """Start it, wait until the screen is whole, take the figures, and end it."""
    places = {name: str(home) for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")}
    started = time.perf_counter()
    terminal = Terminal(program.argv, env={**places, **INSTALLED})
    try:
        terminal.wait_until(lambda shown: program.marker in shown, 60)
        wall = time.perf_counter() - started
        process = Path(f"/proc/{terminal.process.pid}")
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        peak = next(
            int(line.split()[1]) * 1024
            for line in (process / "status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
    finally:
        terminal.close()
    return Paint(wall, cpu, peak)


def measure(directory: Path) -> dict[str, Paint]:
    """Medians of each program, measured in turns; the first turn warms the caches."""
    started = programs(directory)
    paints: dict[str, list[Paint]] = {program.name: [] for program in started}
    for _ in range(ROUNDS + 1):
        for program in started:
            paints[program.name].append(paint(program, directory))
    return {
        name: Paint(
            statistics.median(one.wall for one in ones[1:]),
            statistics.median(one.cpu for one in ones[1:]),
            max(one.peak for one in ones[1:]),
        )
        for name, ones in paints.items()
    }


def show(found: dict[str, Paint]) -> None:
    ours = found["qdl-tui"]
    print(f"\nfirst full paint, 80x24, a lab with {RUNS} runs; median of {ROUNDS}")
    for name, one in found.items():
        print(f"{name:10} {one.wall:6.3f} s  {one.cpu:6.2f} CPU s  peak {one.peak / 1e6:4.0f} MB", end="")
        if name in REACH:
            print(
                f"  qdl-tui / {name}: {ours.wall / one.wall:.2f} x, by CPU {ours.cpu / one.cpu:.2f} x", end=""
            )
            print(f"; to reach: {REACH[name]:.2f}", end="")
        print()


@pytest.mark.bench
def test_first_paint(tmp_path: Path) -> None:
    show(measure(tmp_path))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        show(measure(Path(temporary)))
