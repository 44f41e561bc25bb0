"""The sums of preflight against what autograd really keeps, tensor by tensor, of a real Qwen2."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.checkpoint import checkpoint
from transformers import Qwen2Config, Qwen2ForCausalLM

from qdl_engine.models.shape import PUBLISHED, ModelShape, shape_of
from qdl_engine.preflight.hardware import GPUS
from qdl_engine.preflight.memory import Pass, Training, layer_bytes, training_memory
from qdl_engine.preflight.teacher import teacher_weights
from qdl_engine.settings import TeacherSettings

LAYERS, ROWS, LENGTH = 3, 2, 96


def config_of(*, kv_heads: int = 2, layers: int = LAYERS) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=300,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=True,
    )


def kept_bytes(config: Qwen2Config, training: Training, *, padded: bool = False) -> int:
    """Bytes that one forward pass leaves for the backward pass, weights and their casts left out."""
    model: Any = Qwen2ForCausalLM(config).train()
    short = training.precision == "bf16"
    if training.lora_rank:
        model = model.to(torch.bfloat16) if short else model
        model = get_peft_model(
            model, LoraConfig(r=training.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
        )
        model = model.get_base_model()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(parameter.shape) for parameter in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage().data_ptr()
        if storage not in weights and tuple(tensor.shape) not in shapes:
            kept[storage] = tensor
        return tensor

    ids = torch.randint(0, 300, (ROWS, LENGTH))
    mask = torch.ones_like(ids)
    mask[0, -10:] = 0
    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if short else nullcontext()
    with autocast, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model(input_ids=ids, attention_mask=mask if padded else None, use_cache=False)
    assert hidden.last_hidden_state.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize(
    ("training", "padded"),
    [
        (Training("cpu", "fp32"), False),
        (Training("cuda", "fp32"), True),
        (Training("cuda", "bf16"), True),
        (Training("cpu", "fp32", lora_rank=4), False),
        (Training("cpu", "bf16", lora_rank=4), False),
    ],
)
def test_a_layer_keeps_what_the_sums_say(training: Training, padded: bool, kv_heads: int) -> None:
    # The difference of two depths: what lies before and after the layers goes out.
    deep = kept_bytes(config_of(kv_heads=kv_heads), training, padded=padded)
    shallow = kept_bytes(config_of(kv_heads=kv_heads, layers=1), training, padded=padded)
    shape = shape_of(config_of(kv_heads=kv_heads).to_dict(), "x")
    said = layer_bytes(shape, training, Pass(ROWS, LENGTH, 0))
    assert said == pytest.approx((deep - shallow) / (LAYERS - 1), rel=0.02)


def test_a_recomputed_layer_keeps_its_input_only() -> None:
    model = Qwen2ForCausalLM(config_of()).train()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape == (ROWS, LENGTH, 128):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    hidden = torch.randn(ROWS, LENGTH, 128, requires_grad=True)
    positions = model.model.rotary_emb(hidden, torch.arange(LENGTH)[None])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        for layer in model.model.layers:
            hidden = checkpoint(layer, hidden, position_embeddings=positions, use_reentrant=False)
    shape = shape_of(config_of().to_dict(), "x")
    recomputing = Training("cuda", "fp32", checkpointing=True)
    one = layer_bytes(shape, recomputing, Pass(ROWS, LENGTH, 0))
    ends = 3 * 4 * 128 * ROWS * LENGTH
    said = _part(training_memory(shape, recomputing, Pass(ROWS, LENGTH, 10)), "activations")
    assert sum(kept.values()) == LAYERS * ROWS * LENGTH * 128 * 4
    assert said >= sum(kept.values()) + one + ends


def test_parameters_are_those_of_the_model() -> None:
    for tied in (True, False):
        config = config_of()
        config.tie_word_embeddings = tied
        model: Any = Qwen2ForCausalLM(config)
        shape = shape_of(config.to_dict(), "x")
        assert shape.parameters == model.num_parameters()
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        assert shape.lora_parameters(4) == adapted.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize(
    ("size", "parameters", "eight", "four"),
    [
        ("0.5B", 494_032_768, 630_238_976, 473_689_856),
        ("1.5B", 1_543_714_304, 1_777_232_896, 1_204_022_272),
        ("7B", 7_615_616_512, 8_705_944_576, 5_851_130_880),
    ],
)
def test_weights_of_the_published_models(size: str, parameters: int, eight: int, four: int) -> None:
    """Worked out by hand: 8 bits are 1 byte and 4 bits 9/16 in the layers' matrices, 2 bytes elsewhere."""
    shape = shape_of(PUBLISHED[f"Qwen/Qwen2.5-{size}-Instruct"], "x")
    assert shape.parameters == parameters
    expected = {"none": 2 * parameters, "bf16": 2 * parameters, "8bit": eight, "4bit": four}
    for quantization, count in expected.items():
        teacher = TeacherSettings.model_validate({"quantization": quantization})
        assert teacher_weights(shape, teacher, GPUS["T4"]) == count


def half_billion() -> ModelShape:
    return shape_of(PUBLISHED["Qwen/Qwen2.5-0.5B-Instruct"], "x")


def test_full_training_takes_16_bytes_a_parameter_and_lora_few() -> None:
    shape, batch = half_billion(), Pass(1, 512, 400)
    assert shape.parameters == 494_032_768, "as published"
    full = training_memory(shape, Training("cuda", "bf16", checkpointing=True, accumulation=4), batch)
    fixed = sum(_part(full, name) for name in ("weights", "optimizer", "gradients"))
    assert fixed == 16 * shape.parameters
    adapted = training_memory(shape, Training("cuda", "bf16", 16, checkpointing=True), batch)
    assert adapted.total < full.total / 3
    plain = training_memory(shape, Training("cuda", "bf16", accumulation=4), batch)
    assert _part(plain, "activations") > 5 * _part(full, "activations")


def test_memory_grows_with_the_batch_and_with_several_gpus() -> None:
    shape, training = half_billion(), Training("cuda", "fp16", accumulation=2)
    sizes = [training_memory(shape, training, Pass(rows, 700, rows * 500)).total for rows in (1, 2, 4, 8)]
    assert sizes == sorted(sizes)
    two = training_memory(shape, Training("cuda", "fp16", accumulation=2, devices=2), Pass(1, 700, 500))
    assert two.total == sizes[0] + 4 * shape.parameters


def test_on_a_cpu_the_file_is_made_in_the_same_memory() -> None:
    shape = shape_of(config_of().to_dict() | {"vocab_size": 100_000}, "x")
    memory = training_memory(shape, Training("cpu", "fp32"), Pass(1, 8, 4))
    assert _part(memory, "weights") == 4 * shape.parameters
    assert memory.total > 16 * shape.parameters


def _part(memory: Any, name: str) -> int:
    return next((part.bytes for part in memory.parts if part.name == name), 0)
