"""Runs as the screens show them: read in a thread, only what is new, and in words that fit the width."""

from __future__ import annotations

import math
import textwrap
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qdl_engine.core.events import Evaluated
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import clock, money_text, printable, sentences, size_text
from qdl_engine.lab_state.stages import running_text
from qdl_engine.runs.reader import RunSummary, RunWatch, summarise
from qdl_engine.runs.store import Run, fits, list_runs, student_of

SEPARATOR = " · "
LONGEST_BAR, SHORTEST_BAR = 20, 6

Part = tuple[str, str]
"""A figure in words, and shorter."""
Points = tuple[tuple[int, float], ...]
"""Step and value."""


@dataclass(frozen=True)
class RunView:
    """One run at one moment."""

    run: Run
    summary: RunSummary
    student: str = ""
    """The student that a training starts from."""
    held_out_at: int | None = None
    """The step of its last held-out loss."""

    def cells(self, name_width: int) -> tuple[str, ...]:
        """Id, name in that many cells, state, progress, loss, ETA and duration as text."""
        summary = self.summary
        progress = "" if summary.progress is None else f"{summary.progress:.0%}"
        stage = summary.stage if self.run.active and summary.stage not in ("", self.run.kind) else ""
        eta = time_text(summary.eta_seconds) if self.run.active else ""
        return (
            self.run.id,
            self.name_in(name_width),
            self.run.state,
            f"{stage} {progress}".strip(),
            number_text(summary.loss),
            eta,
            time_text(self.run.seconds),
        )

    def name_in(self, width: int) -> str:
        """Its name, else what it does with which student; only what it does where both have no room.

        The id beside it and the line below the table name the student too.
        """
        whole = self.run.name or what_it_is(self.run)
        return whole if self.run.name or len(whole) <= width else self.run.kind

    def fits(self, wanted: str) -> bool:
        """Whether the run has each of the words."""
        return fits(self.run, wanted, self.student)


def what_it_is(run: Run) -> str:
    """`label`, `evaluate System 1`: what a run does, and with which student."""
    return f"{run.kind} {SYSTEM_NAMES.get(run.system or '', '')}".strip()


def number_text(value: float | None) -> str:
    """A loss or a rate in at most seven cells: `1.234`, `6.8e-4`, `nan`."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 0.001 <= abs(value) < 100_000:
        return f"{value:.{3 if abs(value) < 100 else 1}f}" if value else "0"
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def time_text(seconds: float | None) -> str:
    """A time as `clock` writes it; empty while it is unknown."""
    return "" if seconds is None or not math.isfinite(seconds) else clock(seconds)


def place_in_lab(name: str, lab: Lab) -> str:
    """A path in the lab from its root, `~/models/x` in the home; a name on the hub as it is."""
    path = Path(name)
    for root, sign in ((lab.root, Path()), (Path.home(), Path("~"))):
        if path.is_absolute() and path.is_relative_to(root):
            return str(sign / path.relative_to(root))
    return name


class RunsFeed:
    """All runs of a lab; each run's events are read once, then only as they grow."""

    def __init__(self) -> None:
        self._watches: dict[str, RunWatch] = {}
        self._settled: dict[str, Run] = {}
        self._students: dict[str, str] = {}
        self._held_out_at: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self, lab: Lab) -> list[RunView]:
        """The runs of `lab`, newest first. Called in worker threads, one at a time."""
        with self._lock:
            runs = list_runs(lab)
            known = {str(run.directory) for run in runs}
            for gone in set(self._watches) - known:
                del self._watches[gone]
            return [self._view(run, lab) for run in runs]

    def _view(self, run: Run, lab: Lab) -> RunView:
        summary, key = self._summary(run), str(run.directory)
        return RunView(run, summary, self._student(run, lab), self._held_out_at.get(key))

    def _summary(self, run: Run) -> RunSummary:
        key = str(run.directory)
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = RunWatch(run, history=False)
        if run.active or self._settled.get(key) != run:
            for event in watch.read_events():
                if isinstance(event, Evaluated) and event.step is not None:
                    self._held_out_at[key] = event.step
            self._settled[key] = run
        return watch.summary

    def _student(self, run: Run, lab: Lab) -> str:
        """Read once: a config is written before the training and never changed."""
        key = str(run.directory)
        if not self._students.get(key):
            self._students[key] = place_in_lab(student_of(run), lab)
        return self._students[key]


