"""The keys that EasyDistill 1.0 reads in each section of a config."""

from __future__ import annotations

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

# SFTConfig of trl 0.17 under transformers 4.51, without the keys that had no meaning even there; and the
# older names that today's trainer still translates.
TRAINING = (
    "accelerator_config", "adafactor", "adam_beta1", "adam_beta2", "adam_epsilon",
    "auto_find_batch_size", "average_tokens_across_devices", "batch_eval_metrics", "bf16",
    "bf16_full_eval", "chars_per_token", "completion_only_loss", "data_seed", "dataloader_drop_last",
    "dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory",
    "dataloader_prefetch_factor", "dataset_batch_size", "dataset_kwargs", "dataset_num_proc",
    "dataset_text_field", "ddp_backend", "ddp_broadcast_buffers", "ddp_bucket_cap_mb",
    "ddp_find_unused_parameters", "ddp_timeout", "debug", "deepspeed", "disable_tqdm", "do_eval",
    "do_predict", "do_train", "eos_token", "eval_accumulation_steps", "eval_delay",
    "eval_do_concat_batches", "eval_on_start", "eval_packing", "eval_steps", "eval_strategy",
    "eval_use_gather_object", "evaluation_strategy", "fp16", "fp16_backend", "fp16_full_eval",
    "fp16_opt_level", "fsdp", "fsdp_config", "full_determinism", "gradient_accumulation_steps",
    "gradient_checkpointing", "gradient_checkpointing_kwargs", "greater_is_better", "group_by_length",
    "half_precision_backend", "hub_always_push", "hub_model_id", "hub_private_repo", "hub_strategy",
    "hub_token", "ignore_data_skip", "include_for_metrics", "include_inputs_for_metrics",
    "include_num_input_tokens_seen", "include_tokens_per_second", "jit_mode_eval", "label_names",
    "label_smoothing_factor", "learning_rate", "length_column_name", "load_best_model_at_end",
    "local_rank", "log_level", "log_level_replica", "log_on_each_node", "logging_dir",
    "logging_first_step", "logging_nan_inf_filter", "logging_steps", "logging_strategy",
    "lr_scheduler_kwargs", "lr_scheduler_type", "max_grad_norm", "max_length", "max_seq_length",
    "max_steps", "metric_for_best_model", "model_init_kwargs", "neftune_noise_alpha", "no_cuda",
    "num_of_sequences", "num_train_epochs", "optim", "optim_args", "optim_target_modules", "output_dir",
    "overwrite_output_dir", "packing", "pad_token", "padding_free", "past_index",
    "per_device_eval_batch_size", "per_device_train_batch_size", "per_gpu_eval_batch_size",
    "per_gpu_train_batch_size", "prediction_loss_only", "push_to_hub", "ray_scope",
    "remove_unused_columns", "report_to", "restore_callback_states_from_checkpoint",
    "resume_from_checkpoint", "run_name", "save_on_each_node", "save_only_model", "save_safetensors",
    "save_steps", "save_strategy", "save_total_limit", "seed", "skip_memory_metrics", "tf32",
    "torch_compile", "torch_compile_backend", "torch_compile_mode", "torch_dtype",
    "torch_empty_cache_steps", "tpu_metrics_debug", "tpu_num_cores", "use_cpu", "use_ipex", "use_liger",
    "use_liger_kernel", "use_mps_device", "warmup_ratio", "warmup_steps", "weight_decay",
)  # fmt: skip

SECTIONS = {"dataset": DATASET, "inference": INFERENCE, "models": MODELS, "training": TRAINING}
