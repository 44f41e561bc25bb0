"""Labelling by a teacher on this machine: its memory, and how long it writes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import CPU_LIBRARIES, CUDA_CONTEXT, Memory, Part
from qdl_engine.preflight.shape import ModelShape
from qdl_engine.settings import TeacherSettings

_BYTES_PER_WEIGHT = {"8bit": 1.0, "4bit": 0.5625, "bf16": 2.0}
"""Of a matrix in a layer: 4bit has a scale in fp32 for each 64 weights. The output layer stays 16 bits."""
SECONDS_PER_LAYER = {"8bit": 5.5e-3, "4bit": 2.4e-3, "bf16": 1.2e-3}
"""Of one decoding step through Hugging Face's `generate`, which waits for kernels, not for memory. Published
measurements of a 7B on an RTX 3090: 155 ms a token in 8 bits, 33 ms in 16 bits; 4 bits lies between."""

_CPU_SECONDS_PER_LAYER = 0.33e-3
_CPU_UTILISATION = 0.40


@dataclass(frozen=True)
class Labelling:
    """What a teacher needs to write the answers."""

    teacher: str
    memory: Memory
    capacity: int
    prompts: int
    tokens: int
    """Answer tokens to be written, an estimate."""
    floor_seconds: float
    """Reading the weights and the keys and values once a step, at the device's bandwidth."""
    seconds: float

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.capacity

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"fits": self.fits, "bytes": self.memory.total}


def teacher_weights(shape: ModelShape, settings: TeacherSettings, hardware: Hardware) -> int:
    """Bytes of a teacher's weights in its quantisation; embedding and output layer stay whole."""
    whole = _whole(settings, hardware)
    each = whole if settings.quantization == "none" else _BYTES_PER_WEIGHT[settings.quantization]
    return round(each * shape.linear + whole * (shape.parameters - shape.linear))


def _whole(settings: TeacherSettings, hardware: Hardware) -> int:
    """Bytes of a weight that is not quantised."""
    return 2 if hardware.is_gpu or settings.quantization == "bf16" else 4


def teacher_memory(
    shape: ModelShape, settings: TeacherSettings, hardware: Hardware, prompt: int, answer: int
) -> Memory:
    """Weights in their quantisation, keys and values of a whole batch, logits of one step.

    Args:
        shape: The teacher.
        settings: Its quantisation and batch.
        hardware: Where it answers.
        prompt: Tokens of the longest prompt.
        answer: Tokens of the longest answer.
    """
    whole = _whole(settings, hardware)
    batch = settings.batch_size
    cached = 2 * shape.layers * shape.kv_width * whole * batch * (prompt + answer)
    reading = batch * prompt * whole * (8 * shape.hidden + 3 * shape.intermediate)
    logits = batch * shape.vocabulary * (4 + 4 + whole)
    fixed = CUDA_CONTEXT if hardware.is_gpu else CPU_LIBRARIES
    return Memory(
        "a batch at its longest",
        [
            Part("weights", teacher_weights(shape, settings, hardware), settings.quantization),
            Part("keys and values", cached, f"{batch:,} x {prompt + answer:,} tokens"),
            Part("reading", reading, f"{batch:,} prompts of {prompt:,} tokens at once"),
            Part("logits", logits, f"{batch:,} x a vocabulary of {shape.vocabulary:,}"),
            Part("overhead", fixed, "libraries"),
        ],
    )


def _quantisation(settings: TeacherSettings) -> str:
    return "bf16" if settings.quantization == "none" else settings.quantization


def plan_labelling(
    shape: ModelShape,
    settings: TeacherSettings,
    hardware: Hardware,
    prompts: list[int],
    mean_answer: int,
) -> Labelling:
    """Memory and time of labelling rows whose prompts have so many tokens.

    A batch runs to its longest answer; with answers spread as they are, that is about twice the mean.
    """
    longest = max(prompts, default=1)
    memory = teacher_memory(shape, settings, hardware, longest, settings.max_new_tokens)
    batches = math.ceil(len(prompts) / settings.batch_size)
    steps = batches * min(settings.max_new_tokens, 2 * mean_answer)
    weights = next(part.bytes for part in memory.parts if part.name == "weights")
    floor = steps * weights / hardware.bandwidth
    per_step = shape.layers * SECONDS_PER_LAYER[_quantisation(settings)]
    if not hardware.is_gpu:
        operations = 2 * (shape.linear + shape.embedding) * settings.batch_size
        per_step = shape.layers * _CPU_SECONDS_PER_LAYER
        per_step += operations / (hardware.long_flops * _CPU_UTILISATION)
    return Labelling(
        teacher=shape.name,
        memory=memory,
        capacity=hardware.free,
        prompts=len(prompts),
        tokens=len(prompts) * mean_answer,
        floor_seconds=floor,
        seconds=max(floor, steps * per_step),
    )
