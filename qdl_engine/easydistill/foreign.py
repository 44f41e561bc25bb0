"""A foreign config run here: from the teacher's answers to the config that the trainer takes."""

from __future__ import annotations

from pathlib import Path

from qdl_engine.easydistill.convert import rows_to_train, write_training_config
from qdl_engine.easydistill.imports import Imported
from qdl_engine.events import EventSink, make_event
from qdl_engine.lab import Lab
from qdl_engine.settings import LabSettings


def make_ready(
    job: Imported, lab: Lab, settings: LabSettings, workspace: Path, config: Path, on_event: EventSink
) -> Path:
    """Label what has no answers, and write the config to train from.

    Args:
        job: A job that trains.
        lab: Holds the answers of the teacher, so that a killed labelling goes on at the row.
        settings: Of the lab.
        workspace: A directory of the run's own.
        config: Where the config goes.
        on_event: Takes the progress.

    Returns:
        `config`.
    """
    for note in job.notes:
        on_event(make_event("note", message=note))
    labeled = rows_to_train(job, workspace / "labeled.json")
    if labeled != job.rows:
        on_event(make_event("note", message="The column input is merged into instruction."))
    return write_training_config(job, lab, labeled, config)
