"""Numbers of a `training` section, checked before the student is loaded.

The learning rate's schedule, made once for nothing before the student is loaded.

`training` of an EasyDistill 1.x config (trl 0.17's keys) as the arguments of today's SFTConfig.

A key is passed on, translated, dropped with a note, or refused: never ignored in silence.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import SchedulerType
from transformers.integrations import get_available_reporting_integrations
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler
from trl import SFTConfig

from qdl_engine.config.jobs import nearest
from qdl_engine.config.keys import DROPPED, REFUSED_WHEN_TRUE, RENAMED, TRANSLATED, TRUE_ANYWAY
from qdl_engine.core.errors import SettingsError

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


_TYPES = [kind.value for kind in SchedulerType]
_BY_THE_HELD_OUT_LOSS = ("reduce_lr_on_plateau", "greedy")
_OF_THE_TRAINER = frozenset({"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"})
_CURES = {
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 100},
    "polynomial": {"lr_end": 0.0},
    "reduce_lr_on_plateau": {"factor": 0.5, "patience": 2},
}
"""Keywords that work, of the schedules that need some or that are refused most."""


def check_schedule(arguments: Mapping[str, Any], *, held_out: bool) -> None:
    """Refuse a schedule that the libraries would refuse once the student is loaded.

    Args:
        arguments: Of SFTConfig, translated.
        held_out: Whether rows are held out: two schedules go by the loss on them.

    Raises:
        SettingsError: naming the key, with keywords that work.
    """
    kind = _value(arguments.get("lr_scheduler_type", "linear"))
    if kind not in _TYPES:
        hint = nearest(kind, _TYPES) if isinstance(kind, str) else ""
        raise SettingsError(
            f"training.lr_scheduler_type must be one of {', '.join(_TYPES)}, not {kind!r}", hint
        )
    if kind in _BY_THE_HELD_OUT_LOSS and not held_out:
        raise SettingsError(
            f"training.lr_scheduler_type = {kind} goes by the loss on held-out rows, and there are none",
            "Set qdl.held_out to the share of rows to keep out, and qdl.eval_steps.",
        )
    keywords = _keywords(arguments.get("lr_scheduler_kwargs"))
    accepted = _accepted_schedule(kind)
    for key in keywords:
        if accepted is not None and key not in accepted:
            hint = nearest(key, accepted) or f"Accepted: {', '.join(accepted) or 'none'}."
            raise SettingsError(f"training.lr_scheduler_kwargs.{key}: {kind} does not take it", hint)
    rate = arguments.get("learning_rate", SFTConfig.__dataclass_fields__["learning_rate"].default)
    # Two groups, as the trainer makes them: with weight decay and without. A limit may be given for each.
    groups = [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=rate)
    try:
        get_scheduler(kind, optimizer, 0, 1000, keywords)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise SettingsError(f"training.lr_scheduler_type = {kind}: {error}", _cure(kind, accepted)) from error


def _value(kind: Any) -> Any:
    return kind.value if isinstance(kind, SchedulerType) else kind


def _keywords(value: Any) -> dict[str, Any]:
    """The library takes them as JSON text too.

    Raises:
        SettingsError: when it is no object.
    """
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except ValueError as broken:
            raise SettingsError(f"training.lr_scheduler_kwargs is not JSON: {broken}") from broken
    if value in (None, "", {}):
        return {}
    if not isinstance(value, dict):
        raise SettingsError(
            f"training.lr_scheduler_kwargs must be an object, not {value!r}", 'Such as {"num_cycles": 0.5}.'
        )
    return value


def _accepted_schedule(kind: str) -> Sequence[str] | None:
    """The keywords of a schedule, by the signature of what makes it; None when that takes any."""
    maker: Callable[..., Any] = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(kind)]
    if kind == "reduce_lr_on_plateau":
        maker = torch.optim.lr_scheduler.ReduceLROnPlateau
    parameters = inspect.signature(maker).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return [name for name in parameters if name not in _OF_THE_TRAINER]


def _cure(kind: str, accepted: Sequence[str] | None) -> str:
    if kind in _CURES:
        return f"Set training.lr_scheduler_kwargs, such as {json.dumps(_CURES[kind])}."
    return f"Look at training.lr_scheduler_kwargs{': ' + ', '.join(accepted) if accepted else ''}."


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
