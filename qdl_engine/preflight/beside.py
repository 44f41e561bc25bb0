"""What a training meets in its lab: the student in its place, and the runs that work beside it."""

from __future__ import annotations

from collections.abc import Iterator

from qdl_engine.checkpoint_record import trained_by
from qdl_engine.lab import Lab
from qdl_engine.outputs import previous_place
from qdl_engine.runs.store import Run, list_runs
from qdl_engine.stages import checkpoint_ready

_DOES = {"train": "training", "label": "labelling", "prepare": "preparing"}


def student_in_place(lab: Lab, system: str) -> str:
    """Which student stands where the new one goes, and what becomes of it; empty when none does."""
    place = lab.checkpoint(system)
    if not checkpoint_ready(place):
        return ""
    maker = trained_by(place)
    whose = f"The student of run {number_of(maker)}" if maker else "The student that is there"
    previous = previous_place(place)
    gone = " (the older one goes)" if previous.exists() else ""
    return f"{whose} is kept as {previous.name}{gone}"


def runs_beside(lab: Lab, system: str) -> Iterator[str]:
    """The runs under way in this lab, on this machine; one that trains the same student is in the way."""
    for run in list_runs(lab):
        if run.active:
            doing = f"run {number_of(run.id)} is {_DOES.get(run.kind, f'under way ({run.kind})')}"
            same = _writes(run, lab, system)
            yield f"{doing} this student: it ends first" if same else f"{doing}: both will be slower"


def _writes(run: Run, lab: Lab, system: str) -> bool:
    return run.output_dir is not None and run.output_dir.resolve() == lab.checkpoint(system).resolve()


def number_of(run_id: str) -> str:
    """The number of a run, which is enough to tell it by."""
    return run_id.partition("-")[0]
