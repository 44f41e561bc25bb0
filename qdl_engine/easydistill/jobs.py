"""EasyDistill 1.x job types: the one we train, and why each of the others is refused at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from qdl_engine.errors import SettingsError

TRAIN_ONLY = "kd_black_box_train_only"

_LABEL_FIRST = (
    f'Label first (qdl label), then train with "{TRAIN_ONLY}": EasyDistill 1.x writes its answers only at '
    "the end, so a fault loses them all."
)
_WHITE_BOX = (
    "White-box training of EasyDistill 1.x reads the wrong teacher rows after the first batch and none after "
    f'the first epoch. Use "{TRAIN_ONLY}".'
)
_ABSENT = "EasyDistill 1.x starts a script for it that is not in its repository, and exits 0."
_NOT_TRAINING = f'It makes data and trains nothing. Training is "{TRAIN_ONLY}".'

_REFUSED: dict[str, str] = {
    "kd_black_box_api": _LABEL_FIRST,
    "kd_black_box_local": _LABEL_FIRST,
    "kd_white_box": _WHITE_BOX,
    "kd_white_box_train_only": _WHITE_BOX,
    "kd_white_box_train_only_multi": "EasyDistill 1.x answers it with 'Unknown job type'.",
    "rank_dpo_api": _ABSENT,
    "rank_dpo_local": _ABSENT,
    "rl_ppo": _ABSENT,
    "rl_grpo": _ABSENT,
    "rl_reward_api": _ABSENT,
    "rl_reward_local": _ABSENT,
    "instruct_eval_api": "EasyDistill 1.x answers it with 'Unknown job type'.",
    "instruct_sample_api": "EasyDistill 1.x answers it with 'Unknown job type'.",
    "cot_generation_batch": "EasyDistill 1.x writes the last question of each batch beside every answer.",
    "cot_long2short_batch": "EasyDistill 1.x writes the last question of each batch beside every answer.",
    "cot_short2long_batch": "EasyDistill 1.x writes the last question of each batch beside every answer.",
    "cot_generation_api": _NOT_TRAINING,
    "cot_long2short_api": _NOT_TRAINING,
    "cot_short2long_api": _NOT_TRAINING,
    "cot_eval_api": _NOT_TRAINING,
    "instruction_expansion_api": _NOT_TRAINING,
    "instruction_expansion_batch": _NOT_TRAINING,
    "instruction_refinement_api": _NOT_TRAINING,
    "instruction_refinement_batch": _NOT_TRAINING,
    "instruction_response_extraction_api": _NOT_TRAINING,
    "instruction_response_extraction_batch": _NOT_TRAINING,
}


def nearest(key: str, known: Iterable[str]) -> str:
    """A sentence that names the known key most like `key`; empty when none is like it."""
    found = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else ""


def check_job_type(job_type: object, where: str) -> None:
    """Refuse every job type but the one that trains.

    Args:
        job_type: As the config has it.
        where: The config's name, for the message.

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
    raise SettingsError(f"{where}: job_type {job_type!r} is not something we start", reason)
