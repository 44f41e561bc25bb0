"""The teacher of a training whose answers are not written yet: its memory and time, or whether it answers."""

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
"""Of a matrix in a layer: 4bit adds a scale in fp32 for each 64 weights. The output layer stays 16 bits."""
_SECONDS_PER_LAYER = {"none": 1.2e-3, "8bit": 5.5e-3, "4bit": 2.4e-3, "bf16": 1.2e-3}
"""Of one decoding step on a GPU, which waits for kernels, not for memory. Published measurements of a 7B on
an RTX 3090: 155 ms a token in 8 bits, 33 ms in 16 bits; 4 bits lies between."""
_CPU_SECONDS_PER_LAYER = 0.33e-3
_CPU_UTILISATION = 0.40
_PATIENCE = 3.0
"""Seconds that a server may take to accept a connection."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Labelling:
    """What a teacher on this machine needs to write the answers."""

    teacher: str
    memory: Memory
    capacity: int
    prompts: int
    tokens: int
    """Answer tokens that it will write; an estimate."""
    floor_seconds: float
    """The least: reading the weights once a step, at the device's bandwidth."""
    seconds: float

    @property
    def fits(self) -> bool:
        """Whether teacher and batch fit into the memory that is free."""
        return self.memory.total <= self.capacity

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"fits": self.fits, "bytes": self.memory.total}


@dataclass(frozen=True)
class TeacherPart:
    """The teacher's part in a training; empty where it has none."""

    labelling: Labelling | None = None
    download: int = 0
    """Bytes of its weights that are not on this machine."""
    notes: list[str] = field(default_factory=list)


def look_at_teacher(
    lab: Lab, settings: LabSettings, system: System, rows: Rows, hardware: Hardware, *, ask_hub: bool
) -> TeacherPart:
    """Memory and time of a teacher on this machine; of one elsewhere, whether it can be reached."""
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
    planned = _plan(shape, teacher, hardware, list(rows.lengths.prompts), mean)
    return TeacherPart(planned, download_bytes(shape))


def _plan(
    shape: ModelShape, settings: TeacherSettings, hardware: Hardware, prompts: list[int], mean: int
) -> Labelling:
    """Memory and time of answering prompts of so many tokens, with answers of `mean` tokens.

    A batch runs to its longest answer; with answers spread as they are, that is about twice the mean.
    """
    memory = teacher_memory(shape, settings, hardware, max(prompts, default=1))
    batches = math.ceil(len(prompts) / settings.batch_size)
    steps = batches * min(settings.max_new_tokens, 2 * mean)
    floor = steps * teacher_weights(shape, settings, hardware) / hardware.bandwidth
    per_step = shape.layers * _SECONDS_PER_LAYER[settings.quantization]
    if not hardware.is_gpu:
        operations = 2 * (shape.linear + shape.embedding) * settings.batch_size
        per_step = shape.layers * _CPU_SECONDS_PER_LAYER
        per_step += operations / (hardware.long_flops * _CPU_UTILISATION)
    return Labelling(
        teacher=shape.name,
        memory=memory,
        capacity=hardware.free,
        prompts=len(prompts),
        tokens=len(prompts) * mean,
        floor_seconds=floor,
        seconds=max(floor, steps * per_step),
    )


def teacher_memory(shape: ModelShape, settings: TeacherSettings, hardware: Hardware, prompt: int) -> Memory:
    """Weights, keys and values of a whole batch with prompts of so many tokens, logits of one step."""
    whole = _whole(settings, hardware)
    batch, longest = settings.batch_size, prompt + settings.max_new_tokens
    cached = 2 * shape.layers * shape.kv_width * whole * batch * longest
    reading = batch * prompt * whole * (8 * shape.hidden + 3 * shape.intermediate)
    logits = batch * shape.vocabulary * (4 + 4 + whole)
    fixed = CUDA_CONTEXT if hardware.is_gpu else CPU_LIBRARIES
    return Memory(
        "a batch at its longest",
        [
            Part("weights", teacher_weights(shape, settings, hardware), settings.quantization),
            Part("keys and values", cached, f"{batch:,} x {longest:,} tokens"),
            Part("reading", reading, f"{batch:,} prompts of {prompt:,} tokens at once"),
            Part("logits", logits, f"{batch:,} x a vocabulary of {shape.vocabulary:,}"),
            Part("overhead", fixed, "libraries"),
        ],
    )


def teacher_weights(shape: ModelShape, settings: TeacherSettings, hardware: Hardware) -> int:
    """Bytes of a teacher's weights in its quantisation; embedding and output layer are not quantised."""
    whole = _whole(settings, hardware)
    each = whole if settings.quantization == "none" else _BYTES_PER_WEIGHT[settings.quantization]
    return round(each * shape.linear + whole * (shape.parameters - shape.linear))


def _whole(settings: TeacherSettings, hardware: Hardware) -> int:
    """Bytes of a weight that is not quantised."""
    return 2 if hardware.is_gpu or settings.quantization == "bf16" else 4


def _by_vllm(shape: ModelShape, settings: LabSettings, hardware: Hardware) -> list[str]:
    """vLLM takes its share of the GPU at once: weights first, keys and values in the rest."""
    if not hardware.is_gpu:
        return ["The teacher: vLLM needs a GPU, and this machine has none."]
    share = round(GPU_SHARE * hardware.memory)
    weights = teacher_weights(shape, settings.teacher, hardware)
    notes = [
        f"vLLM takes {100 * GPU_SHARE:.0f} % of the GPU while it labels, {size_text(share)}: "
        f"{size_text(weights)} for the teacher's weights, the rest for keys and values. "
        "How long it takes is not known."
    ]
    if weights >= share:
        notes.append("The teacher's weights alone are larger: it DOES NOT FIT.")
    elif share > hardware.free:
        notes.append(f"Only {size_text(hardware.free)} are free: vLLM will not start.")
    return notes


def _elsewhere(lab: Lab, settings: LabSettings) -> list[str]:
    """What is wrong with a teacher at a server or in a file; empty where nothing is.

    Raises:
        LabError: when a setting that it needs is missing.
    """
    from qdl_engine.settings.address import server_url
    from qdl_engine.teachers.make import make_teacher

    make_teacher(settings.teacher, lab.root)
    if settings.teacher.kind == "file":
        answers = lab.root / settings.teacher.answers
        return [] if answers.is_file() else [f"The file of the teacher's answers does not exist: {answers}"]
    parts = urlsplit(server_url(settings.teacher.url))
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE):
            return []
    except OSError as error:
        return [f"The teacher's server does not answer at {host}:{port}: {error.strerror or error}"]
