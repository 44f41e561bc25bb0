"""What EasyDistill 1.x prints, read as the events that the built-in runtime writes itself.

Its training prints the bars of tqdm and, every `logging_steps`, a dict without a step::

      5%|5         | 1/20 [00:00<00:05,  3.52it/s]
    {'loss': 5.6426, 'grad_norm': 2.78, 'learning_rate': 0.0, 'epoch': 0.1}

tqdm draws its bar again right after such a line, so the step is that of the next bar. Its command line puts a
clock and a level before each line, twice when the child logs too, and makes a line of every drawing of a bar.
"""

from __future__ import annotations

import re

from qdl_engine.events import Event, as_number, make_event

TERMINATED = "Training job terminated"
"""What it prints before it exits with 0, having done nothing."""

_PREFIX = re.compile(r"(?:\s*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+ - [A-Z]+ - |\[rank\d+\]:\s?)+")
# Other bars, of loading and of tokenising, have a name before their share, or count no iterations.
_BAR = re.compile(r"\s*\d+%\|[^|]*\|\s*(\d+)/(\d+) \[(?:[^\]<]*)<([\d:?]+),[^\]]*(?:it/s|s/it)")
_METRICS = re.compile(r"\{'(?:loss|train_runtime)': [^}]*\}")
_ITEM = re.compile(r"'(\w+)': '?([-+.\w]+)'?")
_TAKEN = ("loss", "grad_norm", "learning_rate", "epoch", "num_tokens")
_LONGEST_LINE = 4096


def plain_line(line: str) -> str:
    """A line without the clock and level before it, however often they stand there."""
    found = _PREFIX.match(line)
    return line[found.end() :] if found else line


class ConsoleParser:
    """Takes output as it comes and gives events; its state is the last bar, and a dict waiting for a step.

    `num_tokens` of a `metrics` event counts from the beginning of the training.
    """

    def __init__(self) -> None:
        self.step = 0
        self.final: dict[str, float] = {}
        """What it printed at the end of its training."""
        self._total: int | None = None
        self._eta: float | None = None
        self._waiting: dict[str, float] | None = None

    def feed(self, output: bytes) -> list[Event]:
        """The events of some more whole lines."""
        events = []
        for raw in re.split(rb"[\r\n]+", output):
            events += self._line(plain_line(raw[:_LONGEST_LINE].decode("utf-8", errors="replace")))
        return events

    def close(self) -> list[Event]:
        """The loss that was printed last, when nothing came after it."""
        return self._flush()

    def _line(self, line: str) -> list[Event]:
        events = []
        # Both may stand on one line: a bar is not ended before a dict is printed.
        if bar := _BAR.match(line):
            events += self._bar(int(bar[1]), int(bar[2]), _seconds(bar[3]))
        if metrics := _METRICS.search(line):
            events += self._flush()
            found = {key: as_number(value) for key, value in _ITEM.findall(metrics[0])}
            values = {key: value for key, value in found.items() if value is not None}
            if "train_runtime" in values:
                self.final = values
            else:
                self._waiting = {key: values[key] for key in _TAKEN if key in values}
        return events

    def _bar(self, step: int, total: int, eta: float | None) -> list[Event]:
        events = [] if total == self._total else [make_event("started", total_steps=total)]
        self.step, self._total, self._eta = step, total, eta
        if self._waiting is not None:
            return [*events, *self._flush()]
        return [*events, make_event("metrics", **self._where())]

    def _flush(self) -> list[Event]:
        waiting, self._waiting = self._waiting, None
        return [] if waiting is None else [make_event("metrics", **self._where(), **waiting)]

    def _where(self) -> dict[str, float | None]:
        return {"step": self.step, "total_steps": self._total, "eta_seconds": self._eta}


def _seconds(clock: str) -> float | None:
    if "?" in clock:
        return None
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(seconds)
