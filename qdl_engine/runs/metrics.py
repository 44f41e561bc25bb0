"""The figures of a run as a table: one row a step, for a spreadsheet or another program."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qdl_engine.errors import RunError
from qdl_engine.events import Event, as_number
from qdl_engine.lab import write_json_atomic, write_text_atomic
from qdl_engine.runs.reader import RunWatch
from qdl_engine.runs.store import Run

COLUMNS = (
    "step", "time", "epoch", "loss", "held_out_loss", "learning_rate", "grad_norm", "tokens_per_second",
    "eta_seconds", "gpu_memory_bytes", "gpu_use", "memory_bytes",
)  # fmt: skip
"""`time` in seconds since the epoch, `gpu_use` from 0 to 1, memory in bytes; what was never told is empty."""

Row = dict[str, float | int | None]


def metrics_rows(run: Run) -> list[Row]:
    """What a run reported, by ascending step. What a resume trained again replaces what it repeats."""
    rows: list[Row] = []
    for event in RunWatch(run, history=False).read_events():
        _take(rows, event)
    return rows


def _take(rows: list[Row], event: Event) -> None:
    if event["event"] == "machine" and rows:
        rows[-1]["gpu_use"] = as_number(event.get("gpu_use"))
    step = as_number(event.get("step"))
    if event["event"] not in ("metrics", "evaluated") or step is None:
        return
    while rows and (rows[-1]["step"] or 0) > step:
        rows.pop()
    if not rows or rows[-1]["step"] != step:
        rows.append(dict.fromkeys(COLUMNS) | {"step": int(step)})
    told = {key: value for key in COLUMNS[1:] if (value := as_number(event.get(key))) is not None}
    rows[-1].update(told)


def to_csv(rows: Sequence[Row]) -> str:
    """Comma-separated, with a head line; NaN and infinity as `nan` and `inf`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def export_metrics(run: Run) -> tuple[Path, Path]:
    """Write `metrics.csv` and `metrics.json` into the run's directory.

    Raises:
        RunError: when the run has told no figures.
    """
    rows = some_rows(run)
    table, document = run.directory / "metrics.csv", run.directory / "metrics.json"
    write_text_atomic(table, to_csv(rows))
    write_json_atomic(document, metrics_document(run, rows))
    return table, document


def metrics_document(run: Run, rows: Sequence[Row]) -> dict[str, Any]:
    """The run's record and its figures; a value that is no number is the word `nan` or `inf`."""
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    return {"run": run.to_dict(), "metrics": plain}


def _plain(value: float | int | None) -> float | int | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def some_rows(run: Run) -> list[Row]:
    """The figures of a run that has some.

    Raises:
        RunError: when it has told none.
    """
    rows = metrics_rows(run)
    if not rows:
        raise RunError(f"Run {run.id} has no figures to export", "Only a training has them, once it reports.")
    return rows
