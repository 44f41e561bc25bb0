"""Precision by device, and what to do when memory runs out."""

from __future__ import annotations

import pytest
import torch

from qdl_engine.trainer.device import (
    Device,
    choose_precision,
    is_out_of_memory,
    keep_one_gpu,
    smaller_settings,
)

CPU = Device("cpu", "CPU", False)
T4 = Device("cuda", "Tesla T4", False)
A100 = Device("cuda", "A100", True)


@pytest.mark.parametrize(
    ("wanted", "device", "precision", "noted"),
    [
        ("auto", CPU, "fp32", False),
        ("bf16", CPU, "fp32", True),
        ("auto", T4, "fp16", False),
        ("bf16", T4, "fp16", True),
        ("auto", A100, "bf16", False),
        ("fp32", A100, "fp32", False),
        ("fp16", A100, "fp16", False),
    ],
)
def test_precision_follows_the_device(wanted: str, device: Device, precision: str, noted: bool) -> None:
    chosen, note = choose_precision(wanted, device)
    assert (chosen, bool(note)) == (precision, noted)


def test_running_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**52)
    assert is_out_of_memory(full.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_smaller_settings_keep_the_rows_per_step() -> None:
    training = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    assert smaller_settings(training, 0, A100) == {
        "batch_size": 2,
        "gradient_accumulation": 8,
        "gradient_checkpointing": True,
    }
    single = {"per_device_train_batch_size": 1, "gradient_checkpointing": True}
    assert smaller_settings(single, 0, A100) == {"lora_rank": 16, "learning_rate": 2e-4}
    assert smaller_settings(single | {"max_length": 4096}, 16, A100) == {"max_length": 2048}


def test_one_gpu_is_kept_without_a_launcher() -> None:
    plain: dict[str, str] = {}
    assert keep_one_gpu(plain) == "" and plain == {"CUDA_VISIBLE_DEVICES": "0"}
    several = {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert "GPU 2 only" in keep_one_gpu(several) and several["CUDA_VISIBLE_DEVICES"] == "2"
    launched = {"CUDA_VISIBLE_DEVICES": "2,3", "LOCAL_RANK": "0"}
    assert keep_one_gpu(launched) == "" and launched["CUDA_VISIBLE_DEVICES"] == "2,3"
