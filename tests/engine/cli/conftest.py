"""A lab, and `qdl` on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.core.lab import Lab
from qdl_engine.runs.launch import stop_run
from qdl_engine.runs.store import list_runs

Capture = pytest.CaptureFixture[str]
Qdl = Callable[..., int]
ROWS = [{"instruction": f"Say {word}.", "output": word} for word in ("one", "two\x1b[2J", "three", "four")]


@pytest.fixture
def lab(tmp_path: Path, capsys: Capture) -> Any:
    assert main(["init", str(tmp_path / "lab")]) == 0
    capsys.readouterr()
    lab = Lab.at(tmp_path / "lab")
    yield lab
    for run in list_runs(lab):
        if run.active:
            stop_run(run, force=True)


@pytest.fixture
def qdl(lab: Lab) -> Qdl:
    return lambda *words: main(["--lab", str(lab.root), *words])


@pytest.fixture
def ready(lab: Lab, qdl: Qdl) -> Lab:
    """A lab with a tiny student and four rows."""
    from tests.tiny import make_tiny_model

    student = make_tiny_model(lab.root / "student")
    (lab.root / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    changes = [f"system1.student={student}", "system1.source=rows.json", "system1.held_out=0"]
    assert qdl("config", "set", *changes, "system1.max_steps=1", "system1.rows=4") == 0
    return lab
