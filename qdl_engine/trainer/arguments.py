"""`training` of an EasyDistill 1.x config (trl 0.17's keys) as the arguments of today's SFTConfig.

A key is passed on, translated, dropped with a note, or refused: never ignored in silence.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from transformers.integrations import get_available_reporting_integrations
from trl import SFTConfig

from qdl_engine.easydistill.jobs import nearest
from qdl_engine.errors import SettingsError
from qdl_engine.trainer.keys import DROPPED, REFUSED_WHEN_TRUE, RENAMED, TRANSLATED, TRUE_ANYWAY
from qdl_engine.trainer.numbers import check_number

_PRECISIONS = {"float32": "fp32", "fp32": "fp32", "float16": "fp16", "fp16": "fp16", "bfloat16": "bf16"}
_PRECISIONS |= {"bf16": "bf16", "auto": "auto"}

_KNOWN = {item.name: item for item in dataclasses.fields(SFTConfig)}
_NUMBERS = frozenset(
    name
    for name, item in _KNOWN.items()
    if isinstance(item.default, int | float) and not isinstance(item.default, bool)
)

_SHORT = {"lr": "learning_rate", "epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size"}
"""Names of other programs, too unlike ours for a guess by letters."""

_SAMPLINGS = ("random", "group_by_length")


@dataclass
class Translation:
    """What became of a `training` section."""

    arguments: dict[str, Any] = field(default_factory=dict)
    """For SFTConfig; bf16 and fp16 are not among them."""
    precision: str = "fp32"
    """What the section asks for by bf16, fp16 or torch_dtype."""
    notes: list[str] = field(default_factory=list)


def known_keys() -> list[str]:
    """Every key that has a meaning here."""
    return sorted({*_KNOWN, *RENAMED, *DROPPED, *REFUSED_WHEN_TRUE, *TRANSLATED})


def translate(training: dict[str, Any]) -> Translation:
    """Translate a `training` section.

    Raises:
        SettingsError: for an unknown key, a value of the wrong kind, or a wish that cannot be met.
    """
    result = Translation()
    for key, value in training.items():
        check_number(key, RENAMED.get(key, key), value, _NUMBERS)
        if key in ("output_dir", "max_length", "max_seq_length"):
            continue  # The lab's own: see session.py and rows.py.
        if key in REFUSED_WHEN_TRUE:
            if value:
                raise SettingsError(f"training.{key} is not supported", REFUSED_WHEN_TRUE[key])
        elif key in DROPPED:
            _drop(result, key, value)
        elif key in TRANSLATED or key in ("bf16", "fp16", "optim"):
            _translate_one(result, training, key, value)
        elif key in RENAMED:
            result.arguments.setdefault(RENAMED[key], value)
        elif key in _KNOWN:
            result.arguments[key] = value
        else:
            raise SettingsError(f"training.{key}: unknown key", _meant(key))
    _check_evaluation(result, training)
    _check_choices(result)
    return result


def _meant(key: str) -> str:
    """The nearest key that has an effect here."""
    if key in _SHORT:
        return f"Did you mean {_SHORT[key]}?"
    return nearest(key, [known for known in known_keys() if known not in DROPPED])


def _drop(result: Translation, key: str, value: Any) -> None:
    if key == "save_safetensors" and value is False:
        raise SettingsError(
            "training.save_safetensors must not be false", "Checkpoints are safetensors only."
        )
    harmless = value in (None, False, "", {}, []) or (value is True and key in TRUE_ANYWAY)
    # Not a default: it asks for a loss on the prompt too.
    harmless = harmless and not (key == "completion_only_loss" and value is False)
    if not harmless:
        result.notes.append(f"training.{key} has no effect: {DROPPED[key]}.")


def _translate_one(result: Translation, training: dict[str, Any], key: str, value: Any) -> None:
    if key == "warmup_ratio":
        # As in 1.x, a number of steps goes before a ratio. Today a float below 1 is the ratio.
        if value and not training.get("warmup_steps"):
            result.arguments["warmup_steps"] = min(float(value), math.nextafter(1.0, 0.0))
    elif key == "group_by_length":
        if value:
            result.arguments["train_sampling_strategy"] = "group_by_length"
    elif key == "torch_dtype":
        name = str(value).removeprefix("torch.")
        if name not in _PRECISIONS:
            raise SettingsError(
                f"training.torch_dtype: {value!r} is not a precision", "Use bfloat16, float16 or float32."
            )
        result.precision = _PRECISIONS[name]
    elif key == "adafactor":
        if value:
            result.arguments["optim"] = "adafactor"
    elif key == "optim":
        # Renamed since 1.0; the same optimizer.
        result.arguments["optim"] = "adamw_torch" if value == "adamw_hf" else value
    elif value:
        if training.get("bf16") and training.get("fp16"):
            raise SettingsError("training.bf16 and training.fp16 cannot both be true", "Choose one.")
        result.precision = key


def _check_evaluation(result: Translation, training: dict[str, Any]) -> None:
    """EasyDistill 1.x never has rows to evaluate on; here the share of held-out rows decides."""
    strategy = result.arguments.pop("eval_strategy", "no")
    if strategy not in ("no", False, None):
        key = "eval_strategy" if "eval_strategy" in training else "evaluation_strategy"
        raise SettingsError(
            f"training.{key} must be 'no', not {strategy!r}",
            "Set qdl.held_out to the share of rows to keep out, and qdl.eval_steps.",
        )
    result.arguments.pop("eval_steps", None)


def _check_choices(result: Translation) -> None:
    """Values that the libraries would take, and then fail on or pass over once the student is loaded."""
    sampling = result.arguments.get("train_sampling_strategy", "random")
    if sampling not in _SAMPLINGS:
        raise SettingsError(
            f"training.train_sampling_strategy must be one of {', '.join(_SAMPLINGS)}, not {sampling!r}"
        )
    metric = result.arguments.get("metric_for_best_model")
    if metric not in (None, "loss", "eval_loss"):
        raise SettingsError(
            f"training.metric_for_best_model must be loss, not {metric!r}",
            "No other figure is measured here.",
        )
    if not result.arguments.get("dataloader_num_workers"):
        for key in ("dataloader_persistent_workers", "dataloader_prefetch_factor"):
            if result.arguments.get(key):
                raise SettingsError(
                    f"training.{key} is for workers, and training.dataloader_num_workers is 0",
                    f"Set training.dataloader_num_workers to 1 or more, or leave {key} out.",
                )
    options = result.arguments.get("optim_args")
    if isinstance(options, str) and any(part.count("=") != 1 for part in options.split(",") if options):
        raise SettingsError(
            f"training.optim_args must be key=value pairs with commas between, not {options!r}"
        )
    if "report_to" in result.arguments:
        result.arguments["report_to"] = _reporters(result.arguments["report_to"])


def _reporters(value: Any) -> Any:
    """Null stood for all that are installed, which may ask for a password: here nobody does."""
    if value in (None, "", "none", []):
        return "none"
    names = [value] if isinstance(value, str) else value
    missing = [] if names == ["all"] else sorted(set(names) - set(get_available_reporting_integrations()))
    if missing:
        raise SettingsError(
            f"training.report_to: {missing[0]!r} is not installed", 'Install it, or set it to "none".'
        )
    return value
