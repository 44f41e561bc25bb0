"""The demo's report: figures with their uncertainty, as JSON and as a table."""

import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qdl_engine.compare.evaluate import wilson_interval
from qdl_engine.core.lab import Lab
from qdl_engine.demo.exam import Marks

HONESTY: Final = (
    "The demo's models know their little world (sums, sorting, spelling, capitals,\n"
    "days) and nothing else. Figures are exact match on held-out questions that no\n"
    "model was trained on, with the 95 % interval in brackets."
)


@dataclass(frozen=True)
class Score:
    """Right answers out of so many."""

    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return wilson_interval(self.right, self.asked)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{_percent(self.accuracy)} ({100 * low:.0f}-{100 * high:.0f} %)"


def score(marks: Marks, tasks: Iterable[str] | None = None) -> Score:
    """The score over some tasks, or over all."""
    chosen = list(marks.asked if tasks is None else tasks)
    return Score(sum(marks.right[task] for task in chosen), sum(marks.asked[task] for task in chosen))


@dataclass(frozen=True)
class ModelFigures:
    """One model: how well and how fast it answers, and how big it is."""

    marks: Marks
    bytes: int
    before: Marks | None = None
    """A student's marks before distillation."""
    simple: tuple[str, ...] = ()
    """Tasks that suit a model that does not reason."""

    @property
    def tokens_per_second(self) -> float:
        """Batched, on one thread."""
        return self.marks.tokens / self.marks.seconds

    @property
    def tokens_per_answer(self) -> float:
        """Reasoning included."""
        return self.marks.tokens / sum(self.marks.asked.values())

    def as_dict(self) -> dict[str, Any]:
        """The figures for `--json`; `accuracy` or `before` and `after` are fractions."""
        now = score(self.marks)
        tasks = {task: Score(self.marks.right[task], n).accuracy for task, n in self.marks.asked.items()}
        figures: dict[str, Any] = {
            "interval": now.interval,
            "questions": now.asked,
            "tasks": tasks,
            "tokens_per_second": round(self.tokens_per_second, 1),
            "tokens_per_answer": round(self.tokens_per_answer, 1),
            "parameters": self.marks.parameters,
            "bytes": self.bytes,
        }
        if self.before is None:
            return {"accuracy": now.accuracy, **figures}
        figures = {"before": score(self.before).accuracy, "after": now.accuracy, **figures}
        if self.simple:
            simple = {"before": score(self.before, self.simple), "after": score(self.marks, self.simple)}
            figures["simple"] = {name: value.accuracy for name, value in simple.items()}
        return figures


@dataclass(frozen=True)
class DemoReport:
    """The whole demo in figures."""

    directory: Path
    seconds: float
    teacher: ModelFigures
    teacher_direct: ModelFigures
    system1: ModelFigures
    system2: ModelFigures
    comparison: Path | None
    stages: Mapping[str, float]
    """Wall seconds of each stage; those of the two students overlap."""

    def as_dict(self) -> dict[str, Any]:
        """One JSON document."""
        return {
            "teacher": {**self.teacher.as_dict(), "direct": self.teacher_direct.as_dict()},
            "system1": self.system1.as_dict(),
            "system2": self.system2.as_dict(),
            "seconds": round(self.seconds, 1),
            "stages": {name: round(value, 1) for name, value in self.stages.items()},
            "lab": str(self.directory),
            "comparison": None if self.comparison is None else str(self.comparison),
            "note": HONESTY.replace("\n", " "),
        }

    def __str__(self) -> str:
        """The closing table."""
        lines = [
            f"{'':<22}{'before':>8}{'after':>20}{'tokens':>8}{'tokens/s':>10}{'size':>9}",
            _line("Teacher, reasoning", self.teacher),
            _line("Teacher, at once", self.teacher_direct),
            _line("System 1, all tasks", self.system1),
        ]
        if self.system1.simple and self.system1.before:
            before = score(self.system1.before, self.system1.simple)
            after = score(self.system1.marks, self.system1.simple)
            lines.append(f"{'System 1, simple tasks':<22}{_percent(before.accuracy):>8}{after!s:>20}")
        lines += [_line("System 2, all tasks", self.system2), ""]
        if self.system1.simple:
            lines += [f"simple tasks: {', '.join(self.system1.simple)}; most of the others need steps."]
        lines += ["tokens: of one answer, reasoning included; tokens/s: 64 answers at once."]
        lines += ["", HONESTY, f"{self.seconds:.0f} seconds. The lab is at {self.directory}"]
        lines += [f"Open it: {_app()} {Lab.at(self.directory).word}"]
        return "\n".join(lines)


def _line(name: str, figures: ModelFigures) -> str:
    before = _percent(score(figures.before).accuracy) if figures.before else ""
    speed = f"{figures.tokens_per_answer:>8.1f}{figures.tokens_per_second:>10,.0f}"
    return f"{name:<22}{before:>8}{score(figures.marks)!s:>20}{speed}{figures.bytes / 1e6:>6.1f} MB"


def _app() -> str:
    """`qdl-tui` as it can be typed here; without an activated environment it needs its path."""
    return (
        "qdl-tui" if shutil.which("qdl-tui") else shlex.quote(str(Path(sys.executable).with_name("qdl-tui")))
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
