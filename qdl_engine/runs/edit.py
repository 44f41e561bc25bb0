"""Rename a run, write its note, delete it, and tell in advance what deleting it loses."""

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
    """What deleting a run removes and keeps."""

    run_id: str
    size: int
    """Bytes in its directory."""
    checkpoints: int
    """Checkpoints to resume from; only a run that ended early has any."""
    student: str
    """The student that the run trained, if the lab still has it; else empty."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """The text of the question before the deletion."""
        saved = f"{self.checkpoints} checkpoint{'' if self.checkpoints == 1 else 's'} to resume from"
        parts = f"its log, its figures and {saved}" if self.checkpoints else "its log and its figures"
        text = f"Deletes {parts} ({size_text(self.size)})."
        if not self.student:
            return text
        return f"{text}\nKeeps its student ({self.student}), without the record of how it was trained."


def rename_run(run: Run, name: str) -> Run:
    """Give a run a name; an empty one removes the name. A running run works on undisturbed.

    Raises:
        RunError: when the name is longer than `LONGEST_NAME` or more than one line.
    """
    name = name.strip()
    if len(name) > LONGEST_NAME or "\n" in name:
        raise RunError(
            f"A name is one line of at most {LONGEST_NAME} characters", "Put longer text in the note."
        )
    return _write_about(run, name=name)


def note_run(run: Run, note: str) -> Run:
    """Write a run's note; an empty one removes the note."""
    return _write_about(run, note=note.strip())


def _write_about(run: Run, **changes: str) -> Run:
    with store_lock(run.lab):
        current = replace(refresh_run(run), **changes)  # type: ignore[arg-type]
        write_json_atomic(current.about_file, {"name": current.name, "note": current.note})
    return current


def deletion(run: Run) -> Deletion:
    """What deleting `run` would remove and keep."""
    files = [path for path in run.directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return Deletion(
        run_id=run.id,
        size=sum(path.stat().st_size for path in files),
        checkpoints=len(list(run.directory.glob("checkpoints/checkpoint-*"))),
        student=run.output_dir.name if run.output_dir is not None and made_student(run) else "",
    )


def made_student(run: Run) -> bool:
    """Whether this run trained the lab's student: by the student's record, else as the newest run done."""
    if run.output_dir is None or not checkpoint_ready(run.lab.root / run.output_dir.name):
        return False
    maker = trained_by(run.lab.root / run.output_dir.name)
    if maker is not None:
        return maker == run.id
    done = (other for other in list_runs(run.lab) if other.state == "done")
    newest = next((other for other in done if other.output_dir == run.output_dir), None)
    return newest is not None and newest.id == run.id


def delete_run(run: Run) -> None:
    """Delete a run's directory and keep its student. An unreadable record does not prevent that.

    Raises:
        RunError: when the run is running.
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