@dataclass(frozen=True)
class TrainingView:
    """One run as the training screen shows it."""

    run: Run
    summary: RunSummary
    series: dict[str, Points]
    """Value by step, by the names of `RunSummary`; what the run never reported is not there."""
    position: int
    """Its place among the runs, 1 is the newest."""
    total: int
    beside: str = ""
    """The id of the run that is overlaid; empty for none."""
    beside_series: dict[str, Points] = field(default_factory=dict)

    @property
    def held_out_at(self) -> int | None:
        """The step of the last held-out loss."""
        points = self.series.get("held_out_loss")
        return points[-1][0] if points else None


class _Curves:
    """The curves of one run; the same objects until they grow."""

    def __init__(self, run: Run) -> None:
        self.watch = RunWatch(run)
        self._series: dict[str, Points] = {}

    def read(self, run: Run) -> dict[str, Points]:
        if run.directory != self.watch.run.directory:
            self.__init__(run)  # type: ignore[misc]
        if self.watch.read_events():
            now = {name: tuple(points) for name, points in self.watch.series.items() if points}
            before = self._series
            # What did not change stays the same object: the charts need not look at it.
            self._series = {
                name: before[name] if before.get(name) == points else points for name, points in now.items()
            }
        return self._series


class TrainingFeed:
    """The run on show and the one that is overlaid; each is read from its start when it changes."""

    def __init__(self) -> None:
        self._curves: _Curves | None = None
        self._beside: _Curves | None = None
        self._lock = threading.Lock()

    def read(self, lab: Lab, run_id: str, move: int = 0, *, beside: str = "") -> TrainingView | None:
        """The run with that id, else the one to watch.

        Args:
            lab: The lab.
            run_id: Which run; empty is the one to watch.
            move: How many runs to move, towards older ones.
            beside: The id of a run to overlay.
        """
        with self._lock:
            runs = list_runs(lab)
            if not runs:
                return None
            ids = [run.id for run in runs]
            position = ids.index(run_id) if run_id in ids else _to_watch(runs)
            run = runs[max(0, min(len(runs) - 1, position + move))]
            self._curves = self._curves or _Curves(run)
            series = self._curves.read(run)
            other = next((item for item in runs if item.id == beside and item.id != run.id), None)
            other_series: dict[str, Points] = {}
            if other is not None:
                self._beside = self._beside or _Curves(other)
                other_series = self._beside.read(other)
            return TrainingView(
                run,
                self._curves.watch.summary,
                series,
                ids.index(run.id) + 1,
                len(runs),
                "" if other is None else other.id,
                other_series,
            )


def training_now(lab: Lab, system: str) -> str:
    """`training 45%` while that student is being trained; empty otherwise."""
    under_way = (run for run in list_runs(lab) if run.active and run.kind == "train" and run.system == system)
    run = next(under_way, None)
    return running_text("training", run) if run is not None else ""


def runs_with_curves(lab: Lab, but: str) -> list[tuple[Run, RunSummary]]:
    """The runs with a loss to overlay, without the one with the id `but`."""
    found = [(run, summarise(run)) for run in list_runs(lab) if run.id != but and run.kind != "prepare"]
    return [(run, summary) for run, summary in found if summary.loss is not None]


def _to_watch(runs: list[Run]) -> int:
    """The place of the newest run that is under way, else of the newest training, else of the newest."""
    active = (place for place, run in enumerate(runs) if run.active)
    trainings = (place for place, run in enumerate(runs) if run.kind == "train")
    return next(active, next(trainings, 0))


