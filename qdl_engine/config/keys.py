"""The one table of an EasyDistill 1.x config's keys: what each takes, and what becomes of it here.

`TRAINING` holds every key of SFTConfig: that of trl 0.17, which is EasyDistill 1.0's `training`, and today's.
Configs are checked, translated, written and imported by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field


@dataclass(frozen=True)
class Kind:
    """What a key takes: as pydantic checks it, strictly, and in words."""

    type: Any
    accepted: str

    def or_null(self) -> Kind:
        """The same kind, with null as a value too."""
        return Kind(self.type | None, self.accepted)


def _steps(value: int) -> int:
    if value < 1 and value != -1:
        raise ValueError("neither a number of steps nor -1")
    return value


ANYTHING = Kind(Any, "")
NUMBER = Kind(Annotated[float, Field()], "a number")
NOT_NEGATIVE = Kind(Annotated[float, Field(ge=0)], "a number of at least 0")
ABOVE_ZERO = Kind(Annotated[float, Field(gt=0)], "a number above 0")
SHARE = Kind(Annotated[float, Field(ge=0, le=1)], "a number from 0 to 1")
BELOW_ONE = Kind(Annotated[float, Field(ge=0, lt=1)], "a number of at least 0 and below 1")
WHOLE = Kind(Annotated[int, Field()], "a whole number")
WHOLE_NOT_NEGATIVE = Kind(Annotated[int, Field(ge=0)], "a whole number of at least 0")
COUNT = Kind(Annotated[int, Field(ge=1)], "a whole number of at least 1")
STEPS = Kind(
    Annotated[int, AfterValidator(_steps)],
    "a whole number of at least 1, or -1 to train num_train_epochs",
)


@dataclass(frozen=True)
class Key:
    """One key of `training`."""

    kind: Kind = ANYTHING
    today: str | None = None
    """Its name in today's SFTConfig: None where that is the same, empty where SFTConfig does not get it."""
    setting: str = ""
    """The recipe's setting that it is written from, and imported into."""
    default: Any = None
    """EasyDistill 1.0's own value where that trains another student than the recipe's default."""
    no_effect: str = ""
    """Why it changes nothing here."""
    done_anyway: bool = False
    """Whether `true` asks for what the lab does in any case, so that no note is needed."""
    instead: str = ""
    """What to do instead, when the built-in runtime cannot do what a true value asks for."""


# The order is the order in which a recipe's config is written.
RECIPE: Final = {
    "num_train_epochs": Key(ABOVE_ZERO, setting="epochs", default=3.0),
    "max_steps": Key(STEPS, setting="max_steps", default=-1),
    "per_device_train_batch_size": Key(COUNT, setting="batch_size", default=8),
    "gradient_accumulation_steps": Key(COUNT, setting="gradient_accumulation", default=1),
    "learning_rate": Key(NOT_NEGATIVE, setting="learning_rate", default=2e-5),
    "lr_scheduler_type": Key(setting="lr_scheduler", default="linear"),
    "warmup_ratio": Key(SHARE.or_null(), today="warmup_steps", setting="warmup_ratio", default=0.0),
    "weight_decay": Key(NOT_NEGATIVE, setting="weight_decay", default=0.0),
    "adam_beta2": Key(BELOW_ONE, setting="adam_beta2"),
    # Rows over it are dropped before the trainer sees them.
    "max_length": Key(COUNT.or_null(), today="", setting="max_length", default=1024),
    "gradient_checkpointing": Key(setting="gradient_checkpointing"),
    "group_by_length": Key(today="train_sampling_strategy", setting="group_by_length"),
    "logging_steps": Key(NUMBER, setting="logging_steps"),
    "save_steps": Key(NUMBER, setting="save_steps"),
    "save_total_limit": Key(setting="save_total_limit"),
}

_LAB: Final = {
    "output_dir": Key(today=""),
    "seed": Key(WHOLE),
    "bf16": Key(today=""),
    "fp16": Key(today=""),
    "torch_dtype": Key(today=""),
}
"""Keys that a recipe has in another place, or that the device decides."""

