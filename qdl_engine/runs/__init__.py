"""Runs: detached jobs, each with a directory that is the whole truth about it."""

from qdl_engine.runs.edit import delete_run, note_run, rename_run
from qdl_engine.runs.launch import resume_run, start_job, start_run, stop_run, wait_for
from qdl_engine.runs.reader import EventTail, RunSummary, RunWatch, loss_history, summarise
from qdl_engine.runs.store import Run, create_run, get_run, list_runs, refresh_run

__all__ = [
    "EventTail",
    "Run",
    "RunSummary",
    "RunWatch",
    "create_run",
    "delete_run",
    "get_run",
    "list_runs",
    "loss_history",
    "note_run",
    "refresh_run",
    "rename_run",
    "resume_run",
    "start_job",
    "start_run",
    "stop_run",
    "summarise",
    "wait_for",
]
