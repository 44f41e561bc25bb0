"""What a run has to tell, read from its events as they grow.

The figures of a run as a table: one row a step, for a spreadsheet or another program.
"""

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
from qdl_engine.core.events import Event, as_number, parse_event
from qdl_engine.core.lab import write_json_atomic, write_text_atomic
from qdl_engine.runs.store import Run, refresh_run


class FileTail:
    """The end of a file that another process is still writing; each `read` gives the new whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0

    def read(self) -> bytes:
        """A line without its end waits for the next time."""
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
    """The events of a file that another process is still writing; each `read` gives those that are new."""

    def __init__(self, path: Path) -> None:
        self._tail = FileTail(path)

    def read(self) -> list[Event]:
        """New events, in their order; a broken line is skipped."""
        events = (parse_event(line) for line in self._tail.read().split(b"\n") if line)
        return [event for event in events if event is not None]


@dataclass(frozen=True)
class RunSummary:
    """Where a run stands. None is what it has not said (yet)."""

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
    gpu_memory: float | None = None
    """Bytes in use on the GPU: the most since the report before."""
    gpu_use: float | None = None
    """Share of the time in which the GPU computed, 0 to 1."""
    memory: float | None = None
    """Bytes of main memory that the run holds, on a CPU."""
    progress: float | None = None
    """0 to 1 within the stage."""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    cost: float | None = None
    """Money that asking the teacher has taken."""
    failed: int | None = None
    """Prompts that got no answer."""
    device: str = ""
    note: str = ""
    """The last thing it found worth saying."""

    def to_dict(self) -> dict[str, object]:
        return dict(vars(self))


_METRICS = {
    "epoch": "epoch",
    "loss": "loss",
    "held_out_loss": "held_out_loss",
    "tokens_per_second": "tokens_per_second",
    "eta_seconds": "eta_seconds",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "gpu_memory_bytes": "gpu_memory",
    "memory_bytes": "memory",
}
SERIES = (
    "loss", "held_out_loss", "learning_rate", "grad_norm", "tokens_per_second",
    "gpu_memory", "memory", "gpu_use",
)  # fmt: skip
"""What a run tells again and again, by the names that `RunSummary` has for it."""

Points = list[tuple[int, float]]


class RunWatch:
    """A run under observation: `refresh` reads only what is new, so ask it as often as you like.

    Args:
        run: The run.
        history: Keep every value by its step in `series`, not only the last ones in `summary`.
    """

    def __init__(self, run: Run, *, history: bool = True) -> None:
        self.run = run
        self.summary = RunSummary()
        self.series: dict[str, Points] = {name: [] for name in SERIES}
        self._history = history
        self._measures_memory = False
        self._tail = EventTail(run.events_file)

    def refresh(self) -> list[Event]:
        """Take in what is new and return it; the other attributes are then up to date."""
        self.run = refresh_run(self.run)
        return self.read_events()

    def read_events(self) -> list[Event]:
        """Take in new events, without judging the run's state again."""
        events = self._tail.read()
        for event in events:
            self._take(event)
        return events

    def _take(self, event: Event) -> None:
        kind = event["event"]
        if kind == "progress":
            self._take_progress(event)
        elif kind in ("started", "metrics", "evaluated", "checkpoint", "stopped", "finished"):
            self._take_training(event, kind)
        elif kind == "machine":
            self._take_machine(event)
        elif kind in ("note", "failed"):
            self.summary = replace(self.summary, note=str(event.get("message") or ""))

    @property
    def losses(self) -> Points:
        """The training loss by step."""
        return self.series["loss"]

    @property
    def held_out(self) -> Points:
        """The held-out loss by step."""
        return self.series["held_out_loss"]

    def _take_progress(self, event: Event) -> None:
        done, total = _whole(event.get("done")), _whole(event.get("total"))
        said = {
            "tokens_per_second": as_number(event.get("tokens_per_second")),
            "cost": as_number(event.get("cost")),
            "failed": _whole(event.get("failed")),
        }
        # What this stage does not tell stays as the stage before told it.
        values = {name: value for name, value in said.items() if value is not None}
        self.summary = replace(
            self.summary,
            stage=str(event.get("stage") or self.summary.stage),
            done=done,
            total=total,
            unit=str(event.get("unit") or ""),
            progress=min(1.0, done / total) if done is not None and total else None,
            eta_seconds=as_number(event.get("eta_seconds")),
            **values,  # type: ignore[arg-type]
        )

    def _take_training(self, event: Event, kind: str) -> None:
        values: dict[str, object] = {
            name: number
            for key, name in _METRICS.items()
            if (number := as_number(event.get(key))) is not None
        }
        if kind == "started":
            # Those of the labelling before it say nothing of the training.
            self.summary = replace(self.summary, tokens_per_second=None, eta_seconds=None)
        self._measures_memory |= "gpu_memory" in values or "memory" in values
        step, total = _whole(event.get("step")), _whole(event.get("total_steps"))
        has_place = step is not None
        if step is None and kind == "started":
            step = 0
        total = total if total is not None else self.summary.total_steps
        step = step if step is not None else self.summary.step
        if event.get("device"):
            values["device"] = str(event["device"])
        if kind == "finished":
            step = total if total is not None else step
            values["eta_seconds"] = 0.0
        progress = min(1.0, step / total) if step is not None and total else self.summary.progress
        self.summary = replace(
            self.summary,
            stage="train",
            step=step,
            total_steps=total,
            progress=progress,
            done=step,
            total=total,
            unit="steps",
            **values,  # type: ignore[arg-type]
        )
        if has_place and kind in ("metrics", "evaluated"):
            self._keep(step, values)

    def _take_machine(self, event: Event) -> None:
        """A sample of the GPUs. They are others' business while the run trains on a CPU."""
        if self.summary.device.casefold() == "cpu":
            return
        told = {"gpu_use": as_number(event.get("gpu_use"))}
        if not self._measures_memory:
            # Of all programs on the GPU; what the run itself measured would be its own.
            told["gpu_memory"] = as_number(event.get("gpu_memory_bytes"))
        values = {name: value for name, value in told.items() if value is not None}
        self.summary = replace(self.summary, **values)  # type: ignore[arg-type]
        self._keep(self.summary.step, values)

    def _keep(self, step: int | None, values: Mapping[str, object]) -> None:
        if step is None or not self._history:
            return
        for name in self.series.keys() & values.keys():
            _append(self.series[name], step, as_number(values[name]))


def _append(series: Points, step: int, value: float | None) -> None:
    """Add a point; a step that goes back is a resume, and what came after it there is void."""
    while series and series[-1][0] >= step:
        series.pop()
    if value is not None:
        series.append((step, value))


def _whole(value: object) -> int | None:
    number = as_number(value)
    return int(number) if number is not None and number == number and abs(number) != float("inf") else None


def summarise(run: Run) -> RunSummary:
    """Where a run stands, read once from the beginning. To follow one, keep a `RunWatch`."""
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
