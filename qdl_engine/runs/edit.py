"""Rename a run, write a note on it, delete it, and say beforehand what that costs."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from typing import Any

from qdl_engine.core.errors import LabError, RunError
from qdl_engine.core.lab import write_json_atomic
from qdl_engine.core.words import size_text
from qdl_engine.models.checkpoint import checkpoint_ready, trained_by
from qdl_engine.runs.store import Run, list_runs, refresh_run, store_lock

LONGEST_NAME = 80


@dataclass(frozen=True)
class Deletion:
    """What goes with a run, and what stays."""

    run_id: str
    size: int
    """Bytes of its directory."""
    checkpoints: int
    """Checkpoints to resume from, which only a run that did not end has."""
    student: str
    """The student that it made and that is there still; empty when there is none."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """In words, for the question that is asked first."""
        goes = "Its log and its figures go"
        if self.checkpoints:
            noun = "checkpoint" if self.checkpoints == 1 else "checkpoints"
            goes += f", and {self.checkpoints} {noun} to resume from"
        lines = [f"{goes} ({size_text(self.size)})."]
        if self.student:
            lines.append(f"The student it made stays ({self.student}); how it was trained is then lost.")
        return "\n".join(lines)


def rename_run(run: Run, name: str) -> Run:
    """Give a run a name; an empty one takes it away. A run that goes on is not touched by it.

    Raises:
        RunError: when the name is longer than `LONGEST_NAME` or more than one line.
    """
    name = name.strip()
    if len(name) > LONGEST_NAME or "\n" in name:
        raise RunError(f"A name is one line of at most {LONGEST_NAME} characters", "Write more in a note.")
    return _write_about(run, name=name)


def note_run(run: Run, note: str) -> Run:
    """Write a note on a run; an empty one takes it away."""
    return _write_about(run, note=note.strip())


def _write_about(run: Run, **changes: str) -> Run:
    with store_lock(run.lab):
        current = replace(refresh_run(run), **changes)  # type: ignore[arg-type]
        write_json_atomic(current.about_file, {"name": current.name, "note": current.note})
    return current


def deletion(run: Run) -> Deletion:
    """What deleting `run` would take, and leave."""
    files = [path for path in run.directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return Deletion(
        run_id=run.id,
        size=sum(path.stat().st_size for path in files),
        checkpoints=len(list(run.directory.glob("checkpoints/checkpoint-*"))),
        student=run.output_dir.name if run.output_dir is not None and made_student(run) else "",
    )


def made_student(run: Run) -> bool:
    """Whether the student in the lab is this run's: as its record says, else as the newest that was done."""
    if run.output_dir is None or not checkpoint_ready(run.lab.root / run.output_dir.name):
        return False
    maker = trained_by(run.lab.root / run.output_dir.name)
    if maker is not None:
        return maker == run.id
    done = (other for other in list_runs(run.lab) if other.state == "done")
    newest = next((other for other in done if other.output_dir == run.output_dir), None)
    return newest is not None and newest.id == run.id


def delete_run(run: Run) -> None:
    """Remove a run's directory; its student stays. One whose record cannot be read can be deleted too.

    Raises:
        RunError: while it is running.
    """
    with store_lock(run.lab):
        try:
            active = refresh_run(run).active
        except LabError:
            active = False
        if active:
            raise RunError(
                f"Run {run.id} is still running", f"Stop it first: qdl --lab {run.lab.word} stop {run.id}"
            )
        shutil.rmtree(run.directory)
