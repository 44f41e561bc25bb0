"""The numbers of a foreign config's `training`, held against the bounds of a recipe's settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qdl_engine.errors import SettingsError
from qdl_engine.settings import System1Settings

_SETTINGS = {
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "per_gpu_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "max_length": "max_length",
    "max_seq_length": "max_length",
}
_STEPS = ("save_steps", "logging_steps", "eval_steps", "max_steps")


def check_values(training: Mapping[str, Any], path: Path) -> None:
    """Refuse at once what would fail once the student is loaded.

    Raises:
        SettingsError: naming the key, its value and what is accepted.
    """
    for key, value in training.items():
        if (key in _SETTINGS or key in _STEPS) and (
            isinstance(value, bool) or not isinstance(value, int | float)
        ):
            raise SettingsError(f"{path}: training.{key} must be a number, not {value!r}")
        if key in _SETTINGS:
            try:
                System1Settings.model_validate({_SETTINGS[key]: value})
            except ValidationError as refused:
                raise SettingsError(
                    f"{path}: training.{key} = {value!r} is not accepted", refused.errors()[0]["msg"] + "."
                ) from refused
