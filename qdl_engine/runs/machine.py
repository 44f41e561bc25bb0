"""What the GPUs do while a run goes on, asked of `nvidia-smi`; where there is none, nothing is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qdl_engine.events import append_event, make_event

EVERY_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU at one moment."""

    index: str
    uuid: str
    name: str
    use: float | None
    """Share of the time in which it computed, 0 to 1; None where it does not say (MIG)."""
    memory_used: int | None
    """Bytes, of all programs."""
    memory_total: int | None


def watch_gpus(
    events_file: Path, leader: int, ended: threading.Event, *, every: float = EVERY_SECONDS
) -> None:
    """Add a `machine` event now and then until `ended`, or until the GPUs do not answer any more.

    Args:
        events_file: Where the run's events are.
        leader: The process whose group is the run, to tell its GPUs from those of others.
        ended: Set when the run is over.
        every: Seconds between two looks.
    """
    if shutil.which("nvidia-smi") is None:
        return
    while not ended.wait(every):
        event = machine_event(leader, os.environ)
        if event is None:
            return
        append_event(events_file, event)


def machine_event(leader: int, environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The state of the GPUs that the run uses; None when none can be asked."""
    gpus = _of_run(_visible(read_gpus(), environment), leader)
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


def read_gpus() -> list[Gpu]:
    """All GPUs of the machine; none when `nvidia-smi` is missing or fails."""
    rows = _ask("--query-gpu=index,uuid,utilization.gpu,memory.used,memory.total,name")
    return [
        Gpu(
            index=row[0],
            uuid=row[1],
            name=", ".join(row[5:]),
            use=None if (use := _number(row[2])) is None else use / 100,
            memory_used=_bytes(row[3]),
            memory_total=_bytes(row[4]),
        )
        for row in rows
        if len(row) >= 6
    ]


def _visible(gpus: list[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves; it holds indices, or beginnings of uuids."""
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return gpus
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    return [gpu for gpu in gpus if any(word == gpu.index or gpu.uuid.startswith(word) for word in words)]


def _of_run(gpus: list[Gpu], leader: int) -> list[Gpu]:
    """Those on which a process of the run computes.

    In a container the driver names processes by other numbers; then it is the GPU that is used most.
    """
    if len(gpus) < 2:
        return gpus
    rows = _ask("--query-compute-apps=gpu_uuid,pid")
    own = {row[0] for row in rows if len(row) == 2 and row[1].isdecimal() and _group(int(row[1])) == leader}
    found = [gpu for gpu in gpus if gpu.uuid in own]
    return found or [max(gpus, key=lambda gpu: (gpu.use or 0.0, gpu.memory_used or 0))]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _ask(query: str) -> list[list[str]]:
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[part.strip() for part in line.split(",")] for line in shown.splitlines() if line.strip()]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _bytes(text: str) -> int | None:
    number = _number(text)
    return None if number is None else int(number * _MEBIBYTE)
