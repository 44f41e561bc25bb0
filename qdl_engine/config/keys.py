"""The keys of a `training` section that are not passed on as they are. Light: whoever reads configs asks."""

from __future__ import annotations

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "max_seq_length": "max_length",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
}
"""Older names, and those of today."""

DROPPED = {
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
"""Keys that have no effect here, and why."""

REFUSED_WHEN_TRUE = {
    "packing": "Rows would see each other without FlashAttention. group_by_length saves as much padding.",
    "eval_packing": "It lets rows see each other without FlashAttention.",
    "padding_free": "It needs FlashAttention. group_by_length saves nearly as much padding.",
    "load_best_model_at_end": "The last checkpoint is the student. Fewer epochs, if the held-out loss rises.",
    "auto_find_batch_size": "A batch that changes under way changes the recipe. Set a smaller one.",
}
"""Wishes that cannot be met, and what to do instead."""

TRANSLATED = ("warmup_ratio", "group_by_length", "torch_dtype", "adafactor")

TRUE_ANYWAY = frozenset({
    "overwrite_output_dir", "save_safetensors", "do_train", "completion_only_loss", "assistant_only_loss",
    "include_tokens_per_second", "shuffle_dataset", "disable_tqdm",
})  # fmt: skip
"""Dropped keys that ask for what is done anyway when they are true."""
