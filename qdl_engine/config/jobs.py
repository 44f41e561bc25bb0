"""EasyDistill 1.x job types: the one we train, and why each of the others is refused at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from qdl_engine.core.errors import SettingsError

TRAIN_ONLY = "kd_black_box_train_only"

_WHOLE = "It makes data and trains nothing. qdl run CONFIG.json does it here."
_LABELS = (
    "EasyDistill 1.x writes its answers only at the end, so that a fault loses them all, and needs vllm. "
    "qdl run CONFIG.json labels and trains here, and resumes at the row."
)
_WHITE_BOX = (
    "White-box training of EasyDistill 1.x reads the wrong teacher rows after the first batch and none after "
    f'the first epoch. Here: the teacher\'s answers, with "{TRAIN_ONLY}".'
)
_UNKNOWN = "EasyDistill 1.x answers it with 'Unknown job type'."
_PAIRS = (
    "EasyDistill 1.x starts a script for it that is not in its repository, and exits with 0. Preference "
    "pairs are made by EasyDistill 2.x (dpo_data_build); training on them is not done here."
)
_REINFORCEMENT = (
    "EasyDistill 1.x starts a script for it that is not in its repository, and exits with 0. Reinforcement "
    f'learning is not done here; "{TRAIN_ONLY}" distils.'
)
_MIXED_UP = (
    "EasyDistill 1.x writes the last question of each batch beside every answer. "
    "qdl run CONFIG.json asks the same and keeps each answer with its question."
)
_IMAGES = f'It is for images and text. This lab distils text: "{TRAIN_ONLY}".'
_AGENTS = f'It is for agents that call tools. This lab distils text: "{TRAIN_ONLY}".'

_REFUSED: dict[str, str] = {
    "kd_black_box_api": _LABELS,
    "kd_black_box_local": _LABELS,
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
    "cot_generation_batch": _MIXED_UP,
    "cot_long2short_batch": _MIXED_UP,
    "cot_short2long_batch": _MIXED_UP,
    "cot_generation_api": _WHOLE,
    "cot_long2short_api": _WHOLE,
    "cot_short2long_api": _WHOLE,
    "cot_eval_api": _WHOLE,
    "instruction_expansion_api": _WHOLE,
    "instruction_expansion_batch": _WHOLE,
    "instruction_refinement_api": _WHOLE,
    "instruction_refinement_batch": _WHOLE,
    "instruction_response_extraction_api": _WHOLE,
    "instruction_response_extraction_batch": _WHOLE,
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
        "It trains a draft model for speculative decoding, by deepspeed. "
        f'This lab trains students that answer by themselves: "{TRAIN_ONLY}".'
    ),
}


def nearest(key: str, known: Iterable[str]) -> str:
    """A sentence that names the known key most like `key`; empty when none is like it."""
    found = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else ""


def check_job_type(job_type: object, where: str, refusal: str = "is not something that trains here") -> None:
    """Refuse every job type but the one that trains.

    Args:
        job_type: As the config has it.
        where: The config's name, for the message.
        refusal: What the message says of a known job that is refused.

    Raises:
        SettingsError: naming the job type, the reason, and what to use.
    """
    if job_type == TRAIN_ONLY:
        return
    if not isinstance(job_type, str) or not job_type:
        raise SettingsError(f"{where}: job_type is missing", f'Set it to "{TRAIN_ONLY}".')
    reason = _REFUSED.get(job_type)
    if reason is None:
        hint = nearest(job_type, [TRAIN_ONLY]) or nearest(job_type, _REFUSED) or f'Use "{TRAIN_ONLY}".'
        raise SettingsError(f"{where}: unknown job_type {job_type!r}", hint)
    raise SettingsError(f"{where}: job_type {job_type!r} {refusal}", reason)
