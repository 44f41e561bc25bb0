"""What a job reports while it works: one class for each kind of event.

Inside a process an event is one of these objects. In a file or a pipe it is one line of JSON with `event`
(its kind) and `time`; an empty field is left out. NaN and infinity are legal losses but not legal JSON, so
they are written as the strings "nan", "inf" and "-inf".
"""

# Without `from __future__ import annotations`: `from_json` looks up the type of each field as an object.

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, get_args

from qdl_engine.core.errors import writing

_COUNT = 10.0**12
_RATE = 10.0**9
_BYTES = 2.0**60


def _figure(most: float) -> Any:
    """A number, None when unknown. A file may hold nonsense: below 0 or above `most` also reads as None."""
    return field(default=None, metadata={"most": most})


@dataclass(frozen=True, kw_only=True)
class _Event:
    """What every event has."""

    kind: ClassVar[str]
    time: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    system: str = ""
    """The student that the event is about, where several are at work at once."""


@dataclass(frozen=True)
class Progress(_Event):
    """How far a stage is."""

    kind = "progress"
    stage: str = ""
    done: int | None = _figure(_COUNT)
    total: int | None = _figure(_COUNT)
    """None when nobody knows."""
    unit: str = ""
    tokens_per_second: float | None = _figure(_RATE)
    eta_seconds: float | None = _figure(_RATE)
    cost: float | None = _figure(_RATE)
    """Money spent on the teacher; None where it has no prices."""
    failed: int | None = _figure(_COUNT)
    """Prompts without an answer."""


@dataclass(frozen=True)
class Started(_Event):
    """Training begins, or resumes at `step`."""

    kind = "started"
    step: int | None = _figure(_COUNT)
    total_steps: int | None = _figure(_COUNT)
    epochs: float | None = _figure(10.0**6)
    rows: int | None = _figure(_COUNT)
    held_out_rows: int | None = _figure(_COUNT)
    dropped_rows: int | None = _figure(_COUNT)
    trained_tokens_per_epoch: int | None = _figure(_COUNT)
    parameters: int | None = _figure(10.0**15)
    trained_parameters: int | None = _figure(10.0**15)
    device: str = ""
    precision: str = ""
    runtime: str = ""
    """`easydistill` for EasyDistill 1.x; empty for the built-in one."""


@dataclass(frozen=True)
class Metrics(_Event):
    """A report of the training. Loss, learning rate and norm may be any number, even NaN or infinite."""

    kind = "metrics"
    step: int | None = _figure(_COUNT)
    total_steps: int | None = _figure(_COUNT)
    epoch: float | None = _figure(10.0**6)
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = _figure(_RATE)
    eta_seconds: float | None = _figure(_RATE)
    num_tokens: int | None = _figure(10.0**15)
    """Tokens trained since the beginning, where the runtime counts them."""
    gpu_memory_bytes: int | None = _figure(_BYTES)
    """The peak since the last report; on a GPU."""
    memory_bytes: int | None = _figure(_BYTES)
    """What the process holds now; on a CPU."""


@dataclass(frozen=True)
class Machine(_Event):
    """A sample of the GPUs; a machine without one sends none."""

    kind = "machine"
    gpu_use: float | None = _figure(1.0)
    """Share of the time in which the GPU computed, 0 to 1."""
    gpu_memory_bytes: int | None = _figure(_BYTES)
    """Of all programs together."""
    gpus: tuple[dict[str, Any], ...] = ()
    """Each GPU by itself."""


@dataclass(frozen=True)
class Evaluated(_Event):
    """A held-out evaluation."""

    kind = "evaluated"
    step: int | None = _figure(_COUNT)
    held_out_loss: float | None = None


@dataclass(frozen=True)
class CheckpointSaved(_Event):
    """A checkpoint to resume from."""

    kind = "checkpoint"
    step: int | None = _figure(_COUNT)
    path: str = ""


@dataclass(frozen=True)
class Stopped(_Event):
    """Stopped on request."""

    kind = "stopped"
    step: int | None = _figure(_COUNT)
    path: str | None = None
    """The checkpoint to resume from, where there is one."""


