"""Old keys on today's SFTConfig: `config.keys` checked and translated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from trl import SFTConfig

from qdl_engine.config.model import check_builtin, check_training
from qdl_engine.core.errors import SettingsError
from qdl_engine.trainer.arguments import translate

CPU = {"use_cpu": True, "bf16": False, "output_dir": "unused"}


def translated(training: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    check_training(training, Path("x.json"))
    check_builtin(training, Path("x.json"))
    return translate(training)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, {"warmup_steps": 5}),
        ({"warmup_ratio": 0.1, "warmup_steps": 0}, {"warmup_steps": 0.1}),
        ({"adafactor": True, "optim": "adamw_torch"}, {"optim": "adafactor"}),
        (
            {"per_device_train_batch_size": 4, "per_gpu_train_batch_size": 2},
            {"per_device_train_batch_size": 4},
        ),
        ({"warmup_ratio": 0.0}, {}),
        ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
        ({"group_by_length": False}, {}),
        ({"no_cuda": True}, {"use_cpu": True}),
        ({"adafactor": True}, {"optim": "adafactor"}),
        ({"optim": "adamw_hf"}, {"optim": "adamw_torch"}),
        ({"per_gpu_train_batch_size": 2}, {"per_device_train_batch_size": 2}),
        ({"use_liger": False}, {}),
        ({"warmup_ratio": 1}, {"warmup_steps": math.nextafter(1.0, 0.0)}),
        ({"report_to": None}, {"report_to": "none"}),
        ({"max_steps": -1, "data_seed": None, "max_length": None}, {"max_steps": -1, "data_seed": None}),
        ({"evaluation_strategy": "no"}, {}),
        ({"save_safetensors": True, "overwrite_output_dir": True, "packing": False}, {}),
        ({"max_seq_length": 512}, {}),
        (
            {"learning_rate": 1e-4, "lr_scheduler_type": "cosine"},
            {"learning_rate": 1e-4, "lr_scheduler_type": "cosine"},
        ),
    ],
)
def test_a_key_is_translated(old: dict[str, Any], new: dict[str, Any]) -> None:
    arguments, notes = translated(old)
    assert arguments == new
    assert notes == []
    SFTConfig(**(CPU | arguments))


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"learning_rte": 1e-4}, "Did you mean learning_rate?"),
        ({"warmup_ration": 0.1}, "Did you mean warmup_ratio?"),
        ({"learning_rate": "2e-5"}, "must be a number"),
        ({"warmup_ratio": "0.1"}, "must be a number"),
        ({"warmup_ratio": 3}, "from 0 to 1"),
        ({"warmup_ratio": [1]}, "from 0 to 1"),
        ({"learning_rate": -1.0}, "training.learning_rate must be a number of at least 0"),
        ({"learning_rate": None}, "training.learning_rate must be a number of at least 0"),
        ({"learning_rate": float("nan")}, "training.learning_rate must be a number of at least 0"),
        ({"num_train_epochs": 0}, "training.num_train_epochs must be a number above 0"),
        ({"num_train_epochs": -1}, "training.num_train_epochs must be a number above 0"),
        ({"max_steps": 0}, "training.max_steps must be a whole number of at least 1"),
        ({"max_steps": 2.0}, "training.max_steps must be a whole number of at least 1"),
        ({"per_device_train_batch_size": 0}, "must be a whole number of at least 1"),
        ({"per_gpu_train_batch_size": 0}, "training.per_gpu_train_batch_size must be a whole number"),
        ({"per_device_train_batch_size": True}, "must be a whole number of at least 1"),
        ({"gradient_accumulation_steps": 0}, "must be a whole number of at least 1"),
        ({"max_length": 0}, "must be a whole number of at least 1"),
        ({"seed": 1.5}, "training.seed must be a whole number"),
        ({"lr": 1e-4}, "Did you mean learning_rate?"),
        ({"epochs": 2}, "Did you mean num_train_epochs?"),
        ({"batch_size": 2}, "Did you mean per_device_train_batch_size?"),
        ({"train_sampling_strategy": "sequential"}, "random, group_by_length"),
        ({"report_to": "no_such_tracker"}, "training.report_to: 'no_such_tracker' is not installed"),
        ({"packing": True}, "group_by_length"),
        ({"evaluation_strategy": "steps"}, "qdl.held_out"),
        ({"evaluation_strategy": "steps"}, "training.evaluation_strategy must be 'no'"),
        ({"save_safetensors": False}, "safetensors only"),
        ({"bf16": True, "fp16": True}, "cannot both"),
        ({"torch_dtype": "int8"}, "not a precision"),
        ({"dataloader_persistent_workers": True}, "Set training.dataloader_num_workers to 1 or more"),
        ({"dataloader_prefetch_factor": 2}, "training.dataloader_num_workers is 0"),
        (
            {"dataloader_num_workers": -1},
            "training.dataloader_num_workers must be a whole number of at least 0",
        ),
        (
            {"dataloader_num_workers": 1.5},
            "training.dataloader_num_workers must be a whole number of at least 0",
        ),
        (
            {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 0},
            "a whole number of at least 1, not 0",
        ),
        ({"optim_args": "betas"}, "training.optim_args must be key=value pairs"),
        ({"optim_args": "rank=1,"}, "training.optim_args must be key=value pairs"),
        ({"adam_beta1": 1.0}, "training.adam_beta1 must be a number of at least 0 and below 1"),
        ({"adam_beta2": -0.1}, "training.adam_beta2 must be a number of at least 0 and below 1"),
        ({"adam_epsilon": -1}, "training.adam_epsilon must be a number of at least 0"),
        ({"neftune_noise_alpha": -5}, "training.neftune_noise_alpha must be a number of at least 0"),
        ({"label_smoothing_factor": 2.0}, "training.label_smoothing_factor must be a number from 0 to 1"),
        ({"metric_for_best_model": "accuracy"}, "training.metric_for_best_model must be loss"),
    ],
)
def test_what_cannot_be_met_is_refused(training: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        translated(training)
    assert words in str(refused.value)


def test_what_has_no_effect_is_said() -> None:
    _, notes = translated({"logging_dir": "logs", "completion_only_loss": False, "trust_remote_code": True})
    assert len(notes) == 3
    assert "the loss is always on the answer only" in notes[1]
    assert "code from a hub is never run" in notes[2]
