"""The teacher that the settings describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qdl_engine.core.errors import SettingsError
from qdl_engine.settings import TeacherSettings
from qdl_engine.settings.address import read_key, server_url
from qdl_engine.teachers.base import Decoding, Teacher
from qdl_engine.teachers.budget import Budget, Prices

if TYPE_CHECKING:
    from qdl_engine.models.load import LoadedModel


def make_teacher(settings: TeacherSettings, root: Path, *, loaded: LoadedModel | None = None) -> Teacher:
    """A teacher of the kind that the settings choose, not loaded yet.

    Args:
        settings: The table `[teacher]`.
        root: Where relative paths start: the lab.
        loaded: Weights in memory already, which count as the kind `hf` whatever the settings choose.

    Raises:
        SettingsError: when a setting that this kind needs is missing, or its key cannot be read.
    """
    decoding = Decoding(settings.max_new_tokens, settings.temperature)
    kind = settings.kind if loaded is None else "hf"
    if kind == "server":
        from qdl_engine.teachers.client import Endpoint, Retry
        from qdl_engine.teachers.server import ServerTeacher

        key_file = str(_local(root, settings.api_key_file)) if settings.api_key_file else ""
        endpoint = Endpoint(
            url=server_url(settings.url),
            model=settings.model,
            key=read_key(settings.api_key_env, key_file),
            max_new_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            timeout=settings.timeout,
            concurrency=settings.concurrency,
            retry=Retry(times=settings.retries),
        )
        return ServerTeacher(endpoint, _budget(settings))
    if kind == "file":
        from qdl_engine.teachers.file import FileTeacher

        if not settings.answers:
            raise SettingsError(
                "teacher.answers is empty",
                'A teacher of kind "file" needs the JSON, JSONL or Parquet file with the answers.',
            )
        answers = _local(root, settings.answers)
        return FileTeacher(answers, fields=settings.fields, mapping=settings.mapping)
    model = _model(root, settings.model)
    if kind == "vllm":
        from qdl_engine.teachers.vllm import VllmTeacher

        return VllmTeacher(model, decoding, quantization=settings.quantization)
    from qdl_engine.teachers.hf import HfTeacher

    return HfTeacher(
        model,
        decoding,
        quantization=settings.quantization,
        batch_size=settings.batch_size,
        loaded=loaded,
    )


def _budget(settings: TeacherSettings) -> Budget:
    """What the settings allow the teacher to spend.

    Raises:
        SettingsError: for a budget in money without a price.
    """
    prices = Prices(settings.price_in, settings.price_out)
    if settings.budget_money and not prices:
        raise SettingsError(
            "teacher.budget_money needs prices",
            "Set teacher.price_in and teacher.price_out: what a million tokens costs.",
        )
    return Budget(settings.budget_tokens, settings.budget_money, prices)


def _local(root: Path, name: str) -> Path:
    return root / Path(name).expanduser()


def _model(root: Path, model: str) -> str:
    """A directory in the lab, or else the setting itself: a path or a hub id."""
    local = _local(root, model)
    return str(local) if local.is_dir() else model
