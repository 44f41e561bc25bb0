"""The device that trains or answers: its precision, and what to do when its memory is full.

The one owner of these decisions: the trainer, the loading of models and preflight follow it. Importing it
costs nothing; torch is imported where a device is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Precision = Literal["fp32", "fp16", "bf16"]

_AMPERE = (8, 0)


class DeviceLike(Protocol):
    """What decides the precision: of this machine, of another interpreter, or of a table of hardware."""

    @property
    def name(self) -> str: ...
    @property
    def is_gpu(self) -> bool: ...
    @property
    def has_bf16(self) -> bool: ...


@dataclass(frozen=True)
class Device:
    """What trains."""

    kind: Literal["cpu", "cuda", "mps"]
    name: str
    has_bf16: bool

    @property
    def is_gpu(self) -> bool:
        """Whether it is a CUDA device; Apple GPUs do not count."""
        return self.kind == "cuda"


def keep_one_gpu(environment: MutableMapping[str, str]) -> str:
    """Without a launcher, show one GPU only: with more, the trainer would refuse to start.

    Must be called before CUDA is first touched.

    Returns:
        A note when GPUs were hidden that the caller had asked for; else an empty string.
    """
    if "LOCAL_RANK" in environment:
        return ""
    visible = environment.get("CUDA_VISIBLE_DEVICES", "0")
    first, *others = visible.split(",")
    environment["CUDA_VISIBLE_DEVICES"] = first
    return f"Training on GPU {first} only. For several set runtime.launcher = accelerate." if others else ""


def find_device(use_cpu: bool = False) -> Device:
    """The device that training will use."""
    import torch

    launched_on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if use_cpu or launched_on_cpu:
        return Device("cpu", "CPU", False)
    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.get_device_name(), torch.cuda.get_device_capability() >= _AMPERE)
    if torch.backends.mps.is_available():
        return Device("mps", "Apple GPU", False)
    return Device("cpu", "CPU", False)


def choose_precision(wanted: str, device: DeviceLike) -> tuple[Precision, str]:
    """The precision for a device, and a note when it is not the one asked for.

    Args:
        wanted: What a recipe or a config says: auto, fp32, fp16 or bf16.
        device: What trains or answers.
    """
    if not device.is_gpu:
        # bf16 on a CPU without bf16 instructions trains about ten times slower than fp32.
        note = f"Training in fp32: {wanted} is for a GPU." if wanted in ("fp16", "bf16") else ""
        return "fp32", note
    if wanted == "auto":
        return ("bf16" if device.has_bf16 else "fp16"), ""
    if wanted == "bf16" and not device.has_bf16:
        return "fp16", f"Training in fp16: {device.name} has no bf16."
    precisions: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
    return precisions[wanted], ""


def torch_dtype(precision: Precision) -> Any:
    """A precision as torch names it."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def pick_device(device: str = "auto") -> str:
    """`auto` made definite: the first GPU, or the CPU of a machine without one."""
    import torch

    if device != "auto":
        return device
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def pick_dtype(device: str) -> Any:
    """What a model answers in on a device that torch names, such as `cuda:0`."""
    import torch

    on_gpu = device.startswith("cuda")
    has_bf16 = on_gpu and torch.cuda.get_device_capability(device) >= _AMPERE
    precision, _ = choose_precision("auto", Device("cuda" if on_gpu else "cpu", device, has_bf16))
    return torch_dtype(precision)


_FULL = ("out of memory", "alloc_failed", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or on the CPU; on some paths torch says so only in its message."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error).lower() for mark in _FULL)


def lora_settings() -> dict[str, Any]:
    """The recipe's settings that train a small part, which needs little memory for gradients and moments."""
    from qdl_engine.settings.presets import LORA

    return {"lora_rank": int(LORA["lora_rank"]), "learning_rate": float(LORA["learning_rate"])}


class MemorySettings(Protocol):
    """What of a recipe decides how much memory a training needs; `RecipeSettings` has it."""

    @property
    def batch_size(self) -> int: ...
    @property
    def gradient_accumulation(self) -> int: ...
    @property
    def gradient_checkpointing(self) -> bool: ...
    @property
    def lora_rank(self) -> int: ...
    @property
    def max_length(self) -> int: ...


def memory_cures(recipe: MemorySettings, *, on_gpu: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Changes of a recipe under which it needs less memory, the mildest first, each with what it costs."""
    batches = list(_smaller_batches(recipe))
    yield from ((batch, "the same rows a step, in smaller passes") for batch in batches)
    more: dict[str, Any] = {}
    if on_gpu and not recipe.gradient_checkpointing:
        more = {"gradient_checkpointing": True}
        for batch in ({}, *batches):
            yield batch | more, "recomputes activations, about a third slower"
    if not recipe.lora_rank:
        more = more | lora_settings()
        for batch in ({}, *batches):
            yield batch | more, "LoRA: only a small part needs gradients and moments"
    smallest = batches[-1] if batches else {}
    length = recipe.max_length // 2
    while length >= 128:
        yield smallest | more | {"max_length": length}, "drops longer rows"
        length //= 2


def cure_of_a_full_memory(recipe: MemorySettings, *, on_gpu: bool) -> dict[str, Any]:
    """The changes to try when memory ran out and it is unknown by how much.

    First a smaller batch and checkpointing, which keep the rows per step and train all weights; when neither
    is left, LoRA; with LoRA, shorter rows.
    """
    changes = dict(next(_smaller_batches(recipe), {}))
    if on_gpu and not recipe.gradient_checkpointing:
        changes["gradient_checkpointing"] = True
    if not changes:
        changes = {"max_length": max(16, recipe.max_length // 2)} if recipe.lora_rank else lora_settings()
    return changes


def _smaller_batches(recipe: MemorySettings) -> Iterator[dict[str, Any]]:
    """Smaller batches that make the same effective batch, the largest first."""
    effective = recipe.batch_size * recipe.gradient_accumulation
    for size in range(recipe.batch_size - 1, 0, -1):
        if effective % size == 0:
            yield {"batch_size": size, "gradient_accumulation": effective // size}
