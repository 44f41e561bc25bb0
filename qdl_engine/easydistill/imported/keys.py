"""The keys that EasyDistill 1.0 reads in each section of a config."""

from __future__ import annotations

from qdl_engine.trainer.keys import DROPPED, REFUSED_WHEN_TRUE, RENAMED, TRANSLATED

DATASET = (
    "instruction_path", "labeled_path", "input_path", "output_path", "template", "seed", "logits_path",
    "num_in_context_samples", "num_output_samples",
)  # fmt: skip

INFERENCE = (
    "base_url", "api_key", "stream", "system_prompt", "prompt", "max_new_tokens", "temperature", "seed",
    "enable_chunked_prefill", "gpu_memory_utilization", "trust_remote_code", "enforce_eager",
    "max_model_len", "top_logits_num",
)  # fmt: skip

MODELS = ("teacher", "student", "reward")

# What SFTConfig of trl 0.17 under transformers 4.51 takes, and today's as well.
_PASSED_ON = (
    "accelerator_config", "adam_beta1", "adam_beta2", "adam_epsilon", "average_tokens_across_devices",
    "batch_eval_metrics", "bf16", "bf16_full_eval", "data_seed", "dataloader_drop_last",
    "dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory",
    "dataloader_prefetch_factor", "ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_find_unused_parameters",
    "ddp_timeout", "debug", "deepspeed", "eval_accumulation_steps", "eval_delay", "eval_do_concat_batches",
    "eval_steps", "eval_strategy", "eval_use_gather_object", "fp16", "fp16_full_eval", "fsdp", "fsdp_config",
    "full_determinism", "gradient_accumulation_steps", "gradient_checkpointing",
    "gradient_checkpointing_kwargs", "greater_is_better", "ignore_data_skip", "include_for_metrics",
    "include_num_input_tokens_seen", "label_names", "label_smoothing_factor", "learning_rate", "log_level",
    "log_level_replica", "log_on_each_node", "logging_first_step", "logging_nan_inf_filter", "logging_steps",
    "logging_strategy", "lr_scheduler_kwargs", "lr_scheduler_type", "max_grad_norm", "max_length",
    "max_steps", "metric_for_best_model", "neftune_noise_alpha", "num_train_epochs", "optim", "optim_args",
    "optim_target_modules", "output_dir", "per_device_eval_batch_size", "per_device_train_batch_size",
    "prediction_loss_only", "report_to", "restore_callback_states_from_checkpoint", "run_name",
    "save_on_each_node", "save_only_model", "save_steps", "save_strategy", "save_total_limit", "seed",
    "skip_memory_metrics", "tf32", "torch_compile", "torch_compile_backend", "torch_compile_mode",
    "torch_empty_cache_steps", "use_cpu", "warmup_steps", "weight_decay",
)  # fmt: skip

TRAINING = tuple(sorted({*_PASSED_ON, *RENAMED, *DROPPED, *REFUSED_WHEN_TRUE, *TRANSLATED}))
"""With what the trainer translates, drops with a note, or refuses in words of its own."""

SECTIONS = {"dataset": DATASET, "inference": INFERENCE, "models": MODELS, "training": TRAINING}