_RENAMED: Final = {
    "evaluation_strategy": Key(today="eval_strategy"),
    "max_seq_length": Key(COUNT.or_null(), today="", setting="max_length"),
    "no_cuda": Key(today="use_cpu"),
    "per_gpu_train_batch_size": Key(COUNT, today="per_device_train_batch_size", setting="batch_size"),
    "per_gpu_eval_batch_size": Key(COUNT, today="per_device_eval_batch_size"),
    "adafactor": Key(today="optim"),
}

_CHECKED: Final = {
    "adam_beta1": Key(BELOW_ONE),
    "adam_epsilon": Key(NOT_NEGATIVE),
    "data_seed": Key(WHOLE.or_null()),
    "dataloader_num_workers": Key(WHOLE_NOT_NEGATIVE),
    "dataloader_prefetch_factor": Key(COUNT.or_null()),
    "ddp_timeout": Key(NUMBER),
    "eval_delay": Key(NUMBER),
    "eval_steps": Key(NUMBER.or_null()),
    "label_smoothing_factor": Key(SHARE),
    "max_grad_norm": Key(NOT_NEGATIVE.or_null()),
    "neftune_noise_alpha": Key(NOT_NEGATIVE.or_null()),
    "per_device_eval_batch_size": Key(COUNT),
    "warmup_steps": Key(NUMBER),
}

# SFTConfig judges these itself.
_PASSED_ON: Final = (
    "accelerator_config", "average_tokens_across_devices", "batch_eval_metrics", "bf16_full_eval",
    "dataloader_drop_last", "dataloader_persistent_workers", "dataloader_pin_memory", "ddp_broadcast_buffers",
    "ddp_bucket_cap_mb", "ddp_find_unused_parameters", "debug", "deepspeed", "eval_accumulation_steps",
    "eval_do_concat_batches", "eval_strategy", "eval_use_gather_object", "fp16_full_eval", "fsdp",
    "fsdp_config", "full_determinism", "gradient_checkpointing_kwargs", "greater_is_better",
    "ignore_data_skip", "include_for_metrics", "include_num_input_tokens_seen", "label_names", "log_level",
    "log_level_replica", "log_on_each_node", "logging_first_step", "logging_nan_inf_filter",
    "logging_strategy", "lr_scheduler_kwargs", "metric_for_best_model", "optim", "optim_args",
    "optim_target_modules", "prediction_loss_only", "report_to", "restore_callback_states_from_checkpoint",
    "run_name", "save_on_each_node", "save_only_model", "save_strategy", "skip_memory_metrics", "tf32",
    "torch_compile", "torch_compile_backend", "torch_compile_mode", "torch_empty_cache_steps", "use_cpu",
    # Newer than EasyDistill 1.0.
    "activation_checkpointing", "activation_checkpointing_kwargs", "activation_offloading",
    "dataloader_in_order", "dataloader_multiprocessing_context", "ddp_static_graph", "enable_jit_checkpoint",
    "liger_kernel_config", "loss_type", "packing_strategy", "pad_to_multiple_of", "parallelism_config",
    "project", "router_aux_loss_coef", "trackio_bucket_id", "trackio_space_id", "trackio_static_space_id",
    "train_sampling_strategy", "use_cache",
)  # fmt: skip

