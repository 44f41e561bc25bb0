"""Disk that a training writes: checkpoints to resume from, the student, and what must be downloaded first.

Whether it fits, and the nearest settings that do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from qdl_engine.core.lab import Lab
from qdl_engine.models.shape import ModelShape, cached_file
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import Memory, Pass, Precision, Training, training_memory
from qdl_engine.preflight.rows import RowFigures, Rows, fullest
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


Verdict = Literal["fits", "tight", "does not fit"]

TIGHT = 0.9
"""Share of the memory from which on a prediction may be wrong in what matters."""
_LORA = {"lora_rank": 16, "learning_rate": 2e-4}


@dataclass(frozen=True)
class Cure:
    """Settings of the recipe under which it fits."""

    changes: dict[str, Any]
    bytes: int
    why: str

    def words(self, system: str) -> str:
        """As `qdl config set` takes them."""
        return " ".join(f"{system}.{key}={str(value).lower()}" for key, value in self.changes.items())


def verdict_of(total: int, capacity: int) -> Verdict:
    if total > capacity:
        return "does not fit"
    return "tight" if total > TIGHT * capacity else "fits"


def training_of(recipe: RecipeSettings, hardware: Hardware) -> Training:
    """What the recipe means on a device, as `trainer/device.py` and `trainer/plan.py` decide it."""
    return Training(
        device=hardware.kind,
        precision=_precision(recipe.precision, hardware),
        lora_rank=recipe.lora_rank,
        checkpointing=recipe.gradient_checkpointing and hardware.is_gpu,
        accumulation=recipe.gradient_accumulation,
        devices=hardware.count,
    )


def _precision(wanted: str, hardware: Hardware) -> Precision:
    if not hardware.is_gpu or wanted == "fp32":
        return "fp32"
    if wanted == "fp16" or not hardware.has_bf16:
        return "fp16"
    return "bf16"


def recipe_memory(shape: ModelShape, recipe: RecipeSettings, rows: Rows, hardware: Hardware) -> Memory:
    """The memory of the fullest pass that the recipe forms."""
    training = training_of(recipe, hardware)
    formed = rows.passes(recipe.batch_size, recipe.gradient_accumulation, hardware.count)
    candidates = fullest(formed) or [Pass(recipe.batch_size, recipe.max_length, 0)]
    return max(
        (training_memory(shape, training, batch) for batch in candidates), key=lambda memory: memory.total
    )


def find_cure(shape: ModelShape, recipe: RecipeSettings, rows: Rows, hardware: Hardware) -> Cure | None:
    """The first change, the mildest first, under which the recipe fits with room; None when none does."""
    for changes, why in _changes(recipe, hardware):
        changed = recipe.model_copy(update=changes)
        total = recipe_memory(shape, changed, _rows_within(rows, changed.max_length), hardware).total
        if total <= TIGHT * hardware.free:
            return Cure(changes, total, why)
    return None


def _changes(recipe: RecipeSettings, hardware: Hardware) -> Iterator[tuple[dict[str, Any], str]]:
    same = "the same rows a step, in smaller passes"
    yield from ((batch, same) for batch in _smaller_batches(recipe))
    more: dict[str, Any] = {}
    if hardware.is_gpu and not recipe.gradient_checkpointing:
        more = {"gradient_checkpointing": True}
        for batch in ({}, *_smaller_batches(recipe)):
            yield batch | more, "activations recomputed, slower by about a third"
    if not recipe.lora_rank:
        for batch in ({}, *_smaller_batches(recipe)):
            yield batch | more | _LORA, "LoRA: a small part is trained, and needs gradients and moments"
        more = more | _LORA
    smallest = [*_smaller_batches(recipe)][-1:] or [{}]
    length = recipe.max_length // 2
    while length >= 128:
        yield smallest[0] | more | {"max_length": length}, "longer rows are dropped"
        length //= 2


def _smaller_batches(recipe: RecipeSettings) -> Iterator[dict[str, Any]]:
    """Smaller batches that make the same effective batch, the largest first."""
    effective = recipe.batch_size * recipe.gradient_accumulation
    for size in range(recipe.batch_size - 1, 0, -1):
        if effective % size == 0:
            yield {"batch_size": size, "gradient_accumulation": effective // size}


def _rows_within(rows: Rows, max_length: int) -> Rows:
    return replace(rows, kept=[place for place in rows.kept if rows.total(place) <= max_length])
