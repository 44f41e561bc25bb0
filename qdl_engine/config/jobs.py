"""EasyDistill 1.x job types: what each is here, and why the lab refuses the others at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final, Literal

from qdl_engine.core.errors import SettingsError

TRAIN_ONLY: Final = "kd_black_box_train_only"

JobKind = Literal["train", "label", "generate", "judge"]

_LABEL: Final = ("kd_black_box_api", "kd_black_box_local")
GENERATING: Final = tuple(
    f"{job}_{way}"
    for job in (
        "cot_generation", "cot_long2short", "cot_short2long",
        "instruction_expansion", "instruction_refinement", "instruction_response_extraction",
    )
    for way in ("api", "batch")
)  # fmt: skip
KINDS: Final[dict[str, JobKind]] = {
    TRAIN_ONLY: "train",
    **dict.fromkeys(_LABEL, "label"),
    **dict.fromkeys(GENERATING, "generate"),
    "cot_eval_api": "judge",
}
"""The jobs that `qdl run` takes."""

_LABELS = (
    "EasyDistill 1.x writes its answers only at the end, so that a fault loses them all, and needs vllm. "
    "qdl run CONFIG.json labels and trains here, and resumes at the row where it stopped."
)
_MAKES_DATA = "It makes data and trains nothing. qdl run CONFIG.json does it here."
_MIXED_UP = (
    "EasyDistill 1.x writes the last question of each batch beside every answer. "
    "qdl run CONFIG.json asks the same and keeps each answer with its question."
)
_WHITE_BOX = (
    "White-box training of EasyDistill 1.x reads the wrong teacher rows after the first batch and none after "
    "the first epoch. This lab has no white-box distillation until it can store the teacher's logits: "
    f'label with "kd_black_box_local", or train on labelled rows with "{TRAIN_ONLY}".'
)
_UNKNOWN = "EasyDistill 1.x answers it with 'Unknown job type'."
_NO_SCRIPT = "EasyDistill 1.x starts a script for it that is not in its repository, and exits with 0."
_PAIRS = (
    f"{_NO_SCRIPT} EasyDistill 2.x makes preference pairs (dpo_data_build); this lab does not train on them."
)
_REINFORCEMENT = f'{_NO_SCRIPT} This lab has no reinforcement learning; "{TRAIN_ONLY}" distils.'
_IMAGES = f'It is for images and text. This lab distils text: "{TRAIN_ONLY}".'
_AGENTS = f'It is for agents that call tools. This lab distils text: "{TRAIN_ONLY}".'

_NOT_HERE: Final = {
    "kd_white_box": _WHITE_BOX,
    "kd_white_box_train_only": _WHITE_BOX,
    "kd_white_box_train_only_multi": f"{_UNKNOWN} {_WHITE_BOX}",
    "rank_dpo_api": _PAIRS,
    "rank_dpo_local": _PAIRS,
    "rl_ppo": _REINFORCEMENT,
    "rl_grpo": _REINFORCEMENT,
    "rl_reward_api": _REINFORCEMENT,
    "rl_reward_local": _REINFORCEMENT,
    "instruct_eval_api": f"{_UNKNOWN} EasyDistill 2.x has instruct_eval; qdl compare asks the student here.",
    "instruct_sample_api": f"{_UNKNOWN} qdl prepare draws a sample here, by system1.rows and seed.",
    "mmkd_black_box_api": _IMAGES,
    "mmkd_black_box_local": _IMAGES,
    "mmkd_white_box": _IMAGES,
    "mmkd_rl_grounding": _IMAGES,
    "mmcot_eval_api": _IMAGES,
    "agentkd_data_gen": _AGENTS,
    "agentkd_solve_task": _AGENTS,
    "agentkd_rubrics_filter": _AGENTS,
    "agentkd_distill": _AGENTS,
    "speckd_local": (
        "It trains a draft model for speculative decoding, with deepspeed. "
        f'This lab trains students that answer by themselves: "{TRAIN_ONLY}".'
    ),
}


def nearest(key: str, known: Iterable[str]) -> str:
    """A sentence that names the known key most like `key`; empty when none is like it."""
    found = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else ""


def job_kind(job_type: object, where: str) -> JobKind:
    """What a job type is here.

    Args:
        job_type: As the config has it.
        where: The config's name, for the message.

    Raises:
        SettingsError: for a job that does not run here: the job type, the reason, and what to use.
    """
    kind = KINDS.get(job_type) if isinstance(job_type, str) else None
    if kind is None:
        raise _refusal(job_type, where, "does not run here")
    return kind


def check_trains(job_type: object, where: str) -> None:
    """Refuse every job type but the one that only trains.

    Raises:
        SettingsError: see `job_kind`.
    """
    if job_type != TRAIN_ONLY:
        raise _refusal(job_type, where, "is not a training")


def _refusal(job_type: object, where: str, what: str) -> SettingsError:
    if not isinstance(job_type, str) or not job_type:
        return SettingsError(f"{where}: job_type is missing", f'Set it to "{TRAIN_ONLY}".')
    reason = _NOT_HERE.get(job_type) or _elsewhere(job_type)
    if not reason:
        hint = nearest(job_type, [TRAIN_ONLY]) or nearest(job_type, [*KINDS, *_NOT_HERE])
        return SettingsError(f"{where}: unknown job_type {job_type!r}", hint or f'Use "{TRAIN_ONLY}".')
    return SettingsError(f"{where}: job_type {job_type!r} {what}", reason)


def _elsewhere(job_type: str) -> str:
    """Why a job that `qdl run` takes is no training."""
    if job_type in _LABEL:
        return _LABELS
    if job_type.startswith("cot_") and job_type.endswith("_batch"):
        return _MIXED_UP
    return _MAKES_DATA if job_type in KINDS else ""