def figures(run: Run, summary: RunSummary, held_out_at: int | None = None) -> list[Part]:
    """The figures of a run, the most wanted first; those that it has not reported are left out.

    Args:
        run: The run.
        summary: Where it stands.
        held_out_at: The step of its last held-out loss, which is shown where the run has made steps since.
    """
    parts = [_progress(run, summary)]
    if summary.loss is not None:
        parts.append((f"loss {number_text(summary.loss)}",) * 2)
    if summary.held_out_loss is not None:
        number = number_text(summary.held_out_loss)
        at = f"{held_out_at:,}" if held_out_at is not None and held_out_at < (summary.step or 0) else ""
        parts.append(
            (f"held out {number} at step {at}", f"held {number} at {at}")
            if at
            else (f"held out {number}", f"held {number}")
        )
    if summary.tokens_per_second is not None and not _between_steps(run, summary):
        parts.append((f"{summary.tokens_per_second:,.0f} tokens/s", f"{summary.tokens_per_second:,.0f} t/s"))
    if summary.cost is not None:
        parts.append((f"cost {money_text(summary.cost)}",) * 2)
    if summary.failed:
        parts.append((f"{summary.failed:,} failed",) * 2)
    if run.seconds is not None:
        parts.append((f"time {time_text(run.seconds)}", time_text(run.seconds)))
    if summary.epoch is not None:
        parts.append((f"epoch {summary.epoch:.2f}", f"ep {summary.epoch:.2f}"))
    if summary.learning_rate is not None:
        parts.append((f"lr {number_text(summary.learning_rate)}",) * 2)
    if summary.grad_norm is not None:
        parts.append((f"grad {number_text(summary.grad_norm)}",) * 2)
    if summary.gpu_memory_bytes is not None:
        parts.append((f"GPU {size_text(summary.gpu_memory_bytes)}",) * 2)
    if summary.gpu_use is not None:
        parts.append((f"GPU use {summary.gpu_use:.0%}", f"use {summary.gpu_use:.0%}"))
    if summary.memory_bytes is not None:
        size = size_text(summary.memory_bytes)
        parts.append((f"RAM {size}, libraries included", f"RAM {size}"))
    return [part for part in parts if part[0]]


def _between_steps(run: Run, summary: RunSummary) -> bool:
    """Whether a training is under way and makes no steps now: it loads, measures or saves."""
    return run.kind == "train" and run.active and summary.stage not in ("", "train")


def _progress(run: Run, summary: RunSummary) -> Part:
    """`step 40/80` of a training, `label 12 of 900 rows` of a job."""
    if summary.stage and summary.stage != "train":
        if not summary.done and not summary.total:
            return (summary.stage,) * 2
        done = "" if summary.done is None else f" {summary.done:,}"
        of = f" of {summary.total:,}" if summary.total else ""
        return f"{summary.stage}{done}{of} {summary.unit}".strip(), f"{summary.stage}{done}{of}"
    if summary.step is None:
        return "", ""
    of = f"/{summary.total_steps:,}" if summary.total_steps else ""
    return f"step {summary.step:,}{of}", f"{summary.step:,}{of}"


def fit(parts: Sequence[Part], width: int, rows: int = 2) -> list[str]:
    """The parts in at most `rows` lines: in words when they fit, else shorter, else without the last ones."""
    for words in ([long for long, _short in parts], [short for _long, short in parts]):
        lines = _wrap(words, width)
        if len(lines) <= rows:
            return lines
    return lines[:rows]


def _wrap(words: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(SEPARATOR) + len(word) <= width:
            lines[-1] += SEPARATOR + word
        else:
            lines.append(word[:width])
    return lines


def head(run: Run, summary: RunSummary, place: str, width: int) -> tuple[str, str]:
    """What stands behind the state in the first line: id and name, then bar, ETA and place.

    The bar shrinks first, then the name; a bar that has no room at all leaves its share alone. The place,
    such as `1 of 6`, says that it is the run's where that costs neither.
    """
    eta = f"ETA {time_text(summary.eta_seconds)}" if run.active and summary.eta_seconds else ""
    share = summary.progress
    tail = [part for part in ("" if share is None else f"{share:.0%}", eta, place) if part]
    fixed = len(run.id) + sum(len(part) + 2 for part in tail)
    name = printable(run.name)
    least = len(name) + 1 + (0 if share is None else LONGEST_BAR + 2)
    if place and fixed + least + len("run ") <= width:
        tail[-1] = f"run {place}"
        fixed += len("run ")
    room = width - fixed - (0 if share is None else SHORTEST_BAR + 2)
    title = run.id
    if name and room >= 8:
        title += f" {name if len(name) < room else name[: room - 2] + '…'}"
    bar = ""
    if share is not None:
        length = min(LONGEST_BAR, width - fixed - (len(title) - len(run.id)) - 2)
        full = round(share * length)
        bar = f"{'━' * full}{'─' * (length - full)} " if length >= SHORTEST_BAR else ""
    return title, bar + "  ".join(tail)


def told_of(run: Run) -> str:
    """How a run ended, and what to do about it."""
    return sentences(run.message, run.hint)


def paragraphs(text: str, width: int, rows: int = 3) -> list[str]:
    """A message on as many lines as it needs, up to `rows`."""
    flat = " ".join(printable(text).split())
    return textwrap.wrap(flat, width, max_lines=rows, placeholder="…") if flat else []
