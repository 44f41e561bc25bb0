"""What preflight found: one value for the table, the JSON and the screen of the app."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from qdl_engine.core.systems import SYSTEM_NAMES
from qdl_engine.core.words import count_text, duration, printable, size_text
from qdl_engine.preflight.fit import Cure, Disk, Verdict
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import Memory, Training
from qdl_engine.preflight.rows import RowFigures
from qdl_engine.preflight.speed import Duration
from qdl_engine.preflight.teacher import Labelling

_VERDICTS: dict[Verdict, str] = {"fits": "Fits", "tight": "Tight", "does not fit": "DOES NOT FIT"}


@dataclass(frozen=True)
class Preflight:
    """All that is known of a training before it starts."""

    lab: str
    """As `qdl --lab` takes it."""
    system: str
    student: str
    parameters: int
    trained_parameters: int
    verdict: Verdict
    hardware: Hardware
    training: Training
    batch_size: int
    memory: Memory
    rows: RowFigures
    duration: Duration
    disk: Disk
    labelling: Labelling | None = None
    cure: Cure | None = None
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else to know: the student that it replaces, the runs beside it."""

    @property
    def ready(self) -> bool:
        """Whether memory and disk have room for the training, and memory for its teacher."""
        labels = self.labelling is None or self.labelling.fits
        return self.verdict != "does not fit" and self.disk.fits and labels

    @property
    def change(self) -> str:
        """The command that makes it fit; empty where it fits already, or where none is known."""
        return f"qdl --lab {self.lab} config set {self.cure.words(self.system)}" if self.cure else ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "system": self.system,
            "student": self.student,
            "parameters": self.parameters,
            "trained_parameters": self.trained_parameters,
            "verdict": self.verdict,
            "ready": self.ready,
            "device": asdict(self.hardware),
            "training": asdict(self.training) | {"batch_size": self.batch_size},
            "memory": asdict(self.memory)
            | {"bytes": self.memory.total, "capacity_bytes": self.hardware.free},
            "rows": asdict(self.rows),
            "duration": asdict(self.duration),
            "disk": self.disk.to_dict(),
            "labelling": None if self.labelling is None else self.labelling.to_dict(),
            "cure": None if self.cure is None else asdict(self.cure) | {"command": self.change},
            "warnings": self.warnings,
            "notes": self.notes,
            "summary": self.summary(),
        }

    def summary(self) -> dict[str, str]:
        """A line of text for each thing that a person wants to know; the app shows the same lines."""
        rows, took, disk = self.rows, self.duration, self.disk
        left_out = rows.too_long_rows + rows.broken_rows
        dropped = f", {rows.dropped_tokens:,} dropped" if rows.dropped_tokens else ""
        basis = "measured in" if took.origin == "measured" else "assumes"
        guess = "" if rows.origin == "counted" else " (estimated)"
        download = f"; {size_text(disk.download)} to download" if disk.download else ""
        lines = {
            "verdict": self.verdict_text(),
            "student": self._student_text(),
            "rows": f"{rows.trained_rows:,} trained, {rows.held_out_rows:,} held out, {left_out:,} dropped; "
            f"longest {rows.longest:,} tokens",
            "tokens": f"{rows.trained_tokens:,} trained, {rows.masked_tokens:,} masked{dropped}{guess}",
            "steps": f"{rows.steps:,} ({rows.steps_per_epoch:,} an epoch), "
            f"{100 * rows.padding:.0f} % padding",
            "time": f"{duration(took.seconds)} ({took.error}; {basis} {printable(took.source)}); "
            f"{duration(took.floor_seconds)} at best",
            "disk": f"{size_text(disk.needed)} of {size_text(disk.free)} free: checkpoints "
            f"{size_text(disk.checkpoints)}, student {size_text(disk.student)}{download}",
        }
        if self.labelling is not None:
            lines["teacher"] = labelling_text(self.labelling)
        return lines

    def table(self) -> str:
        """All of it as plain text, the verdict first."""
        summary = self.summary()
        lines = [summary.pop("verdict")]
        lines += [f"{'student':<10}{summary.pop('student')}"]
        lines += [f"{'memory':<10}at its fullest, {self.memory.moment}:"]
        lines += [
            f"{'':<10}{part.name:<16}{size_text(part.bytes):>10}  {part.what}" for part in self.memory.parts
        ]
        lines += [f"{name:<10}{text}" for name, text in summary.items()]
        lines += [f"{'warning':<10}{printable(warning)}" for warning in self.warnings]
        lines += [f"{'note':<10}{printable(note)}" for note in self.notes]
        if self.cure is not None:
            lines += [f"{'cure':<10}{self.change}"]
            lines += [f"{'':<10}needs {size_text(self.cure.bytes)}: {self.cure.why}"]
        elif self.verdict == "does not fit":
            lines += [f"{'cure':<10}no settings help: choose a smaller student or a larger device"]
        return "\n".join(lines)

    def verdict_text(self) -> str:
        """`Fits: 60.8 MB of 24.5 GB RAM, libraries not counted`, and its largest part."""
        need, room = size_text(self.memory.total), size_text(self.hardware.free)
        largest = self.memory.largest
        # On a CPU a run reports the memory of its whole process, the libraries included.
        device = f"on {printable(self.hardware.name)}"
        where = device if self.hardware.is_gpu else "RAM, libraries not counted"
        most = f"largest part: {largest.name}, {size_text(largest.bytes)}"
        return f"{_VERDICTS[self.verdict]}: {need} of {room} {where}; {most}"

    def _student_text(self) -> str:
        trained = "all trained"
        if self.trained_parameters != self.parameters:
            trained = f"{count_text(self.trained_parameters)} of them trained by LoRA"
        name = f"{SYSTEM_NAMES[self.system]}, {printable(self.student)}"
        return f"{name}, {count_text(self.parameters)} parameters, {trained}"


def labelling_text(labelling: Labelling) -> str:
    """The teacher's part in one line."""
    fits = "fits" if labelling.fits else "DOES NOT FIT"
    return (
        f"{printable(labelling.teacher)} {fits}: {size_text(labelling.memory.total)} of "
        f"{size_text(labelling.capacity)}; {labelling.prompts:,} prompts in {duration(labelling.seconds)} "
        f"(estimated); {duration(labelling.floor_seconds)} at best"
    )
