"""Numbers of a `training` section, checked before the student is loaded."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from qdl_engine.errors import SettingsError

_AT_LEAST_ONE = frozenset({
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "max_length", "max_seq_length", "dataloader_prefetch_factor",
})  # fmt: skip
_WHOLE = _AT_LEAST_ONE | {"max_steps", "seed", "data_seed", "dataloader_num_workers"}
_SHARES = frozenset({"warmup_ratio", "label_smoothing_factor"})
_BELOW_ONE = frozenset({"adam_beta1", "adam_beta2"})
_NOT_NEGATIVE = frozenset({
    "learning_rate", "weight_decay", "max_grad_norm", "adam_epsilon", "neftune_noise_alpha",
    "dataloader_num_workers",
})  # fmt: skip
_MAY_BE_NULL = frozenset({
    "max_length", "max_seq_length", "data_seed", "warmup_ratio", "max_grad_norm", "neftune_noise_alpha",
    "dataloader_prefetch_factor",
})  # fmt: skip


def check_number(key: str, name: str, value: Any, numbers: Collection[str]) -> None:
    """Refuse what SFTConfig takes, and what then fails minutes later, or trains nothing and says it did.

    Args:
        key: As the config has it, for the message.
        name: Its name of today.
        value: What was written.
        numbers: All of today's keys that take a number.

    Raises:
        SettingsError: saying what is accepted.
    """
    if isinstance(value, str) and (name in numbers or name == "warmup_ratio"):
        raise SettingsError(f"training.{key} must be a number, not the text {value!r}", "Remove the quotes.")
    wanted = _accepted(name)
    if wanted and not (value is None and name in _MAY_BE_NULL) and not _fits(name, value):
        raise SettingsError(f"training.{key} must be {wanted}, not {value!r}")


def _accepted(name: str) -> str:
    """In words; empty for a key that is not checked here."""
    if name in _SHARES:
        return "a number from 0 to 1"
    if name in _BELOW_ONE:
        return "a number of at least 0 and below 1"
    if name == "num_train_epochs":
        return "a number above 0"
    if name == "max_steps":
        return "a whole number of at least 1, or -1 to go by num_train_epochs"
    if name in _AT_LEAST_ONE:
        return "a whole number of at least 1"
    if name in _WHOLE:
        return "a whole number of at least 0" if name in _NOT_NEGATIVE else "a whole number"
    return "a number of at least 0" if name in _NOT_NEGATIVE else ""


def _fits(name: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if name in _WHOLE else int | float):
        return False
    if not math.isfinite(value):
        return False
    if name in _SHARES:
        return 0 <= value <= 1
    if name in _BELOW_ONE:
        return 0 <= value < 1
    if name == "num_train_epochs":
        return value > 0
    if name == "max_steps":
        return value >= 1 or value == -1
    if name in _AT_LEAST_ONE:
        return value >= 1
    return value >= 0 if name in _NOT_NEGATIVE else True
