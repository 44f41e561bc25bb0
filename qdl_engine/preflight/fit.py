"""Whether a training fits into memory and onto the disk, and the nearest settings that do."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from qdl_engine.core.lab import Lab
from qdl_engine.models.device import choose_precision, memory_cures
from qdl_engine.models.shape import ModelShape, cached_file
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import Memory, Pass, Training, training_memory
from qdl_engine.preflight.rows import RowFigures, Rows
from qdl_engine.settings import RecipeSettings

Verdict = Literal["fits", "tight", "does not fit"]

TIGHT = 0.9
"""Share of the memory above which the error of the prediction can decide whether it fits."""
_BESIDE = 16_000_000
"""Bytes of tokenizer, schedule, log and events beside the weights."""


def training_of(recipe: RecipeSettings, hardware: Hardware) -> Training:
    """What the recipe means on a device, as the trainer decides it."""
    return Training(
        device=hardware.kind,
        precision=choose_precision(recipe.precision, hardware)[0],
        lora_rank=recipe.lora_rank,
        checkpointing=recipe.gradient_checkpointing and hardware.is_gpu,
        accumulation=recipe.gradient_accumulation,
        devices=hardware.count,
    )


def verdict_of(total: int, capacity: int) -> Verdict:
    """Whether `total` bytes fit into `capacity`."""
    if total > capacity:
        return "does not fit"
    return "tight" if total > TIGHT * capacity else "fits"


def recipe_memory(shape: ModelShape, recipe: RecipeSettings, rows: Rows, hardware: Hardware) -> Memory:
    """The memory of the fullest pass that the recipe forms."""
    training = training_of(recipe, hardware)
    passes = rows.passes(recipe, hardware.count) or [Pass(recipe.batch_size, recipe.max_length, 0)]
    # The largest pass decides, or the one with the most answer tokens, which need logits.
    fullest = max(passes, key=lambda batch: batch.tokens), max(passes, key=lambda batch: batch.trained)
    return max(
        (training_memory(shape, training, batch) for batch in fullest), key=lambda memory: memory.total
    )


@dataclass(frozen=True)
class Cure:
    """Settings of the recipe under which it fits."""

    changes: dict[str, Any]
    bytes: int
    why: str

    def words(self, system: str) -> str:
        """As `qdl config set` takes them."""
        return " ".join(f"{system}.{key}={str(value).lower()}" for key, value in self.changes.items())


def find_cure(shape: ModelShape, recipe: RecipeSettings, rows: Rows, hardware: Hardware) -> Cure | None:
    """The mildest change under which the recipe fits and is not tight; None where no change is enough."""
    for changes, why in memory_cures(recipe, on_gpu=hardware.is_gpu):
        changed = recipe.model_copy(update=changes)
        total = recipe_memory(shape, changed, rows.within(changed.max_length), hardware).total
        if total <= TIGHT * hardware.free:
            return Cure(changes, total, why)
    return None


@dataclass(frozen=True)
class Disk:
    """Bytes that a training writes at most, and bytes that are free where they go."""

    checkpoint: int
    """One checkpoint to resume from: weights and moments."""
    checkpoints: int
    """All that exist at once: those kept, and the new one."""
    student: int
    """The final checkpoint."""
    free: int
    download: int
    """Models that are not on this machine yet."""
    download_free: int

    @property
    def needed(self) -> int:
        """Bytes that the training writes at most at one time."""
        return self.checkpoints + self.student

    @property
    def fits(self) -> bool:
        """Whether both disks have room; a download may go to another disk than the lab's."""
        return self.needed <= self.free and self.download <= self.download_free

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"needed": self.needed, "fits": self.fits}


def disk_use(lab: Lab, shape: ModelShape, recipe: RecipeSettings, figures: RowFigures, download: int) -> Disk:
    """What a training writes, beside `download` bytes of models."""
    checkpoint = 12 * shape.trained_parameters(recipe.lora_rank) + _BESIDE
    written = figures.steps // recipe.save_steps + 1  # one more when it stops, or at the end
    return Disk(
        checkpoint=checkpoint,
        checkpoints=min(written, recipe.save_total_limit + 1) * checkpoint,
        student=shape.dtype_bytes * shape.parameters + _BESIDE,
        free=free_bytes(lab.root),
        download=download,
        download_free=free_bytes(_hub_cache()),
    )


def download_bytes(shape: ModelShape) -> int:
    """Bytes of weights that must come from the hub; 0 where they are on this machine."""
    for file in ("model.safetensors", "model.safetensors.index.json"):
        if cached_file(shape.name, file) is not None:
            return 0
    return 0 if shape.origin == "local" else shape.dtype_bytes * shape.parameters


def _hub_cache() -> Path:
    """Where the hub's client keeps its downloads."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist yet."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free
