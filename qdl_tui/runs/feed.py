"""Runs as the screens show them: read in a thread, only what is new, handed over as plain values."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from pathlib import Path

from qdl_engine.core.events import Evaluated
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.lab_state.stages import running_text
from qdl_engine.runs.reader import RunSummary, RunWatch, summarise
from qdl_engine.runs.store import Run, fits, list_runs, student_of


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
        eta = duration_text(summary.eta_seconds) if self.run.active else ""
        return (
            self.run.id,
            self.name_in(name_width),
            self.run.state,
            f"{stage} {progress}".strip(),
            number_text(summary.loss),
            eta,
            duration_text(self.run.seconds),
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


def duration_text(seconds: float | None) -> str:
    """`7 s`, `2:05`, `1:02:03`, `4 d 7 h`."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


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


Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class TrainingView:
    """One run as the training screen shows it."""

    run: Run
    summary: RunSummary
    series: dict[str, Points]
    """Value by step, by the names of `RunSummary`; what the run never told is not there."""
    position: int
    """Its place among the runs, 1 is the newest."""
    total: int
    beside: str = ""
    """The id of the run whose curves lie over these; empty when none does."""
    beside_series: dict[str, Points] = field(default_factory=dict)

    @property
    def held_out_at(self) -> int | None:
        """The step of the last held-out loss."""
        points = self.series.get("held_out_loss")
        return points[-1][0] if points else None


class _Curves:
    """The curves of one run, handed on as they are until they grow."""

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
    """One run under observation, and one beside it; another run begins anew."""

    def __init__(self) -> None:
        self._curves: _Curves | None = None
        self._beside: _Curves | None = None
        self._lock = threading.Lock()

    def read(self, lab: Lab, run_id: str, move: int = 0, *, beside: str = "") -> TrainingView | None:
        """The run with that id, else the one to watch.

        Args:
            lab: The lab.
            run_id: Which run; empty is the one to watch.
            move: So many runs on to older ones.
            beside: The id of a run whose curves are wanted too.
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
    """The runs that have a loss to lay over another's; not the one with the id `but`."""
    found = [(run, summarise(run)) for run in list_runs(lab) if run.id != but and run.kind != "prepare"]
    return [(run, summary) for run, summary in found if summary.loss is not None]


def _to_watch(runs: list[Run]) -> int:
    """The place of the newest run that is under way, else of the newest training, else of the newest."""
    active = (place for place, run in enumerate(runs) if run.active)
    trainings = (place for place, run in enumerate(runs) if run.kind == "train")
    return next(active, next(trainings, 0))
