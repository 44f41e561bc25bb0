"""The figures of a run as a table."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from qdl_engine.core.errors import RunError
from qdl_engine.core.events import Evaluated, Machine, Metrics, Started, append_event
from qdl_engine.core.lab import Lab
from qdl_engine.runs.reader import COLUMNS, RunWatch, export_metrics, metrics_rows, to_csv
from qdl_engine.runs.store import Run, create_run


def reported(lab: Lab) -> Run:
    run = create_run(lab, "train", argv=["x"])
    for event in (
        Started(total_steps=30, device="GPU"),
        Metrics(step=10, loss=3.0, learning_rate=1e-4, gpu_memory_bytes=5),
        Evaluated(step=10, held_out_loss=3.5),
        Machine(gpu_use=0.9, gpu_memory_bytes=99),
        Metrics(step=20, loss=2.0),
        Metrics(step=30, loss=1.0),
        Metrics(step=20, loss=2.1),
        Metrics(step=30, loss=math.nan),
    ):
        append_event(run.events_file, event)
    return run


def test_one_row_a_step_and_a_resume_replaces_what_it_repeats(lab: Lab) -> None:
    rows = metrics_rows(reported(lab))
    assert [(row["step"], row["loss"], row["held_out_loss"]) for row in rows[:2]] == [
        (10, 3.0, 3.5),
        (20, 2.1, None),
    ]
    assert rows[0]["gpu_use"] == 0.9 and rows[0]["gpu_memory_bytes"] == 5
    assert len(rows) == 3
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert list(read[0]) == list(COLUMNS)
    assert (read[0]["learning_rate"], read[1]["learning_rate"], read[2]["loss"]) == ("0.0001", "", "nan")


def test_exported_into_the_runs_directory(lab: Lab) -> None:
    run = reported(lab)
    table, document = export_metrics(run)
    assert table.read_text(encoding="utf-8") == to_csv(metrics_rows(run))
    value = json.loads(document.read_text(encoding="utf-8"))
    assert value["run"]["id"] == run.id
    assert [row["loss"] for row in value["metrics"]] == [3.0, 2.1, "nan"]
    with pytest.raises(RunError, match="no figures to export"):
        export_metrics(create_run(lab, "label", argv=["x"]))


def test_a_watch_keeps_each_series_or_only_the_last_values(lab: Lab) -> None:
    run = reported(lab)
    watch, light = RunWatch(run), RunWatch(run, history=False)
    watch.read_events()
    light.read_events()
    assert watch.series["loss"][:2] == [(10, 3.0), (20, 2.1)]
    assert watch.series["gpu_use"] == [(10, 0.9)] and watch.series["gpu_memory_bytes"] == [(10, 5.0)]
    assert watch.summary.gpu_use == 0.9 and watch.summary.gpu_memory_bytes == 5.0
    assert repr(light.summary) == repr(watch.summary)
    assert not any(light.series.values())


def test_a_run_on_the_cpu_has_no_gpu_figures(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    append_event(run.events_file, Started(total_steps=9, device="CPU"))
    append_event(run.events_file, Metrics(step=1, loss=1.0, memory_bytes=7))
    append_event(run.events_file, Machine(gpu_use=0.9, gpu_memory_bytes=99))
    watch = RunWatch(run)
    watch.read_events()
    summary = watch.summary
    assert (summary.gpu_use, summary.gpu_memory_bytes, summary.memory_bytes) == (None, None, 7.0)
