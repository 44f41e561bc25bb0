"""Which runs a person means: a filter over name, id, state, kind, student and note."""

from __future__ import annotations

from qdl_engine.errors import LabError
from qdl_engine.lab import read_json
from qdl_engine.runs.store import Run


def student_of(run: Run) -> str:
    """The student that a training starts from, as its config names it; empty while there is no config."""
    if run.config is None:
        return ""
    # A copied lab holds the config under its own root.
    inside = run.lab.configs / run.config.name
    try:
        config = read_json(inside if inside.is_file() else run.config)
    except (LabError, OSError):
        return ""
    models = config.get("models") if isinstance(config, dict) else None
    student = models.get("student") if isinstance(models, dict) else None
    return student if isinstance(student, str) else ""


def fits(run: Run, wanted: str, student: str = "") -> bool:
    """Whether every word of `wanted` stands somewhere in what is known of the run, in any case."""
    known = " ".join((run.id, run.name, run.state, run.kind, run.system or "", student, run.note)).casefold()
    return all(word in known for word in wanted.casefold().split())