@dataclass(frozen=True)
class Finished(_Event):
    """A training ended well."""

    kind = "finished"
    path: str = ""
    seconds: float | None = _figure(_RATE)
    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed(_Event):
    """The job ended with an error."""

    kind = "failed"
    message: str
    hint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that would fit into memory, after running out of it."""


@dataclass(frozen=True)
class Note(_Event):
    """Something a person may want to know."""

    kind = "note"
    message: str


@dataclass(frozen=True)
class Outcome(_Event):
    """What a job that trains nothing reports at its good end."""

    kind = "outcome"
    message: str


@dataclass(frozen=True)
class RuntimeChosen(_Event):
    """The runtime that the process becomes for the training."""

    kind = "runtime"
    runtime: str


@dataclass(frozen=True)
class Examined(_Event):
    """The marks of one model of the demo's exam."""

    kind = "examined"
    marks: dict[str, Any]


Event = (
    Progress
    | Started
    | Metrics
    | Machine
    | Evaluated
    | CheckpointSaved
    | Stopped
    | Finished
    | Failed
    | Note
    | Outcome
    | RuntimeChosen
    | Examined
)
EventSink = Callable[[Event], None]


def no_sink(event: Event) -> None:
    """Drop an event: the sink of callers who do not watch."""


def as_number(value: object) -> float | None:
    """A figure as a float, the strings "nan" and "inf" included; None when it is absent or not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _count(value: object) -> int | None:
    number = as_number(value)
    return int(number) if number is not None and math.isfinite(number) else None


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


_READERS: dict[object, Callable[[Any], Any]] = {
    str: lambda value: "" if value is None else str(value),
    str | None: lambda value: None if value is None else str(value),
    float: lambda value: as_number(value) or 0.0,
    float | None: as_number,
    int | None: _count,
    dict[str, Any]: lambda value: value if isinstance(value, dict) else {},
    tuple[str, ...]: lambda value: tuple(str(item) for item in _items(value)),
    tuple[dict[str, Any], ...]: lambda value: tuple(item for item in _items(value) if isinstance(item, dict)),
}
_READER_OF = {
    kind.kind: (kind, {spec.name: (_READERS[spec.type], spec.metadata.get("most")) for spec in fields(kind)})
    for kind in get_args(Event)
}
# `time` has a default, which is the moment of reading and not of the event.
_NEEDED = {
    kind.kind: [
        "time",
        *(spec.name for spec in fields(kind) if MISSING is spec.default is spec.default_factory),
    ]
    for kind in get_args(Event)
}


def from_json(line: str | bytes) -> Event | None:
    """Read one line; None for a line that is no event, or one of an unknown kind."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):  # cut short by a crash, no UTF-8, a number or a nesting without end
        return None
    name = str(values.get("event")) if isinstance(values, dict) else ""
    if name not in _READER_OF:
        return None
    kind, readers = _READER_OF[name]
    found: dict[str, Any] = {}
    # Only the fields that are there: a run has thousands of lines, and most leave half of theirs out.
    for key in (values.keys() & readers.keys()).union(_NEEDED[name]):
        read, most = readers[key]
        value = read(values.get(key))
        found[key] = None if most is not None and value is not None and not 0 <= value <= most else value
    event: Event = kind(**found)
    return event


def to_json(event: Event) -> str:
    """The event as one line, without its end."""
    values = {spec.name: getattr(event, spec.name) for spec in fields(event)}
    return json_line(
        {"event": event.kind} | {key: value for key, value in values.items() if not _empty(value)}
    )


def json_line(values: Mapping[str, object]) -> str:
    """Any values as one line of JSON, NaN and infinity as strings."""
    return json.dumps(_encodable(values), ensure_ascii=False, allow_nan=False)


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str | tuple | dict) and not value)


def _encodable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def append_event(path: Path, event: Event) -> None:
    """Append one line in a single write, so that two writers never share a line."""
    with writing(path), open(path, "ab", buffering=0) as handle:
        handle.write(to_json(event).encode() + b"\n")
