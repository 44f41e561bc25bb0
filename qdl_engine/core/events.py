"""Typed progress: the CLI draws it as a bar, the app as widgets, tests read it.

One event is one JSON object on one line, with `event` and `time` (seconds since the epoch) always there.
NaN and infinity are legal losses but not legal JSON, so they are written as the strings "nan", "inf", "-inf".
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import writing

Event = dict[str, Any]
EventSink = Callable[[Event], None]
"""Takes one event. The kinds in use:

`progress`   stage, done, total (or None), unit, and rate where it is known; asking a teacher also
             tokens_per_second, eta_seconds, failed, and cost where there are prices
`started`    total_steps, epochs, rows, trained_tokens_per_epoch, device, precision
`metrics`    step, total_steps, epoch, loss, learning_rate, grad_norm, tokens_per_second, eta_seconds,
             gpu_memory_bytes (the most since the last report; on a GPU), memory_bytes (held now; on a CPU)
`machine`    gpu_use (0 to 1), gpu_memory_bytes (of all programs), gpus; only where there is a GPU
`evaluated`  step, held_out_loss
`checkpoint` step, path
`stopped`    step, path (a stop on request, resumable)
`finished`   path, seconds, final metrics, and warnings where there are any
`failed`     message, hint
`note`       message (something a person may want to know)
`outcome`    message: what a job that trains nothing has to say at its good end
`runtime`    runtime: which one a training becomes
"""


def no_sink(event: Event) -> None:
    """Drop an event: the sink of callers who do not watch."""


def make_event(kind: str, **values: Any) -> Event:
    return {"event": kind, "time": time.time(), **values}


def _encodable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def dump_event(event: Event) -> str:
    return json.dumps(_encodable(event), ensure_ascii=False, allow_nan=False)


def as_number(value: Any) -> float | None:
    """A metric as a float, with "nan" and "inf" back in their place; None when it is absent or no number."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


_COUNT = 10.0**12
_PLAUSIBLE = {
    "step": _COUNT,
    "total_steps": _COUNT,
    "done": _COUNT,
    "total": _COUNT,
    "failed": _COUNT,
    "epoch": 10.0**6,
    "tokens_per_second": 10.0**9,
    "eta_seconds": 10.0**9,
    "cost": 10.0**9,
    "gpu_use": 1.0,
    "gpu_memory_bytes": 2.0**60,
    "memory_bytes": 2.0**60,
}
"""The most that a figure can be; the least is 0. A loss, a rate or a norm may be anything, even infinite."""


def _without_nonsense(event: Event) -> Event:
    """The event without the figures that cannot be; what was never said is known to every reader."""
    return {
        key: value
        for key, value in event.items()
        if key not in _PLAUSIBLE or value is None or _is_plausible(key, as_number(value))
    }


def _is_plausible(key: str, number: float | None) -> bool:
    return number is not None and 0 <= number <= _PLAUSIBLE[key]


def append_event(path: Path, event: Event) -> None:
    """Append one line in a single write, so that two writers never share a line."""
    with writing(path), open(path, "ab", buffering=0) as handle:
        handle.write(dump_event(event).encode() + b"\n")


def parse_event(line: str | bytes) -> Event | None:
    """One line back into an event without figures that cannot be; None for a line that is no event."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # cut short by a crash, no UTF-8, a number or a nesting without end
        return None
    return _without_nonsense(value) if isinstance(value, dict) and "event" in value else None
