"""What a training meets in its lab: the student in its place, and the runs that work beside it."""

from __future__ import annotations

from collections.abc import Iterator

from qdl_engine.checkpoint_record import trained_by
from qdl_engine.lab import Lab
from qdl_engine.outputs import previous_place
from qdl_engine.runs.record import number_of
from qdl_engine.runs.store import list_runs
from qdl_engine.stages import DOING, checkpoint_ready


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
            doing = f"run {number_of(run.id)} is {DOING.get(run.kind, f'under way ({run.kind})')}"
            same = run.writes_to(lab.checkpoint(system))
            yield f"{doing} this student: it ends first" if same else f"{doing}: both will be slower"
