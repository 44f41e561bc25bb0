"""The teacher's part in a training whose answers it still has to write."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from qdl_engine.easydistill.config import student_reference
from qdl_engine.errors import LabError
from qdl_engine.lab import Lab
from qdl_engine.preflight.disk import download_bytes
from qdl_engine.preflight.hardware import Hardware
from qdl_engine.preflight.labelling import Labelling, plan_labelling, teacher_weights
from qdl_engine.preflight.lengths import TYPICAL
from qdl_engine.preflight.rows import Rows
from qdl_engine.preflight.shape import ModelShape, read_shape
from qdl_engine.settings import LabSettings, System
from qdl_engine.status import size_text
from qdl_engine.teachers.vllm import GPU_SHARE

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
    from qdl_engine.teachers.address import server_url
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