_DROPPED: Final = {
    "the lab tokenises the rows": (
        "dataset_batch_size", "dataset_text_field", "dataset_kwargs", "dataset_num_proc",
        "num_of_sequences", "chars_per_token",
    ),
    "the trainer does not publish": (
        "push_to_hub", "hub_model_id", "hub_token", "hub_strategy", "hub_private_repo", "hub_always_push",
        "hub_revision", "push_to_hub_model_id", "push_to_hub_organization", "push_to_hub_token",
    ),
    "the loss is always on the answer only": ("completion_only_loss", "assistant_only_loss"),
    "the checkpoint always replaces the old one as a whole": ("overwrite_output_dir",),
    "the events file takes the metrics": ("logging_dir",),
    "use --resume": ("resume_from_checkpoint",),
    "dataset.template is the template": ("chat_template_path",),
    "an answer ends with <|im_end|>": ("eos_token",),
    "the tokenizer's own is used": ("pad_token",),
    "the lab loads the model": ("model_init_kwargs",),
    "no row is ever cut": ("truncation_mode",),
    "the sampler shuffles": ("shuffle_dataset",),
    "the collator needs every column it gets": ("remove_unused_columns",),
    "code from a hub is never run": ("trust_remote_code",),
    "safetensors is the only format": ("save_safetensors",),
    "progress is written as events": ("disable_tqdm",),
    "this trains": ("do_train", "do_predict"),
    "qdl.held_out decides": ("do_eval", "eval_on_start"),
    "torch has one left": ("fp16_backend", "half_precision_backend"),
    "torch has no levels": ("fp16_opt_level",),
    "the lab finds the device": ("use_mps_device",),
    "always reported": ("include_tokens_per_second",),
    "the lab has no such metrics": ("include_inputs_for_metrics",),
    "not for this model": ("past_index",),
    "no hyper-parameter search": ("ray_scope",),
    "it no longer exists": (
        "jit_mode_eval", "use_ipex", "tpu_num_cores", "tpu_metrics_debug", "mp_parameters", "tp_size",
        "use_legacy_prediction_loop",
    ),
    "accelerate decides": ("dispatch_batches", "split_batches"),
    "the launcher sets it": ("local_rank", "ddp_backend"),
    "the loss never holds all logits anyway": ("use_liger", "use_liger_kernel"),
    "use torch_compile": ("torchdynamo",),
    "use fsdp_config": ("fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap"),
    "the lab's own sampler knows the lengths": ("length_column_name",),
}  # fmt: skip

_DONE_ANYWAY: Final = frozenset({
    "overwrite_output_dir", "save_safetensors", "do_train", "completion_only_loss", "assistant_only_loss",
    "include_tokens_per_second", "shuffle_dataset", "disable_tqdm",
})  # fmt: skip

_IMPOSSIBLE: Final = {
    "packing": "Rows would see each other without FlashAttention. group_by_length saves as much padding.",
    "eval_packing": "It lets rows see each other without FlashAttention.",
    "padding_free": "It needs FlashAttention. group_by_length saves nearly as much padding.",
    "load_best_model_at_end": "The last checkpoint is the student. Fewer epochs, if the held-out loss rises.",
    "auto_find_batch_size": "A batch that changes during training changes the recipe. Set a smaller one.",
}

TRAINING: Final[dict[str, Key]] = {
    **RECIPE,
    **_LAB,
    **_RENAMED,
    **_CHECKED,
    **{name: Key() for name in _PASSED_ON},
    **{
        name: Key(today="", no_effect=why, done_anyway=name in _DONE_ANYWAY)
        for why, names in _DROPPED.items()
        for name in names
    },
    **{name: Key(today="", instead=instead) for name, instead in _IMPOSSIBLE.items()},
}


def recipe_keys(training: Iterable[str]) -> dict[str, str]:
    """The recipe's settings that a `training` section has, and the keys they stand under there.

    Where a setting stands under its own key and under an older name, its own wins.
    """
    return {TRAINING[name].setting: name for name in sorted(training, key=RECIPE.__contains__)}


OTHER_PROGRAMS: Final = {
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
}
"""Names that other programs use, too unlike ours to be found by their letters."""

INFERENCE: Final = {
    "system_prompt": "the recipe's own prompt asks the teacher",
    "stream": "every answer is stored whole as it arrives",
    "api_key": "keys come from the environment: set teacher.api_key_env",
    "temperature": "EasyDistill 1.0 samples with top_k = 1, which is temperature 0",
    "seed": "nothing is drawn at temperature 0",
    "trust_remote_code": "code from a hub is never run",
    "enable_chunked_prefill": "the teacher here finds its own",
    "gpu_memory_utilization": "the teacher here finds its own",
    "enforce_eager": "the teacher here finds its own",
    "max_model_len": "the teacher here finds its own",
}
"""Keys of `inference` that no recipe holds, and why."""
