"""A lab in a temporary directory, and small real programs to run in it."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab
from qdl_engine.runs.launch import stop_run
from qdl_engine.runs.store import Run, create_run, list_runs

MakeRun = Callable[..., Run]

PRELUDE = """
import json, os, signal, struct, sys, time
from pathlib import Path
def event(kind, **values):
    with open(os.environ["QDL_EVENTS"], "a") as handle:
        handle.write(json.dumps({"event": kind, "time": time.time(), **values}) + "\\n")
def checkpoint(directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
def wait_for_file(path):
    end = time.time() + 60
    while not Path(path).exists() and time.time() < end:
        time.sleep(0.02)
"""


def program(body: str) -> list[str]:
    return [sys.executable, "-c", PRELUDE + textwrap.dedent(body)]


def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait for `condition`, by asking again and again until a deadline that only a broken test meets."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.02)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab.at(tmp_path / "a lab")
    lab.create_directories()
    yield lab
    for run in list_runs(lab):
        if run.active:
            stop_run(run, force=True)


@pytest.fixture
def make_run(lab: Lab) -> MakeRun:
    def make(body: str, *, kind: str = "train", output: str | None = None, **values: object) -> Run:
        output_dir = None if output is None else lab.root / output
        return create_run(lab, kind, argv=program(body), output_dir=output_dir, **values)  # type: ignore[arg-type]

    return make
