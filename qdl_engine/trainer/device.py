"""Device, precision, and what to do when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from qdl_engine.config.easydistill import TrainConfig

Precision = Literal["fp32", "fp16", "bf16"]
_AMPERE = (8, 0)


@dataclass(frozen=True)
class Device:
    """What trains."""

    kind: Literal["cpu", "cuda", "mps"]
    name: str
    has_bf16: bool

    @property
    def is_gpu(self) -> bool:
        return self.kind == "cuda"


def keep_one_gpu(environment: MutableMapping[str, str]) -> str:
    """Without a launcher, show one GPU only: with more, the trainer would refuse to start.

    Must be called before CUDA is first touched.

    Returns:
        A note when GPUs were hidden that the caller had asked for; else an empty string.
    """
    if "LOCAL_RANK" in environment:
        return ""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        environment["CUDA_VISIBLE_DEVICES"] = "0"
        return ""
    first = visible.split(",")[0]
    environment["CUDA_VISIBLE_DEVICES"] = first
    return (
        f"Training on GPU {first} only. For several set runtime.launcher = accelerate."
        if "," in visible
        else ""
    )


def find_device(use_cpu: bool = False) -> Device:
    """The device that training will use."""
    launched_on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if torch.cuda.is_available() and not use_cpu and not launched_on_cpu:
        return Device("cuda", torch.cuda.get_device_name(), torch.cuda.get_device_capability() >= _AMPERE)
    if torch.backends.mps.is_available() and not use_cpu and not launched_on_cpu:
        return Device("mps", "Apple GPU", False)
    return Device("cpu", "CPU", False)


def choose_precision(wanted: str, device: Device) -> tuple[Precision, str]:
    """The precision for a device, and a note when it is not the one asked for.

    `wanted` is what a config says: auto, fp32, fp16 or bf16.
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def smaller_settings(training: Mapping[str, Any], lora_rank: int, device: Device) -> dict[str, Any]:
    """The recipe's settings that need less memory and train the same number of rows per step."""
    batch = int(training.get("per_device_train_batch_size", 8))
    passes = int(training.get("gradient_accumulation_steps", 1))
    smaller: dict[str, Any] = {}
    if batch > 1:
        smaller["batch_size"] = batch // 2
        smaller["gradient_accumulation"] = -(-batch * passes // (batch // 2))
    if device.is_gpu and not training.get("gradient_checkpointing"):
        smaller["gradient_checkpointing"] = True
    if not smaller and not lora_rank:
        smaller |= {"lora_rank": 16, "learning_rate": 2e-4}
    if not smaller:
        smaller["max_length"] = max(16, int(training.get("max_length") or 1024) // 2)
    return smaller


def out_of_memory_cure(config: TrainConfig, device: Device) -> tuple[str, dict[str, Any]]:
    """What a person should change, as a sentence and as settings."""
    settings = smaller_settings(config.training, config.extras.lora.rank, device)
    table = config.extras.system or "qdl.toml"
    wanted = ", ".join(f"{key} = {str(value).lower()}" for key, value in settings.items())
    hint = f"Set in [{table}]: {wanted}."
    if "lora_rank" not in settings and not config.extras.lora.rank:
        hint += " If that is not enough: lora_rank = 16 with learning_rate = 2e-4, which trains a small part."
    return hint, settings
