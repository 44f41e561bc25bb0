"""Precision by device, and what to do when memory runs out."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import pytest
import torch

from qdl_engine.models.device import (
    Device,
    choose_precision,
    cure_of_a_full_memory,
    is_out_of_memory,
    keep_one_gpu,
    memory_cures,
)
from qdl_engine.settings import System1Settings

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
    for error in (
        full.value,
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def recipe(**values: Any) -> System1Settings:
    few = {"batch_size": 4, "gradient_accumulation": 4, "gradient_checkpointing": False, "lora_rank": 0}
    return System1Settings.model_validate({"max_length": 4096} | few | values)


@pytest.mark.parametrize(
    ("values", "on_gpu", "changes"),
    [
        ({}, True, {"batch_size": 2, "gradient_accumulation": 8, "gradient_checkpointing": True}),
        ({}, False, {"batch_size": 2, "gradient_accumulation": 8}),
        ({"batch_size": 5, "gradient_accumulation": 1}, False, {"batch_size": 1, "gradient_accumulation": 5}),
        ({"batch_size": 1, "gradient_checkpointing": True}, True, {"lora_rank": 16, "learning_rate": 2e-4}),
        ({"batch_size": 1, "gradient_checkpointing": True, "lora_rank": 16}, True, {"max_length": 2048}),
        ({"batch_size": 1, "lora_rank": 16, "max_length": 20}, False, {"max_length": 16}),
    ],
)
def test_a_full_memory_has_a_cure_that_keeps_the_rows_per_step(
    values: dict[str, Any], on_gpu: bool, changes: dict[str, Any]
) -> None:
    assert cure_of_a_full_memory(recipe(**values), on_gpu=on_gpu) == changes


def test_the_cures_go_from_mild_to_hard() -> None:
    cures = [changes for changes, why in memory_cures(recipe(), on_gpu=True) if why]
    assert cures[0] == {"batch_size": 2, "gradient_accumulation": 8}
    ranks = [("gradient_checkpointing" in cure) + 2 * ("lora_rank" in cure) for cure in cures]
    assert ranks == sorted(ranks) and set(ranks) == {0, 1, 3}
    whole = list(takewhile(lambda cure: "max_length" not in cure, cures))
    assert all(cure.get("batch_size", 4) * cure.get("gradient_accumulation", 4) == 16 for cure in cures)
    assert [cure["max_length"] for cure in cures[len(whole) :]] == [2048, 1024, 512, 256, 128]
    assert not any("gradient_checkpointing" in cure for cure, _ in memory_cures(recipe(), on_gpu=False)), (
        "it is ignored on a CPU"
    )


def test_one_gpu_is_kept_without_a_launcher() -> None:
    plain: dict[str, str] = {}
    assert keep_one_gpu(plain) == "" and plain == {"CUDA_VISIBLE_DEVICES": "0"}
    several = {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert "GPU 2 only" in keep_one_gpu(several) and several["CUDA_VISIBLE_DEVICES"] == "2"
    launched = {"CUDA_VISIBLE_DEVICES": "2,3", "LOCAL_RANK": "0"}
    assert keep_one_gpu(launched) == "" and launched["CUDA_VISIBLE_DEVICES"] == "2,3"
