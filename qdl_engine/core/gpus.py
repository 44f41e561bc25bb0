"""The GPUs of this machine as `nvidia-smi` tells of them; where there is none, there are none. No torch."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

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


def read_gpus() -> list[Gpu]:
    """All GPUs of the machine; none when `nvidia-smi` is missing or fails."""
    rows = ask("--query-gpu=index,uuid,utilization.gpu,memory.used,memory.total,name")
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


def visible(gpus: list[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves, in its order; it holds indices, or beginnings of uuids."""
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return gpus
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    return [gpu for word in words for gpu in gpus if word == gpu.index or gpu.uuid.startswith(word)]


def ask(query: str) -> list[list[str]]:
    """The rows that `nvidia-smi` answers to one `--query-...`, cell by cell; none when it fails."""
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
