"""Labelling by a teacher on this machine: its memory, and how long it writes.

The teacher's part in a training whose answers it still has to write.
"""

from __future__ import annotations

import math
import socket
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from qdl_engine.core.errors import LabError
from qdl_engine.core.lab import Lab
from qdl_engine.core.systems import System
from qdl_engine.core.words import size_text
from qdl_engine.models.checkpoint import student_reference
from qdl_engine.models.shape import ModelShape, read_shape
from qdl_engine.preflight.fit import download_bytes
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.memory import CPU_LIBRARIES, CUDA_CONTEXT, Memory, Part
from qdl_engine.preflight.rows import TYPICAL, Rows
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.teachers.vllm import GPU_SHARE

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


_PATIENCE = 3.0
"""Seconds that a server may take to take a connection."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class TeacherPart:
    """What is known of the teacher; nothing of it where it has no part."""

    labelling: Labelling | None = None
    download: int = 0
    """Bytes of its weights that are not on this machine."""
    notes: list[str] = field(default_factory=list)


def look_at_teacher(
    lab: Lab, settings: LabSettings, system: System, rows: Rows, hardware: Hardware, *, ask_hub: bool
) -> TeacherPart:
    """Memory and time of a teacher that answers here; whether one elsewhere can be asked at all."""
    if system != "system1" or not settings.system1.label or lab.train_labeled.is_file():
        return TeacherPart()
    teacher = settings.teacher
    try:
        if teacher.kind in ("server", "file"):
            return TeacherPart(notes=_elsewhere(lab, settings))
        shape = read_shape(student_reference(lab, teacher.model), "teacher", ask_hub=ask_hub)
    except LabError as error:
        return TeacherPart(notes=[f"The teacher: {error.message}. {error.hint}".strip()])
    if teacher.kind == "vllm":
        return TeacherPart(download=download_bytes(shape), notes=_by_vllm(shape, settings, hardware))
    _, mean = TYPICAL[settings.system1.label_mode]
    mean = min(mean, teacher.max_new_tokens // 2 + 1)
    planned = plan_labelling(shape, teacher, hardware, list(rows.lengths.prompts), mean)
    return TeacherPart(planned, download_bytes(shape))


def _by_vllm(shape: ModelShape, settings: LabSettings, hardware: Hardware) -> list[str]:
    """vLLM takes its share of the GPU at once: weights first, keys and values in what is left."""
    if not hardware.is_gpu:
        return ["The teacher: vLLM needs a GPU, and none is here."]
    share = round(GPU_SHARE * hardware.memory)
    weights = teacher_weights(shape, settings.teacher, hardware)
    notes = [
        f"vLLM takes {GPU_SHARE:.0%} of the GPU while it labels, {size_text(share)}: {size_text(weights)} "
        "are the teacher's weights, the rest keys and values. How long it takes is not known."
    ]
    if weights >= share:
        notes.append("The teacher's weights alone are more than that: it DOES NOT FIT.")
    elif share > hardware.free:
        notes.append(f"Only {size_text(hardware.free)} are free: vLLM will not start.")
    return notes


def _elsewhere(lab: Lab, settings: LabSettings) -> list[str]:
    """What is wrong with a teacher at a server or in a file; empty when nothing is.

    Raises:
        LabError: when a setting that it needs is missing.
    """
    from qdl_engine.settings.address import server_url
    from qdl_engine.teachers.make import make_teacher

    make_teacher(settings.teacher, lab.root)
    if settings.teacher.kind == "file":
        answers = lab.root / settings.teacher.answers
        return [] if answers.is_file() else [f"The teacher's answers are not there: {answers}"]
    parts = urlsplit(server_url(settings.teacher.url))
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE):
            return []
    except OSError as error:
        return [f"The teacher's server does not answer at {host}:{port}: {error.strerror or error}"]
