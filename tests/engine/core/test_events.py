"""Events: one line of JSON each, the same on disk as it has always been, and proof against nonsense."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

import pytest

from qdl_engine.core.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Examined,
    Failed,
    Finished,
    Machine,
    Metrics,
    Note,
    Outcome,
    Progress,
    RuntimeChosen,
    Started,
    Stopped,
    from_json,
    to_json,
)

EACH_KIND: list[Event] = [
    Progress(stage="label", done=3, total=9, unit="prompts", tokens_per_second=5.5, cost=0.25, failed=1),
    Started(step=0, total_steps=40, epochs=3.0, rows=9, device="CPU", precision="fp32"),
    Metrics(step=10, total_steps=40, epoch=0.5, loss=2.5, learning_rate=1e-4, grad_norm=1.0, memory_bytes=7),
    Machine(gpu_use=0.5, gpu_memory_bytes=9, gpus=({"name": "H100", "use": 0.5},)),
    Evaluated(step=10, held_out_loss=2.25),
    CheckpointSaved(step=10, path="checkpoint-10"),
    Stopped(step=10, path="checkpoint-10"),
    Finished(path="student", seconds=1.5, metrics={"loss": 1.5, "steps": 40}, warnings=("a", "b")),
    Failed("No data", "Fetch some", settings={"batch_size": 2}),
    Note("Look here", system="system1"),
    Outcome("Scored 9 chains"),
    RuntimeChosen("builtin"),
    Examined({"right": {"add": 3}}),
]


def test_every_kind_comes_back_as_it_was() -> None:
    assert {type(event) for event in EACH_KIND} == set(get_args(Event))
    for event in EACH_KIND:
        line = to_json(event)
        assert json.loads(line)["event"] == event.kind and "\n" not in line
        assert from_json(line) == event


def test_the_line_holds_what_is_known_and_nothing_else() -> None:
    assert json.loads(to_json(Metrics(step=3, loss=math.nan, grad_norm=-math.inf, time=5.0))) == {
        "event": "metrics",
        "time": 5.0,
        "step": 3,
        "loss": "nan",
        "grad_norm": "-inf",
    }
    read = from_json('{"event": "metrics", "time": 5.0, "step": 3, "loss": "nan", "gpu_memory_bytes": null}')
    assert isinstance(read, Metrics) and math.isnan(read.loss or 0) and read.gpu_memory_bytes is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", -1),
        ("step", 10**13),
        ("step", "x"),
        ("step", True),
        ("step", [1]),
        ("tokens_per_second", 10000000000.0),
        ("eta_seconds", "inf"),
        ("eta_seconds", "nan"),
        ("memory_bytes", 2**61),
        ("epoch", -0.5),
    ],
)
def test_a_figure_that_cannot_be_is_unknown(key: str, value: Any) -> None:
    read = from_json(json.dumps({"event": "metrics", "time": 1.0, "loss": 1.5, key: value}))
    assert read == Metrics(loss=1.5, time=1.0)


@pytest.mark.parametrize(
    "line",
    [b"", b"[1]", b"\xff", b'{"event": "no', b'{"event": "unheard"}', b'{"step": 1}', b'{"event": ["note"]}'],
)
def test_what_is_no_event_reads_as_none(line: bytes) -> None:
    assert from_json(line) is None


def test_fields_of_another_type_do_not_break_the_reader() -> None:
    assert from_json('{"event": "note", "message": null, "time": "soon"}') == Note("", time=0.0)
    odd = '{"event": "finished", "time": 1, "metrics": [1], "warnings": {"a": 1}, "path": 7}'
    assert from_json(odd) == Finished(path="7", time=1.0)
