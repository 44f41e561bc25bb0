"""Runs: detached jobs, each with a directory that is the whole truth about it.

Names are imported when they are first used: the app's first paint waits for `runs.store` alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_HOMES = ("store", "reader", "launch", "edit")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
