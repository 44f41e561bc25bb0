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
from qdl_engine.trainer.numbers import check_number

_RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "max_seq_length": "max_length",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
}

_DROPPED = {
    "overwrite_output_dir": "the checkpoint always replaces the old one as a whole",
    "logging_dir": "the events file takes the metrics",
    "resume_from_checkpoint": "use --resume",
    "dataset_batch_size": "rows are tokenised by the lab",
    "dataset_text_field": "rows are tokenised by the lab",
    "dataset_kwargs": "rows are tokenised by the lab",
    "dataset_num_proc": "rows are tokenised by the lab",
    "num_of_sequences": "rows are tokenised by the lab",
    "chars_per_token": "rows are tokenised by the lab",
    "chat_template_path": "dataset.template is the template",
    "eos_token": "an answer ends with <|im_end|>",
    "pad_token": "the tokenizer's own is used",
    "model_init_kwargs": "the model is loaded by the lab",
    "truncation_mode": "no row is ever cut",
    "shuffle_dataset": "the sampler shuffles",
    "remove_unused_columns": "the collator needs every column it gets",
    "trust_remote_code": "code from a hub is never run",
    "push_to_hub": "publishing is not the trainer's business",
    "hub_model_id": "publishing is not the trainer's business",
    "hub_token": "publishing is not the trainer's business",
    "hub_strategy": "publishing is not the trainer's business",
    "hub_private_repo": "publishing is not the trainer's business",
    "hub_always_push": "publishing is not the trainer's business",
    "hub_revision": "publishing is not the trainer's business",
    "push_to_hub_model_id": "publishing is not the trainer's business",
    "push_to_hub_organization": "publishing is not the trainer's business",
    "push_to_hub_token": "publishing is not the trainer's business",
    "save_safetensors": "safetensors is the only format",
    "disable_tqdm": "progress is written as events",
    "do_train": "this trains",
    "do_eval": "qdl.held_out decides",
    "do_predict": "this trains",
    "eval_on_start": "qdl.held_out decides",
    "fp16_backend": "torch has one left",
    "half_precision_backend": "torch has one left",
    "fp16_opt_level": "torch has no levels",
    "use_mps_device": "the device is found",
    "include_tokens_per_second": "always reported",
    "include_inputs_for_metrics": "no such metrics",
    "past_index": "not for this model",
    "ray_scope": "no hyper-parameter search",
    "jit_mode_eval": "no longer there",
    "use_ipex": "no longer there",
    "tpu_num_cores": "no longer there",
    "tpu_metrics_debug": "no longer there",
    "dispatch_batches": "accelerate decides",
    "split_batches": "accelerate decides",
    "local_rank": "the launcher sets it",
    "ddp_backend": "the launcher sets it",
    "use_liger": "the loss never holds all logits anyway",
    "use_liger_kernel": "the loss never holds all logits anyway",
    "mp_parameters": "no longer there",
    "tp_size": "no longer there",
    "torchdynamo": "use torch_compile",
    "use_legacy_prediction_loop": "no longer there",
    "fsdp_min_num_params": "use fsdp_config",
    "fsdp_transformer_layer_cls_to_wrap": "use fsdp_config",
    "length_column_name": "the lab's own sampler knows the lengths",
    "completion_only_loss": "the loss is always on the answer only",
    "assistant_only_loss": "the loss is always on the answer only",
}

_REFUSED_WHEN_TRUE = {
    "packing": "Rows would see each other without FlashAttention. group_by_length saves as much padding.",
    "eval_packing": "It lets rows see each other without FlashAttention.",
    "padding_free": "It needs FlashAttention. group_by_length saves nearly as much padding.",
    "load_best_model_at_end": "The last checkpoint is the student. Fewer epochs, if the held-out loss rises.",
    "auto_find_batch_size": "A batch that changes under way changes the recipe. Set a smaller one.",
}

_PRECISIONS = {"float32": "fp32", "fp32": "fp32", "float16": "fp16", "fp16": "fp16", "bfloat16": "bf16"}
_PRECISIONS |= {"bf16": "bf16", "auto": "auto"}

_TRANSLATED = ("warmup_ratio", "group_by_length", "torch_dtype", "adafactor")
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
    return sorted({*_KNOWN, *_RENAMED, *_DROPPED, *_REFUSED_WHEN_TRUE, *_TRANSLATED})


def translate(training: dict[str, Any]) -> Translation:
    """Translate a `training` section.

    Raises:
        SettingsError: for an unknown key, a value of the wrong kind, or a wish that cannot be met.
    """
    result = Translation()
    for key, value in training.items():
        check_number(key, _RENAMED.get(key, key), value, _NUMBERS)
        if key in ("output_dir", "max_length", "max_seq_length"):
            continue  # The lab's own: see session.py and rows.py.
        if key in _REFUSED_WHEN_TRUE:
            if value:
                raise SettingsError(f"training.{key} is not supported", _REFUSED_WHEN_TRUE[key])
        elif key in _DROPPED:
            _drop(result, key, value)
        elif key in _TRANSLATED or key in ("bf16", "fp16", "optim"):
            _translate_one(result, training, key, value)
        elif key in _RENAMED:
            result.arguments.setdefault(_RENAMED[key], value)
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
    return nearest(key, [known for known in known_keys() if known not in _DROPPED])


def _drop(result: Translation, key: str, value: Any) -> None:
    if key == "save_safetensors" and value is False:
        raise SettingsError(
            "training.save_safetensors must not be false", "Checkpoints are safetensors only."
        )
    harmless = value in (None, False, "", {}, []) or (value is True and key in _TRUE_ANYWAY)
    # Not a default: it asks for a loss on the prompt too.
    harmless = harmless and not (key == "completion_only_loss" and value is False)
    if not harmless:
        result.notes.append(f"training.{key} has no effect: {_DROPPED[key]}.")


_TRUE_ANYWAY = frozenset({
    "overwrite_output_dir", "save_safetensors", "do_train", "completion_only_loss", "assistant_only_loss",
    "include_tokens_per_second", "shuffle_dataset", "disable_tqdm",
})  # fmt: skip


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
