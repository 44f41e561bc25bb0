"""Disk that a training writes: checkpoints to resume from, the student, and what must be downloaded first."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qdl_engine.lab import Lab
from qdl_engine.preflight.memory import Training
from qdl_engine.preflight.rows import RowFigures
from qdl_engine.preflight.shape import ModelShape, cached_file
from qdl_engine.settings import RecipeSettings

_BESIDE = 16_000_000
"""Tokenizer, schedule, log and events beside the weights."""


@dataclass(frozen=True)
class Disk:
    """Bytes to be written, and bytes that are free where they go."""

    checkpoint: int
    """One checkpoint to resume from: weights and moments."""
    checkpoints: int
    """All of them at once, the new one beside those kept."""
    student: int
    """The final checkpoint, and the one before it that is kept aside."""
    free: int
    download: int
    """Models that are not on this machine yet."""
    download_free: int

    @property
    def needed(self) -> int:
        return self.checkpoints + self.student

    @property
    def fits(self) -> bool:
        """Whether there is room; a download may share the lab's disk."""
        return self.needed <= self.free and self.download <= self.download_free

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"needed": self.needed, "fits": self.fits}


def disk_use(
    lab: Lab,
    shape: ModelShape,
    training: Training,
    recipe: RecipeSettings,
    figures: RowFigures,
    download: int,
) -> Disk:
    """What a training writes at most."""
    trained = shape.lora_parameters(training.lora_rank) if training.lora_rank else shape.parameters
    checkpoint = 12 * trained + _BESIDE
    written = figures.steps // recipe.save_steps + 1  # one more when it is stopped, or at the end
    kept = min(written, recipe.save_total_limit + 1)
    return Disk(
        checkpoint=checkpoint,
        checkpoints=kept * checkpoint,
        student=shape.dtype_bytes * shape.parameters + _BESIDE,
        free=free_bytes(lab.root),
        download=download,
        download_free=free_bytes(hub_cache()),
    )


def hub_cache() -> Path:
    """Where the hub's client puts what it downloads; its own variables decide."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()


def free_bytes(path: Path) -> int:
    """Free bytes of the disk that `path` lies on, or will lie on."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def download_bytes(shape: ModelShape) -> int:
    """Bytes of weights that must come from the hub; 0 when the weights lie here."""
    for file in ("model.safetensors", "model.safetensors.index.json"):
        if cached_file(shape.name, file) is not None:
            return 0
    return 0 if shape.origin == "local" else shape.dtype_bytes * shape.parameters
