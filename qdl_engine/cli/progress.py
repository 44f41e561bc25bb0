"""Progress on stderr: on a terminal one line that is redrawn, elsewhere a plain line from time to time."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

from qdl_engine.cli.streams import is_unicode
from qdl_engine.core.events import Evaluated, Event, Finished, Metrics, Note, Progress, Started
from qdl_engine.core.words import duration, money_text, one_line, printable

_DRAWN = (Progress, Started, Metrics, Evaluated, Finished)
_REDRAW_SECONDS = 0.1
_PLAIN_SECONDS = 30.0
_BAR, _SHORTEST_BAR = 24, 6


@dataclass
class _Lane:
    """What one student, or the only job, is doing now."""

    name: str
    stage: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    eta: float | None = None
    began: float = field(default_factory=time.monotonic)
    printed: tuple[str, int] = ("", -1)
    printed_at: float = 0.0

    def take(self, event: Event) -> None:
        match event:
            case Progress():
                self._take_progress(event)
            case Started():
                self._take_step(event.step, event.total_steps)
            case Metrics():
                self._take_step(event.step, event.total_steps, event.eta_seconds)
                self._take_loss("loss", event.loss)
                self._take_speed(event.tokens_per_second)
            case Evaluated():
                self._take_step(event.step, None)
                self._take_loss("held out", event.held_out_loss)
            case Finished():
                # Evaluating and saving come after the last step: show the training as complete all the same.
                self.done, self.unit, self.eta = self.total, "steps", None

    def _enter(self, stage: str) -> None:
        if stage != self.stage:
            self.stage, self.began, self.extra, self.eta = stage, time.monotonic(), {}, None
            self.done = self.total = None

    def _take_progress(self, event: Progress) -> None:
        self._enter(event.stage or self.stage)
        self.done, self.total = event.done, event.total
        self.unit, self.eta = event.unit, event.eta_seconds
        self._take_speed(event.tokens_per_second)
        if event.cost is not None:
            self.extra["cost"] = f"cost {money_text(event.cost)}"
        if event.failed:
            self.extra["failed"] = f"{event.failed:,} failed"

    def _take_step(self, step: int | None, total: int | None, eta: float | None = None) -> None:
        self._enter("train")
        self.unit, self.eta = "steps", eta
        self.total = total or self.total
        self.done = self.done if step is None else step

    def _take_loss(self, label: str, loss: float | None) -> None:
        if loss is not None:
            self.extra[label] = f"{label} {loss:.3f}"

    def _take_speed(self, speed: float | None) -> None:
        if speed is not None:
            self.extra["speed"] = f"{speed:,.0f} tokens/s"

    @property
    def fraction(self) -> float | None:
        if self.done is None or not self.total:
            return None
        return max(0.0, min(1.0, self.done / self.total))

    @property
    def is_done(self) -> bool:
        return self.fraction == 1

    def text(self, bar: str = "") -> str:
        parts = [f"{self.name} {self.stage}".strip()]
        fraction = self.fraction
        if bar and fraction is not None:
            parts.append(bar)
        if fraction is not None:
            parts.append(f"{self.done:,}/{self.total:,} {self.unit} ({fraction:.0%})".replace(" (", "  ("))
        elif self.done is not None:
            parts.append(f"{self.done:,} {self.unit}")
        eta = self._remaining()
        if eta is not None:
            parts.append(f"{duration(eta)} left")
        parts += self.extra.values()
        return "  ".join(part for part in parts if part)

    def brief(self, *, eta: bool = True) -> str:
        """Only the stage and how far it is, for a line with several lanes."""
        fraction, remaining = self.fraction, self._remaining() if eta else None
        parts = [self.name, self.stage, "" if fraction is None else f"{fraction:.0%}"]
        parts.append("" if remaining is None else f"{duration(remaining)} left")
        return " ".join(part for part in parts if part)

    def _remaining(self) -> float | None:
        if self.eta is not None:
            return self.eta if self.eta > 0 else None
        fraction, spent = self.fraction, time.monotonic() - self.began
        if fraction is None or not 0.02 <= fraction < 1 or spent < 2:
            return None
        return spent * (1 - fraction) / fraction


class ProgressLine:
    """An event sink that draws. As a context manager it removes its line at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._lanes: dict[str, _Lane] = {}
        self._drawn_at = 0.0
        self._drawn = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, event: Event) -> None:
        """Draw one event; each `system` that events name has a lane of its own."""
        lane = self._take(event)
        if lane is None:
            return
        if self._live:
            self._redraw(final=isinstance(event, Finished))
        elif lane.stage:
            self._print_plainly(lane)

    def catch_up(self, events: Iterable[Event]) -> None:
        """Draw past events: every note, and of the rest only the latest state."""
        for event in events:
            self._take(event)
        lanes = [lane for lane in self._lanes.values() if lane.stage]
        if self._live and lanes:
            self._redraw(final=True)
        elif not self._live:
            for lane in lanes:
                self._print_plainly(lane)

    def _take(self, event: Event) -> _Lane | None:
        """Print a note, or update the lane of an event and return it; None for an event without a lane."""
        if isinstance(event, Note):
            self.say(event.message)
        if not isinstance(event, _DRAWN):
            return None
        name = event.system
        lane = self._lanes.setdefault(name, _Lane(name))
        lane.take(event)
        return lane

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line of progress from the screen."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False

    def _redraw(self, *, final: bool) -> None:
        now = time.monotonic()
        if not final and now - self._drawn_at < _REDRAW_SECONDS:
            return
        self._drawn_at = now
        lanes = [lane for lane in self._lanes.values() if lane.stage]
        # A finished lane has no news while another one is working.
        lanes = [lane for lane in lanes if not lane.is_done] or lanes[-1:]
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + one_line(self._line(lanes, width), width))
        self._stream.flush()
        self._drawn = True

    def _line(self, lanes: list[_Lane], width: int) -> str:
        """One lane with a bar if there is room; several in full, in brief, or without the time left."""
        line = " | ".join(" ".join(lane.text().split()) for lane in lanes)
        if len(lanes) > 1:
            brief = " | ".join(lane.brief() for lane in lanes)
            shortest = " | ".join(lane.brief(eta=False) for lane in lanes)
            return next((text for text in (line, brief) if len(text) <= width), shortest)
        if len(line) > width:
            # Drop whole figures rather than cut one in half.
            parts = lanes[0].text().split("  ")
            while len(parts) > 1 and len(" ".join(parts)) > width:
                parts.pop()
            return " ".join(parts)
        room = min(_BAR, width - len(line) - 1)
        return lanes[0].text(self._bar(lanes[0], room)) if room >= _SHORTEST_BAR else line

    def _bar(self, lane: _Lane, length: int) -> str:
        filled = round((lane.fraction or 0.0) * length)
        full, empty = ("█", "░") if is_unicode(self._stream) else ("#", "-")
        return full * filled + empty * (length - filled)

    def _print_plainly(self, lane: _Lane) -> None:
        """Print a line for each stage, each tenth of it, and each half minute."""
        tenth = -1 if lane.fraction is None else int(lane.fraction * 10)
        now = time.monotonic()
        if (lane.stage, tenth) == lane.printed and now - lane.printed_at < _PLAIN_SECONDS:
            return
        lane.printed, lane.printed_at = (lane.stage, tenth), now
        self._stream.write(printable(lane.text()) + "\n")
        self._stream.flush()
