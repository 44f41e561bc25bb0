"""The teacher that the settings describe.

One way to have an answer streamed: from a model in this process, or from a teacher wherever it lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.prompts import Mode, format_prompt, system_prompt_for
from qdl_engine.models.generate import StreamChunk, stream
from qdl_engine.models.load import LoadedModel
from qdl_engine.settings import TeacherSettings
from qdl_engine.settings.address import read_key, server_url
from qdl_engine.teachers.base import Asking, Question, Teacher
from qdl_engine.teachers.budget import Budget, Prices


def make_teacher(
    settings: TeacherSettings,
    root: Path,
    *,
    asking: Asking | None = None,
    budget: Budget | None = None,
) -> Teacher:
    """A teacher of the kind that the settings choose, not loaded yet.

    Args:
        settings: The table `[teacher]`.
        root: Where relative paths start: the lab.
        asking: How it is asked, instead of as the settings say.
        budget: What it may spend; by default what the settings allow.

    Raises:
        SettingsError: when a setting that this kind needs is missing, or its key cannot be read.
    """
    asking = asking or Asking(settings.max_new_tokens, settings.temperature)
    if settings.kind == "server":
        from qdl_engine.teachers.chat import Endpoint
        from qdl_engine.teachers.pace import Retry
        from qdl_engine.teachers.server import ServerTeacher

        key_file = str(_local(root, settings.api_key_file)) if settings.api_key_file else ""
        endpoint = Endpoint(
            url=server_url(settings.url),
            model=settings.model,
            key=read_key(settings.api_key_env, key_file),
            max_new_tokens=asking.max_new_tokens,
            temperature=asking.temperature,
            timeout=settings.timeout,
            concurrency=settings.concurrency,
            retry=Retry(times=settings.retries),
        )
        return ServerTeacher(endpoint, budget or make_budget(settings))
    if settings.kind == "file":
        from qdl_engine.teachers.file import FileTeacher

        if not settings.answers:
            raise SettingsError(
                "teacher.answers is empty",
                'A teacher of kind "file" needs it: the JSON, JSONL or Parquet file with the answers.',
            )
        answers = _local(root, settings.answers)
        return FileTeacher(answers, fields=settings.fields, mapping=settings.mapping)
    model = _model(root, settings.model)
    if settings.kind == "vllm":
        from qdl_engine.teachers.vllm import VllmTeacher

        return VllmTeacher(model, asking, quantization=settings.quantization)
    from qdl_engine.teachers.hf import HfTeacher

    return HfTeacher(model, asking, quantization=settings.quantization, batch_size=settings.batch_size)


def make_budget(settings: TeacherSettings) -> Budget:
    """What the settings allow to be spent.

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
    """A directory in the lab, or else what the setting says: a path or a hub id."""
    local = _local(root, model)
    return str(local) if local.is_dir() else model


Speaker = LoadedModel | Teacher


def stream_from(
    speaker: Speaker, instruction: str, mode: Mode, system_prompt: str | None, asking: Asking
) -> Iterator[StreamChunk]:
    """The pieces of one answer; the last one is `done`.

    Raises:
        ModelError: when there is no answer.
    """
    if not isinstance(speaker, LoadedModel):
        return speaker.stream(Question(instruction, system_prompt_for(mode, system_prompt)), asking)
    return stream(
        speaker,
        format_prompt(instruction, mode, system_prompt=system_prompt),
        max_new_tokens=asking.max_new_tokens,
        temperature=asking.temperature,
    )


def name_of(speaker: Speaker) -> str:
    """The path of a checkpoint, or what a person calls the teacher."""
    return speaker.path if isinstance(speaker, LoadedModel) else speaker.name
