"""Memory of a training, part by part, at its fullest moment.

The method is that of Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer
Models" (arXiv 2205.05198): add up what each layer keeps for the backward pass. The sums here are for what
this trainer runs: Qwen2's layer (grouped-query attention, SwiGLU, RMSNorm) in Hugging Face's code, fused
attention that keeps no scores, no dropout, AdamW with fp32 moments. Tests compare them with the bytes that
autograd really keeps, in fp32 and under autocast; `tests/bench/bench_preflight.py` compares the total with
measured trainings on a CPU. For a GPU, the CUDA context and the allocator's gaps are estimates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from qdl_engine.models.shape import ModelShape
from qdl_engine.trainer.selection import MOST_DIRECT_LOGITS

Precision = Literal["fp32", "fp16", "bf16"]

TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
"""The tile of TRL's fused output layer, which makes the logits otherwise."""
_TILE_COPIES = 8
"""Tensors as large as one tile that its plain torch version, on a CPU, holds at once in the backward pass."""
CUDA_CONTEXT = 700 * 2**20
"""What CUDA, cuBLAS and the kernels take before the first tensor; an estimate."""
CPU_LIBRARIES = 30 * 2**20
"""What the libraries load and pool after they are imported; measured."""
_GAPS_CUDA = 0.10
_GAPS_CPU = {(False, False): 0.26, (False, True): 0.58, (True, False): 0.85, (True, True): 1.25}
"""Share of the activations that the allocator holds and cannot use, by LoRA and by several passes a step.
Measured on a CPU with glibc, whose heap keeps what is freed in its middle: more where adapters make
short-lived values between those that stay, or where gradients of earlier passes lie there."""
_LARGEST_IN_HEAP = 32 * 2**20
"""glibc returns larger blocks to the system at once."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: a padded batch."""

    rows: int
    length: int
    """Tokens of its longest row, to which the others are padded."""
    trained: int
    """Answer tokens in it: the only ones that need logits."""

    @property
    def tokens(self) -> int:
        """Tokens, padding included."""
        return self.rows * self.length

    @property
    def squares(self) -> int:
        """The sum of the rows' squared padded lengths, which attention costs."""
        return self.rows * self.length**2


@dataclass(frozen=True)
class Training:
    """What decides the memory, besides the model and the rows."""

    device: Literal["cuda", "cpu"]
    precision: Precision
    lora_rank: int = 0
    checkpointing: bool = False
    accumulation: int = 1
    devices: int = 1

    @property
    def value_bytes(self) -> int:
        """Bytes of one value that a matrix product makes."""
        return 4 if self.precision == "fp32" else 2

    @property
    def one_pass_a_step(self) -> bool:
        """Whether no gradients of an earlier pass lie in memory during a backward pass."""
        return self.accumulation == 1 and self.devices == 1


@dataclass(frozen=True)
class Part:
    """One thing in memory."""

    name: str
    bytes: int
    what: str


