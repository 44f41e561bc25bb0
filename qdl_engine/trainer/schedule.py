"""The learning rate's schedule, made once for nothing before the student is loaded."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import SchedulerType
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler
from trl import SFTConfig

from qdl_engine.easydistill.jobs import nearest
from qdl_engine.errors import SettingsError

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
    accepted = _accepted(kind)
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


def _accepted(kind: str) -> Sequence[str] | None:
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
