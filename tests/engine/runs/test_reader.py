"""Events read while they are being written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from qdl_engine.core.events import (
    Evaluated,
    Finished,
    Machine,
    Metrics,
    Note,
    Progress,
    Started,
    append_event,
)
from qdl_engine.core.lab import Lab
from qdl_engine.runs.reader import EventTail, RunWatch, loss_history, summarise
from qdl_engine.runs.store import create_run


def test_an_incomplete_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_bytes(b'{"event": "note", "message": "a"}\n{"event": "no')
    assert [event.message for event in tail.read()] == ["a"]
    assert tail.read() == []
    with open(path, "ab") as handle:
        handle.write('te", "message": "ü"}\nbroken\n{"event": "note", "message": "c"}\n'.encode())
    assert [event.message for event in tail.read()] == ["ü", "c"]


@pytest.mark.parametrize(
    "rubbish",
    [b"[" * 100_000, b'{"event": ' * 50_000, b'{"event": "note", "step": ' + b"9" * 5000 + b"}", b"\xff"],
)
def test_a_line_without_an_event_is_skipped(tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(rubbish + b'\n{"event": "note", "message": "a"}\n')
    assert [event.message for event in EventTail(path).read()] == ["a"]


def test_impossible_figures_are_dropped(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    for event in (
        Metrics(step=3, total_steps=9, loss=2.0, gpu_memory_bytes=5, tokens_per_second=7.0),
        Metrics(step=-1, total_steps=-4, loss=1e40, gpu_memory_bytes=1e40, epoch=-2),
        Metrics(step=10**400, tokens_per_second=math.nan, eta_seconds=math.inf),
        Metrics(step="rubbish", memory_bytes=2**61, tokens_per_second=1e30),
        Machine(gpu_use=17),
    ):
        append_event(run.events_file, event)
    watch = RunWatch(run)
    watch.refresh()
    summary = watch.summary
    assert (summary.step, summary.total_steps, summary.loss) == (3, 9, 1e40)
    assert (summary.gpu_memory_bytes, summary.tokens_per_second) == (5, 7.0)
    unreported = (summary.epoch, summary.eta_seconds, summary.memory_bytes, summary.gpu_use)
    assert unreported == (None, None, None, None)
    assert watch.losses == [(3, 2.0)]


def test_a_recreated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    append_event(path, Note("a long first message"))
    assert len(tail.read()) == 1
    path.write_bytes(b'{"event": "note"}\n')
    assert len(tail.read()) == 1


def test_summary_and_history(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    watch = RunWatch(run)
    append_event(run.events_file, Progress(stage="prepare", done=5, total=20, unit="rows"))
    watch.refresh()
    assert (watch.summary.stage, watch.summary.progress) == ("prepare", 0.25)
    append_event(run.events_file, Started(total_steps=40, device="cpu"))
    append_event(
        run.events_file,
        Metrics(
            step=10,
            epoch=0.5,
            loss=2.0,
            learning_rate=1e-4,
            tokens_per_second=99.5,
            eta_seconds=7,
            gpu_memory_bytes=5,
            grad_norm=math.inf,
        ),
    )
    append_event(run.events_file, Evaluated(step=10, held_out_loss=2.5))
    append_event(run.events_file, Metrics(step=20, loss=math.nan))
    watch.refresh()
    summary = watch.summary
    assert repr(summary) == repr(summarise(run))
    assert (summary.stage, summary.step, summary.total_steps, summary.progress) == ("train", 20, 40, 0.5)
    assert (summary.tokens_per_second, summary.held_out_loss, summary.device) == (99.5, 2.5, "cpu")
    assert summary.grad_norm == math.inf and summary.loss is not None and math.isnan(summary.loss)
    assert watch.held_out == [(10, 2.5)]
    assert [step for step, _ in loss_history(run)] == [10, 20]


def test_a_resume_replaces_the_points_it_trains_again(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    for step, loss in ((10, 3.0), (20, 2.0), (30, 1.0), (20, 2.1), (30, 1.1)):
        append_event(run.events_file, Metrics(step=step, loss=loss))
    assert loss_history(run) == [(10, 3.0), (20, 2.1), (30, 1.1)]


def test_training_keeps_the_cost_and_failures_of_the_labelling_but_not_its_speed(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    asking = Progress(stage="label", done=3, total=9, tokens_per_second=5.0, cost=0.5, failed=1)
    append_event(run.events_file, asking)
    summary = summarise(run)
    assert (summary.tokens_per_second, summary.cost, summary.failed) == (5.0, 0.5, 1)
    append_event(run.events_file, Started(total_steps=40))
    summary = summarise(run)
    assert (summary.tokens_per_second, summary.cost, summary.failed) == (None, 0.5, 1)


def test_finished_means_all_steps(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    append_event(run.events_file, Started(total_steps=40))
    append_event(run.events_file, Metrics(step=39, loss=1.0, eta_seconds=3))
    append_event(run.events_file, Finished(path="x"))
    summary = summarise(run)
    assert (summary.step, summary.progress, summary.eta_seconds, summary.loss) == (40, 1.0, 0.0, 1.0)
