"""Old keys on today's SFTConfig."""

from __future__ import annotations

from typing import Any

import pytest
from trl import SFTConfig

from qdl_engine.errors import SettingsError
from qdl_engine.trainer.arguments import translate

CPU = {"use_cpu": True, "bf16": False, "output_dir": "unused"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, {"warmup_steps": 5}),
        ({"warmup_ratio": 0.0}, {}),
        ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
        ({"group_by_length": False}, {}),
        ({"no_cuda": True}, {"use_cpu": True}),
        ({"adafactor": True}, {"optim": "adafactor"}),
        ({"optim": "adamw_hf"}, {"optim": "adamw_torch"}),
        ({"per_gpu_train_batch_size": 2}, {"per_device_train_batch_size": 2}),
        ({"use_liger": False}, {"use_liger_kernel": False}),
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
    result = translate(old)
    assert result.arguments == new
    assert result.notes == []
    SFTConfig(**(CPU | result.arguments))


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"learning_rte": 1e-4}, "Did you mean learning_rate?"),
        ({"warmup_ration": 0.1}, "Did you mean warmup_ratio?"),
        ({"learning_rate": "2e-5"}, "must be a number"),
        ({"warmup_ratio": "0.1"}, "must be a number"),
        ({"warmup_ratio": 3}, "from 0 to 1"),
        ({"packing": True}, "group_by_length"),
        ({"evaluation_strategy": "steps"}, "qdl.held_out"),
        ({"save_safetensors": False}, "safetensors only"),
        ({"bf16": True, "fp16": True}, "cannot both"),
        ({"torch_dtype": "int8"}, "not a precision"),
    ],
)
def test_what_cannot_be_met_is_refused(training: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        translate(training)
    assert words in str(refused.value)


def test_what_has_no_effect_is_said() -> None:
    result = translate({"logging_dir": "logs", "completion_only_loss": False, "trust_remote_code": True})
    assert len(result.notes) == 2
    assert "code from a hub is never run" in result.notes[1]


@pytest.mark.parametrize(
    ("training", "precision"),
    [
        ({}, "fp32"),
        ({"bf16": True}, "bf16"),
        ({"fp16": True, "bf16": False}, "fp16"),
        ({"torch_dtype": "torch.bfloat16"}, "bf16"),
    ],
)
def test_precision_is_read_from_any_of_its_keys(training: dict[str, Any], precision: str) -> None:
    assert translate(training).precision == precision
