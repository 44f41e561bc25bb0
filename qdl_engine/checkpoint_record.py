"""What a checkpoint says about itself, in `qdl_checkpoint.json`, read and written without torch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from qdl_engine.errors import LabError
from qdl_engine.lab import read_json, write_json_atomic

RECORD_FILE = "qdl_checkpoint.json"


def made_here() -> dict[str, Any]:
    """Which run writes this checkpoint, and when. A copy keeps both, unlike the times of its files."""
    directory = os.environ.get("QDL_RUN_DIR")
    return {"run": Path(directory).name if directory else None, "written": time.time()}


def read_record(checkpoint: Path) -> dict[str, Any]:
    """The record; empty when there is none that can be read."""
    try:
        record = read_json(checkpoint / RECORD_FILE)
    except (LabError, OSError):
        return {}
    return record if isinstance(record, dict) else {}


def trained_by(checkpoint: Path) -> str | None:
    """The id of the run that wrote it; None when it does not say."""
    run = read_record(checkpoint).get("run")
    return run if isinstance(run, str) else None


def sign(checkpoint: Path, run_id: str) -> None:
    """Let a checkpoint of a foreign runtime, which keeps no record, say which run made it."""
    if not (checkpoint / RECORD_FILE).exists():
        write_json_atomic(checkpoint / RECORD_FILE, {"format": 1, "run": run_id, "written": time.time()})
