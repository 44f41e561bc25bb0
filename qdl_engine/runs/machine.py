"""What the GPUs do while a run goes on, asked of `nvidia-smi`; where there is none, nothing is told."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qdl_engine.events import append_event, make_event
from qdl_engine.gpus import Gpu, ask, read_gpus, visible
from qdl_engine.runs.process import belongs

EVERY_SECONDS = 10.0
FIRST_SECONDS = 1.0
"""Before the first look: a run of a few seconds is seen too."""


def watch_gpus(
    directory: Path, events_file: Path, leader: int, ended: threading.Event, *, every: float = EVERY_SECONDS
) -> None:
    """Add a `machine` event now and then until `ended`, or until the GPUs do not answer any more.

    Args:
        directory: Where the run is.
        events_file: Where its events are.
        leader: Its program, to tell the run's GPUs from those of others.
        ended: Set when the run is over.
        every: Seconds between two looks.
    """
    if shutil.which("nvidia-smi") is None:
        return
    wait = min(FIRST_SECONDS, every)
    while not ended.wait(wait):
        wait = every
        event = machine_event(directory, leader, os.environ)
        if event is None:
            return
        append_event(events_file, event)


def machine_event(directory: Path, leader: int, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The state of the GPUs that the run uses; None when none can be asked."""
    gpus = _of_run(visible(read_gpus(), environment), directory, leader)
    uses = [gpu.use for gpu in gpus if gpu.use is not None]
    memory = [gpu.memory_used for gpu in gpus if gpu.memory_used is not None]
    if not gpus:
        return None
    return make_event(
        "machine",
        gpu_use=sum(uses) / len(uses) if uses else None,
        gpu_memory_bytes=sum(memory) if memory else None,
        gpus=[asdict(gpu) for gpu in gpus],
    )


def _of_run(gpus: list[Gpu], directory: Path, leader: int) -> list[Gpu]:
    """Those on which a process of the run computes.

    In a container the driver names processes by other numbers; then it is the GPU that is used most.
    """
    if len(gpus) < 2:
        return gpus
    rows = ask("--query-compute-apps=gpu_uuid,pid")
    own = {
        row[0]
        for row in rows
        if len(row) == 2 and row[1].isdecimal() and belongs(int(row[1]), leader, directory)
    }
    found = [gpu for gpu in gpus if gpu.uuid in own]
    return found or [max(gpus, key=lambda gpu: (gpu.use or 0.0, gpu.memory_used or 0))]
