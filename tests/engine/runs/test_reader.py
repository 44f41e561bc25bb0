"""Events read while they are being written."""

from __future__ import annotations

import math
from pathlib import Path

from qdl_engine.events import append_event, make_event
from qdl_engine.lab import Lab
from qdl_engine.runs.reader import EventTail, RunWatch, loss_history, summarise
from qdl_engine.runs.store import create_run


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    path.write_bytes(b'{"event": "note", "message": "a"}\n{"event": "no')
    assert [event["message"] for event in tail.read()] == ["a"]
    assert tail.read() == []
    with open(path, "ab") as handle:
        handle.write('te", "message": "ü"}\nbroken\n{"event": "note", "message": "c"}\n'.encode())
    assert [event["message"] for event in tail.read()] == ["ü", "c"]


def test_a_file_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    append_event(path, make_event("note", message="a long first message"))
    assert len(tail.read()) == 1
    path.write_bytes(b'{"event": "note"}\n')
    assert len(tail.read()) == 1


def test_summary_and_history(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    watch = RunWatch(run)
    append_event(run.events_file, make_event("progress", stage="prepare", done=5, total=20, unit="rows"))
    watch.refresh()
    assert (watch.summary.stage, watch.summary.progress) == ("prepare", 0.25)
    append_event(run.events_file, make_event("started", total_steps=40, device="cpu"))
    append_event(
        run.events_file,
        make_event(
            "metrics",
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
    append_event(run.events_file, make_event("evaluated", step=10, held_out_loss=2.5))
    append_event(run.events_file, make_event("metrics", step=20, loss=math.nan))
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
        append_event(run.events_file, make_event("metrics", step=step, loss=loss))
    assert loss_history(run) == [(10, 3.0), (20, 2.1), (30, 1.1)]


def test_a_labelling_tells_speed_cost_and_failures_and_a_training_after_it_only_their_sum(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    asking = make_event("progress", stage="label", done=3, total=9, tokens_per_second=5.0, cost=0.5, failed=1)
    append_event(run.events_file, asking)
    summary = summarise(run)
    assert (summary.tokens_per_second, summary.cost, summary.failed) == (5.0, 0.5, 1)
    append_event(run.events_file, make_event("started", total_steps=40))
    summary = summarise(run)
    assert (summary.tokens_per_second, summary.cost, summary.failed) == (None, 0.5, 1)


def test_finished_means_all_of_it(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    append_event(run.events_file, make_event("started", total_steps=40))
    append_event(run.events_file, make_event("metrics", step=39, loss=1.0, eta_seconds=3))
    append_event(run.events_file, make_event("finished", path="x"))
    summary = summarise(run)
    assert (summary.step, summary.progress, summary.eta_seconds, summary.loss) == (40, 1.0, 0.0, 1.0)
