"""A checked config as the arguments of today's SFTConfig.

`config.keys.TRAINING` says what each key of trl 0.17 is now. A key is passed on, translated, or dropped with
a note, never in silence. What only the installed libraries know is checked here: which trackers and which
schedules of the learning rate there are.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from transformers import SchedulerType
from transformers.integrations import get_available_reporting_integrations
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler
from trl import SFTConfig

from qdl_engine.config.jobs import nearest
from qdl_engine.config.keys import TRAINING
from qdl_engine.core.errors import SettingsError

DEFAULTS: Final = {item.name: item.default for item in dataclasses.fields(SFTConfig)}
"""What SFTConfig takes, and what it does where the config is silent."""


def translate(training: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Translate a checked `training` section.

    Returns:
        Arguments for SFTConfig, bf16 and fp16 not among them; and notes about keys without an effect.

    Raises:
        SettingsError: for a key or a tracker that the installed libraries do not have.
    """
    arguments: dict[str, Any] = {}
    notes = []
    for name, value in training.items():
        key = TRAINING[name]
        if key.no_effect and not _is_harmless(name, value):
            notes.append(f"training.{name} has no effect: {key.no_effect}.")
        elif key.today is None:
            if name not in DEFAULTS:
                raise SettingsError(f"training.{name}: the installed trl does not have it", "Leave it out.")
            # Renamed since 1.0; the same optimizer.
            arguments[name] = "adamw_torch" if (name, value) == ("optim", "adamw_hf") else value
    for name, value in training.items():
        _translate_one(arguments, name, value)
    # The share of held-out rows decides.
    for name in ("eval_strategy", "eval_steps"):
        arguments.pop(name, None)
    if "report_to" in arguments:
        arguments["report_to"] = _reporters(arguments["report_to"])
    return arguments, notes


def _is_harmless(name: str, value: Any) -> bool:
    if name == "completion_only_loss" and value is False:
        return False  # Not a default: it asks for a loss on the prompt too.
    return value in (None, False, "", {}, []) or (value is True and TRAINING[name].done_anyway)


def _translate_one(arguments: dict[str, Any], name: str, value: Any) -> None:
    """Add a key that has another name or another shape today; what stands there by today's name stays."""
    today = TRAINING[name].today
    if not today:
        return
    if name == "warmup_ratio":
        # As in 1.0, a number of steps wins over a ratio. Today a float below 1 is the ratio.
        if value and not arguments.get(today):
            arguments[today] = min(float(value), math.nextafter(1.0, 0.0))
    elif name in ("group_by_length", "adafactor"):
        if value:
            arguments[today] = name
    else:
        arguments.setdefault(today, value)


def _reporters(value: Any) -> Any:
    """In 1.0 null means all installed trackers, and one may ask for a password; here it means none."""
    if value in (None, "", "none", []):
        return "none"
    names = [value] if isinstance(value, str) else value
    missing = [] if names == ["all"] else sorted(set(names) - set(get_available_reporting_integrations()))
    if missing:
        raise SettingsError(
            f"training.report_to: {missing[0]!r} is not installed", 'Install it, or set it to "none".'
        )
    return value


_KINDS = [kind.value for kind in SchedulerType]
_BY_THE_HELD_OUT_LOSS = ("reduce_lr_on_plateau", "greedy")
_OF_THE_TRAINER = frozenset({"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"})
_EXAMPLES = {
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
    kind = arguments.get("lr_scheduler_type", "linear")
    if kind not in _KINDS:
        raise SettingsError(
            f"training.lr_scheduler_type must be one of {', '.join(_KINDS)}, not {kind!r}",
            nearest(kind, _KINDS) if isinstance(kind, str) else "",
        )
    if kind in _BY_THE_HELD_OUT_LOSS and not held_out:
        raise SettingsError(
            f"training.lr_scheduler_type = {kind} goes by the loss on held-out rows, and there are none",
            "Set qdl.held_out to the share of rows to keep out, and qdl.eval_steps.",
        )
    keywords = _keywords(arguments.get("lr_scheduler_kwargs"))
    accepted = _accepted(kind)
    for key in keywords:
        if accepted is not None and key not in accepted:
            hint = nearest(key, accepted) or f"Accepted: {', '.join(accepted) or 'none'}."
            raise SettingsError(f"training.lr_scheduler_kwargs.{key}: {kind} does not take it", hint)
    # Two groups, as the trainer makes them: with weight decay and without. A limit may be given for each.
    groups = [{"params": [torch.zeros(1, requires_grad=True)]} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=arguments.get("learning_rate", DEFAULTS["learning_rate"]))
    try:
        get_scheduler(kind, optimizer, 0, 1000, keywords)
    except (TypeError, ValueError, ArithmeticError) as error:
        hint = f"Look at training.lr_scheduler_kwargs{': ' + ', '.join(accepted) if accepted else ''}."
        if kind in _EXAMPLES:
            hint = f"Set training.lr_scheduler_kwargs, such as {json.dumps(_EXAMPLES[kind])}."
        raise SettingsError(f"training.lr_scheduler_type = {kind}: {error}", hint) from error


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


def _accepted(kind: str) -> Sequence[str] | None:
    """The keywords of a schedule, by the signature of what makes it; None when that takes any."""
    maker: Callable[..., Any] = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(kind)]
    if kind == "reduce_lr_on_plateau":
        maker = torch.optim.lr_scheduler.ReduceLROnPlateau
    parameters = inspect.signature(maker).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return [name for name in parameters if name not in _OF_THE_TRAINER]
