"""Peak memory of the app at its first full paint, over a bare Python: 60 MB is the most it may be.

python -m pytest tests/bench/bench_memory.py -m bench -s
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench.bench_first_paint import Program, lab_with_runs, paint
from tests.e2e.terminal import app_command

ROUNDS = 3
MOST = 60e6


@pytest.mark.bench
def test_memory_of_the_first_paint(tmp_path: Path) -> None:
    lab = lab_with_runs(tmp_path / "lab")
    idle = "print('READY', flush=True); input()"
    bare = Program("python", [sys.executable, "-c", idle], "READY")
    ours = Program("qdl-tui", app_command(str(lab.root)), "qdl prepare system1")
    python = min(paint(bare, tmp_path).peak for _ in range(ROUNDS))
    app = max(paint(ours, tmp_path).peak for _ in range(ROUNDS))
    print(f"\npeak at the first paint: {app / 1e6:.1f} MB, Python alone {python / 1e6:.1f} MB")
    print(f"over Python: {(app - python) / 1e6:.1f} MB of {MOST / 1e6:.0f} allowed")