@dataclass(frozen=True)
class Memory:
    """What is in memory at the fullest moment of a training or a labelling."""

    moment: str
    parts: list[Part] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes of all parts at the fullest moment."""
        return sum(part.bytes for part in self.parts)

    @property
    def largest(self) -> Part:
        """The part that takes most."""
        return max(self.parts, key=lambda part: part.bytes)


def training_memory(shape: ModelShape, training: Training, batch: Pass) -> Memory:
    """The parts at the fullest of three moments: a backward pass, the optimizer's step, saving.

    A full training keeps its weights in fp32 (16 bytes a parameter with gradient and moments), also when it
    computes in 16 bits under autocast; LoRA keeps the frozen weights in the precision that it computes in,
    see `trainer/student.py`.
    """
    trained = shape.trained_parameters(training.lora_rank)
    moving = _backward(shape, training, batch), _step(trained), _saving(shape, training)
    moment, parts = max(moving, key=lambda pair: sum(part.bytes for part in pair[1]))
    moments = Part("optimizer", 8 * trained, "AdamW: two fp32 moments of each trained weight")
    parts = [_weights(shape, training), moments, *parts]
    return Memory(moment, [*parts, _overhead(shape, training, batch, parts)])


def _weights(shape: ModelShape, training: Training) -> Part:
    if not training.lora_rank:
        return Part("weights", 4 * shape.parameters, "fp32, all trained")
    size = training.value_bytes * shape.parameters + 4 * shape.trained_parameters(training.lora_rank)
    what = f"frozen in {training.precision}; LoRA of rank {training.lora_rank} in fp32"
    return Part("weights", size, what)


def _backward(shape: ModelShape, training: Training, batch: Pass) -> tuple[str, list[Part]]:
    """The moment after the loss. From there on, each gradient takes the place of freed activations.

    With one pass a step the only gradient yet is that of the output layer; with several, all gradients of
    the earlier passes are there.
    """
    trained = shape.trained_parameters(training.lora_rank)
    gradients, what = 4 * trained, "fp32, one for each trained weight"
    if training.one_pass_a_step:
        gradients = 0 if training.lora_rank else min(gradients, 4 * shape.embedding)
        what = "fp32; freed as they are computed"
    parts = [Part("gradients", gradients, what)]
    if training.devices > 1:
        parts.append(Part("exchange", 4 * trained, "gradients that the GPUs exchange"))
    if training.precision != "fp32" and not training.lora_rank:
        copies = 2 * shape.linear  # Those of the output layer are made tile by tile.
        parts.append(Part("autocast copies", copies, f"the weights in {training.precision} for one pass"))
    kept, what = _activations(shape, training, batch)
    logits = _logits(shape, training, batch)
    # The output layer's tensors are freed before the last layer's gradients are made.
    working = max(0, _working(shape, training, batch) - logits.bytes)
    return "a backward pass", [*parts, Part("activations", kept + working, what), logits]


def _step(trained: int) -> tuple[str, list[Part]]:
    return "the optimizer's step", [Part("gradients", 4 * trained, "fp32, one for each trained weight")]


def _saving(shape: ModelShape, training: Training) -> tuple[str, list[Part]]:
    """On a CPU the file is put together in the memory that the training uses."""
    if training.device != "cpu":
        return "saving", []
    return "saving", [Part("saving", 4 * shape.parameters, "the weights, copied for the file")]


def layer_bytes(shape: ModelShape, training: Training, batch: Pass) -> int:
    """Bytes that one layer keeps of one pass for its backward pass.

    In fp32, in numbers per token: both norms keep their input, the normed and the scaled value (6h);
    attention keeps query, key, value and result (2q + 2kv); the MLP keeps gate, its SiLU, up and their
    product (4i). Under autocast the stream and the norms stay fp32 (16h bytes), each of the five matrices
    that read it casts for itself (10h), and the rest is 16 bits. LoRA's frozen norms keep less; its adapters
    keep a cast of every input. A padded batch on a GPU needs a mask, and with a mask key and value are
    repeated for every head.
    """
    h, q, kv, i = shape.hidden, shape.query_width, shape.kv_width, shape.intermediate
    size = training.value_bytes
    masked = training.device == "cuda" and batch.rows > 1
    kv = q if masked else kv
    if training.precision == "fp32":
        per_token = 4 * ((4 if training.lora_rank else 6) * h + 2 * q + 2 * kv + 4 * i)
    elif training.lora_rank:
        per_token = 18 * h + 6 * q + 4 * kv + 8 * i
    else:
        per_token = 26 * h + 4 * q + 4 * kv + 8 * i
    per_token += 4 * (shape.heads + 2) + 7 * size * training.lora_rank
    mask = size * batch.squares if masked else 0
    return batch.tokens * per_token + mask


def _activations(shape: ModelShape, training: Training, batch: Pass) -> tuple[int, str]:
    """Bytes that all layers and both ends of the model keep, and how that comes about."""
    of_layer = layer_bytes(shape, training, batch)
    ends = batch.tokens * 4 * 3 * shape.hidden
    form = f"{batch.rows:,} x {batch.length:,} tokens"
    if training.checkpointing:
        # LoRA's frozen model computes in one precision throughout; autocast keeps the stream in fp32.
        stream = training.value_bytes if training.lora_rank else 4
        inputs = batch.tokens * shape.layers * shape.hidden * stream
        return inputs + of_layer + ends, f"{form}: each layer's input, and one layer in full"
    return shape.layers * of_layer + ends, f"{form}, kept by every layer"


def _working(shape: ModelShape, training: Training, batch: Pass) -> int:
    """Gradients of the values inside one layer during its backward pass."""
    return batch.tokens * training.value_bytes * (3 * shape.intermediate + 2 * shape.hidden)


def direct_logits(shape: ModelShape, training: Training, batch: Pass) -> bool:
    """Whether the trainer makes all logits of the pass at once."""
    return training.device == "cpu" and batch.trained * shape.vocabulary <= MOST_DIRECT_LOGITS


def scored_tokens(shape: ModelShape, training: Training, batch: Pass) -> int:
    """Tokens that get logits: in tiles on a CPU, prompt and padding too."""
    everything = training.device == "cpu" and not direct_logits(shape, training, batch)
    return batch.tokens if everything else batch.trained


def _logits(shape: ModelShape, training: Training, batch: Pass) -> Part:
    """The output layer's tensors: three of all logits, or the tiles of TRL's fused output layer.

    Made at once: the log-softmax, the gradient of the loss and that of the logits exist together. In tiles:
    the tile, and fp32 sums of the gradients of the weights and of the last hidden values.
    """
    vocabulary = f"a vocabulary of {shape.vocabulary:,}"
    if direct_logits(shape, training, batch):
        what = f"{batch.trained:,} answer tokens x {vocabulary}, three times in fp32"
        return Part("logits", 3 * 4 * batch.trained * shape.vocabulary, what)
    scored = scored_tokens(shape, training, batch)
    tile = min(scored, TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY)
    copies = _TILE_COPIES * 4 if training.device == "cpu" else training.value_bytes
    weight = 0 if training.lora_rank else 4 * shape.embedding
    size = tile * copies + weight + scored * shape.hidden * 4
    return Part("logits", size, f"{vocabulary} in tiles, and the output layer's gradient")


def _overhead(shape: ModelShape, training: Training, batch: Pass, parts: list[Part]) -> Part:
    loose = sum(part.bytes for part in parts if part.name == "activations")
    if training.device == "cuda":
        return Part("overhead", CUDA_CONTEXT + round(_GAPS_CUDA * loose), "CUDA, and the allocator's gaps")
    if 4 * batch.tokens * shape.intermediate > _LARGEST_IN_HEAP:
        # The four values that each layer's MLP keeps lie outside the heap.
        loose -= shape.layers * batch.tokens * 16 * shape.intermediate
    share = _GAPS_CPU[bool(training.lora_rank), training.accumulation > 1]
    gaps = round(share * max(0, loose))
    return Part("overhead", CPU_LIBRARIES + gaps, "pools and the allocator's gaps; libraries not counted")
