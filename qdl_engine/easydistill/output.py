"""What EasyDistill 1.x prints, read as events. Only for a foreign runtime: ours writes events itself.

Its training prints the bars of tqdm and, every `logging_steps`, a dict without a step::

      5%|5         | 1/20 [00:00<00:05,  3.52it/s]
    {'loss': 5.6426, 'grad_norm': 2.78, 'learning_rate': 0.0, 'epoch': 0.1}

tqdm draws its bar again right after such a line, so the step is that of the next bar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qdl_engine.events import Event, as_number, make_event

_BAR = re.compile(r"\|\s*(\d+)/(\d+) \[(?:[^\]<]*)<([\d:?]+),[^\]]*(?:it/s|s/it)")
_METRICS = re.compile(r"\{'(?:loss|train_runtime)': [^}]*\}")
_ITEM = re.compile(r"'(\w+)': '?([-+.\w]+)'?")
_TAKEN = ("loss", "grad_norm", "learning_rate", "epoch")
_TERMINATED = "Training job terminated"
_LONGEST_LINE = 4096


def is_foreign(argv: Sequence[str]) -> bool:
    """Whether a command starts EasyDistill's own training."""
    return any(word.endswith("easydistill/kd/train.py") for word in argv)


class ConsoleParser:
    """Takes output as it comes and gives events; its state is the last bar, and a dict waiting for a step."""

    def __init__(self) -> None:
        self._step = 0
        self._total: int | None = None
        self._eta: float | None = None
        self._waiting: dict[str, float] | None = None

    def feed(self, output: bytes) -> list[Event]:
        """The events of some more whole lines."""
        events = []
        for raw in re.split(rb"[\r\n]+", output):
            events += self._line(raw[:_LONGEST_LINE].decode("utf-8", errors="replace"))
        return events

    def _line(self, line: str) -> list[Event]:
        events = []
        # Both may stand on one line: a bar is not ended before a dict is printed.
        if bar := _BAR.search(line):
            events += self._bar(int(bar[1]), int(bar[2]), _seconds(bar[3]))
        if metrics := _METRICS.search(line):
            events += self._flush()
            values = {key: as_number(value) for key, value in _ITEM.findall(metrics[0])}
            if "train_runtime" not in values:
                self._waiting = {key: value for key in _TAKEN if (value := values.get(key)) is not None}
        if _TERMINATED in line:
            # It ends with exit code 0 all the same.
            events.append(
                make_event("note", message=line.partition(_TERMINATED)[2].strip(": ") or _TERMINATED)
            )
        return events

    def _bar(self, step: int, total: int, eta: float | None) -> list[Event]:
        events = [] if total == self._total else [make_event("started", total_steps=total)]
        self._step, self._total, self._eta = step, total, eta
        if self._waiting is not None:
            return [*events, *self._flush()]
        return [*events, make_event("metrics", **self._where())]

    def _flush(self) -> list[Event]:
        waiting, self._waiting = self._waiting, None
        return [] if waiting is None else [make_event("metrics", **self._where(), **waiting)]

    def _where(self) -> dict[str, float | None]:
        return {"step": self._step, "total_steps": self._total, "eta_seconds": self._eta}


def _seconds(clock: str) -> float | None:
    if "?" in clock:
        return None
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(seconds)
