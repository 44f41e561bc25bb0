"""Read a run's events while it writes them: its summary, its curves, and its figures as a table."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import RunError
from qdl_engine.core.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Failed,
    Finished,
    Machine,
    Metrics,
    Note,
    Progress,
    Started,
    Stopped,
    from_json,
)
from qdl_engine.core.lab import write_json_atomic, write_text_atomic
from qdl_engine.runs.store import Run, refresh_run


class FileTail:
    """Follows a file that another process is writing; each `read` returns the new complete lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0

    def read(self) -> bytes:
        """New complete lines; a line without its end stays for the next call."""
        try:
            handle = open(self.path, "rb")  # noqa: SIM115 - the `with` below closes it
        except FileNotFoundError:
            return b""
        with handle:
            status = os.fstat(handle.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, 0
            handle.seek(self._offset)
            fresh = handle.read()
        # A progress bar ends its lines with a carriage return.
        end = max(fresh.rfind(b"\n"), fresh.rfind(b"\r")) + 1
        self._offset += end
        return fresh[:end]


class EventTail:
    """Follows an events file that another process is writing; each `read` returns the new events."""

    def __init__(self, path: Path) -> None:
        self._tail = FileTail(path)

    def read(self) -> list[Event]:
        """New events in order; broken lines are skipped."""
        events = (from_json(line) for line in self._tail.read().split(b"\n") if line)
        return [event for event in events if event is not None]


@dataclass(frozen=True)
class RunSummary:
    """The last figures that a run reported; None for what it has not reported."""

    stage: str = ""
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    held_out_loss: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    gpu_memory_bytes: int | None = None
    """The peak of GPU memory since the previous report."""
    gpu_use: float | None = None
    """The share of time in which the GPU computed, 0 to 1."""
    memory_bytes: int | None = None
    """RAM that the run holds, on a CPU."""
    progress: float | None = None
    """0 to 1 within the stage."""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    cost: float | None = None
    """Money that the teacher has cost."""
    failed: int | None = None
    """Prompts without an answer."""
    device: str = ""
    note: str = ""
    """The last note or error."""

    def to_dict(self) -> dict[str, object]:
        return dict(vars(self))


_METRICS = (
    "epoch", "loss", "held_out_loss", "tokens_per_second", "eta_seconds", "learning_rate", "grad_norm",
    "gpu_memory_bytes", "memory_bytes",
)  # fmt: skip
SERIES = (
    "loss", "held_out_loss", "learning_rate", "grad_norm", "tokens_per_second",
    "gpu_memory_bytes", "memory_bytes", "gpu_use",
)  # fmt: skip
"""The figures with a curve, named as in the events and in `RunSummary`."""

Points = list[tuple[int, float]]


class RunWatch:
    """Follows a run. `refresh` reads only new events, so you can call it often.

    Args:
        run: The run to follow.
        history: Keep each value with its step in `series`, not only the last values in `summary`.
    """

    def __init__(self, run: Run, *, history: bool = True) -> None:
        self.run = run
        self.summary = RunSummary()
        self.series: dict[str, Points] = {name: [] for name in SERIES}
        self._history = history
        self._measures_memory = False
        self._tail = EventTail(run.events_file)

    def refresh(self) -> list[Event]:
        """Read the run's state and its new events, update all attributes and return the events."""
        self.run = refresh_run(self.run)
        return self.read_events()

    def read_events(self) -> list[Event]:
        """The same for the events only, without checking the run's processes."""
        events = self._tail.read()
        for event in events:
            self._take(event)
        return events

    def _take(self, event: Event) -> None:
        match event:
            case Progress():
                self._take_progress(event)
            case Started():
                self._take_start(event)
            case Metrics() | Evaluated():
                self._take_metrics(event)
            case CheckpointSaved() | Stopped():
                self._reach(event.step)
            case Finished():
                self._reach(self.summary.total_steps, eta_seconds=0.0)
            case Machine():
                self._take_machine(event)
            case Note() | Failed():
                self.summary = replace(self.summary, note=event.message)

    @property
    def losses(self) -> Points:
        """The training loss by step."""
        return self.series["loss"]

    @property
    def held_out(self) -> Points:
        """The held-out loss by step."""
        return self.series["held_out_loss"]

    def _take_progress(self, event: Progress) -> None:
        done, total = event.done, event.total
        self.summary = replace(
            self.summary,
            stage=event.stage or self.summary.stage,
            done=done,
            total=total,
            unit=event.unit,
            progress=min(1.0, done / total) if done is not None and total else None,
            eta_seconds=event.eta_seconds,
            # Figures that this stage does not report keep their values from the previous stage.
            **_known(event, "tokens_per_second", "cost", "failed"),
        )

    def _take_start(self, event: Started) -> None:
        device = event.device or self.summary.device
        # Speed and time left belong to the labelling before, not to the training.
        self.summary = replace(
            self.summary,
            total_steps=_first(event.total_steps, self.summary.total_steps),
            tokens_per_second=None,
            eta_seconds=None,
            device=device,
        )
        self._reach(event.step or 0)

    def _take_metrics(self, event: Metrics | Evaluated) -> None:
        values = _known(event, *_METRICS)
        self._measures_memory |= "gpu_memory_bytes" in values or "memory_bytes" in values
        if isinstance(event, Metrics) and event.total_steps is not None:
            self.summary = replace(self.summary, total_steps=event.total_steps)
        self._reach(event.step, **values)
        if event.step is not None:
            self._keep(event.step, values)

    def _reach(self, step: int | None, **values: Any) -> None:
        """Set the step of the training; None keeps it."""
        step, total = _first(step, self.summary.step), self.summary.total_steps
        self.summary = replace(
            self.summary,
            stage="train",
            step=step,
            progress=min(1.0, step / total) if step is not None and total else self.summary.progress,
            done=step,
            total=total,
            unit="steps",
            **values,
        )

    def _take_machine(self, event: Machine) -> None:
        """A sample of the GPUs; ignored when the run trains on the CPU, because other programs use them."""
        if self.summary.device.casefold() == "cpu":
            return
        # Here `gpu_memory_bytes` counts all programs on the GPU; the run's own figure is better.
        names = ("gpu_use",) if self._measures_memory else ("gpu_use", "gpu_memory_bytes")
        values = _known(event, *names)
        self.summary = replace(self.summary, **values)
        self._keep(self.summary.step, values)

    def _keep(self, step: int | None, values: Mapping[str, float]) -> None:
        if step is None or not self._history:
            return
        for name in self.series.keys() & values.keys():
            _append(self.series[name], step, values[name])


def _known(event: Event, *names: str) -> dict[str, Any]:
    """Those of the named figures that the event contains."""
    values = {name: getattr(event, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _first(value: int | None, otherwise: int | None) -> int | None:
    return otherwise if value is None else value


def _append(series: Points, step: int, value: float) -> None:
    """Add a point. An earlier step means a resume, which replaces the points after it."""
    while series and series[-1][0] >= step:
        series.pop()
    series.append((step, value))


def summarise(run: Run) -> RunSummary:
    """The figures of a run, read once from its first event. To follow a run, keep a `RunWatch`."""
    watch = RunWatch(run, history=False)
    watch.read_events()
    return watch.summary


def loss_history(run: Run) -> Points:
    """The training loss by step."""
    watch = RunWatch(run)
    watch.read_events()
    return watch.losses


COLUMNS = (
    "step", "time", "epoch", "loss", "held_out_loss", "learning_rate", "grad_norm", "tokens_per_second",
    "eta_seconds", "gpu_memory_bytes", "gpu_use", "memory_bytes",
)  # fmt: skip
"""`time` in seconds since the epoch, `gpu_use` from 0 to 1, memory in bytes; unreported values are empty."""

Row = dict[str, float | int | None]


def metrics_rows(run: Run) -> list[Row]:
    """One row a step, ascending. Steps that a resume repeats replace the earlier ones."""
    rows: list[Row] = []
    for event in RunWatch(run, history=False).read_events():
        _take(rows, event)
    return rows


def _take(rows: list[Row], event: Event) -> None:
    if isinstance(event, Machine) and rows:
        rows[-1]["gpu_use"] = event.gpu_use
    if not isinstance(event, Metrics | Evaluated) or event.step is None:
        return
    while rows and (rows[-1]["step"] or 0) > event.step:
        rows.pop()
    if not rows or rows[-1]["step"] != event.step:
        rows.append(dict.fromkeys(COLUMNS))
    rows[-1].update(_known(event, *COLUMNS))


def to_csv(rows: Sequence[Row]) -> str:
    """Comma-separated values with a header line; NaN and infinity as `nan` and `inf`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def export_metrics(run: Run) -> tuple[Path, Path]:
    """Write `metrics.csv` and `metrics.json` into the run's directory.

    Raises:
        RunError: when the run has reported no figures.
    """
    rows = some_rows(run)
    table, document = run.directory / "metrics.csv", run.directory / "metrics.json"
    write_text_atomic(table, to_csv(rows))
    write_json_atomic(document, metrics_document(run, rows))
    return table, document


def metrics_document(run: Run, rows: Sequence[Row]) -> dict[str, Any]:
    """The run's record and its figures as JSON; NaN and infinity become the words `nan` and `inf`."""
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    return {"run": run.to_dict(), "metrics": plain}


def _plain(value: float | int | None) -> float | int | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def some_rows(run: Run) -> list[Row]:
    """As `metrics_rows`, but never empty.

    Raises:
        RunError: when the run has reported no figures.
    """
    rows = metrics_rows(run)
    if not rows:
        raise RunError(f"Run {run.id} has no figures to export", "A training has figures once it reports.")
    return rows
