"""One way to have an answer streamed: from a model in this process, or from a teacher wherever it lives."""

from __future__ import annotations

from collections.abc import Iterator

from qdl_engine.generation import StreamChunk
from qdl_engine.models import LoadedModel, stream
from qdl_engine.prompts import Mode, format_prompt, system_prompt_for
from qdl_engine.teachers.base import Asking, Question, Teacher

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
