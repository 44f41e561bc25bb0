"""Memory of a training, part by part, at its fullest moment.

The way of counting is that of Korthikanti et al. 2022, "Reducing Activation Recomputation in Large
Transformer Models" (arXiv 2205.05198): add up what the backward pass keeps of each layer. The sums are made
anew for what this trainer runs: Qwen2's layer (grouped-query attention, SwiGLU, RMSNorm) in Hugging Face's
code, fused attention that keeps no scores, no dropout, AdamW with fp32 moments. Tests hold them against the
bytes that autograd really keeps, in fp32 and under autocast; `tests/bench/bench_preflight.py` holds the whole
against measured trainings on a CPU. What is said of a GPU beyond that, context and gaps, is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from qdl_engine.models.shape import ModelShape

Precision = Literal["fp32", "fp16", "bf16"]

MOST_DIRECT_LOGITS = 2**25
"""On a CPU the trainer makes all logits of a pass at once up to this many; see `trainer/loop.py`."""
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
"""The tile of TRL's fused output layer, which is used otherwise."""
_TILE_COPIES = 8
"""Tensors of the size of one tile that its plain torch version, on a CPU, holds at once on the way back."""
CUDA_CONTEXT = 700 * 2**20
"""What CUDA, cuBLAS and the kernels take before the first tensor; an estimate."""
CPU_LIBRARIES = 30 * 2**20
"""What is loaded and pooled after the imports; measured."""
_GAPS_CUDA = 0.10
_GAPS_CPU = {(False, False): 0.26, (False, True): 0.58, (True, False): 0.85, (True, True): 1.25}
"""Share of the activations that the allocator holds and cannot use, by LoRA and by several passes a step. On
a CPU it is measured, with glibc, whose heap keeps what is freed in the middle of it: more where adapters make
short-lived values between those that stay, or gradients of earlier passes lie there."""
_LARGEST_IN_HEAP = 32 * 2**20
"""glibc gives larger blocks back at once."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: the padded batch as it is formed."""

    rows: int
    length: int
    """Tokens of its longest row, to which the others are padded."""
    trained: int
    """Answer tokens in it: the only ones that get logits."""

    @property
    def tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class Training:
    """What decides the memory beside the model and the rows."""

    device: Literal["cuda", "cpu"]
    precision: Precision
    lora_rank: int = 0
    checkpointing: bool = False
    accumulation: int = 1
    devices: int = 1


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
        return sum(part.bytes for part in self.parts)

    @property
    def largest(self) -> Part:
        return max(self.parts, key=lambda part: part.bytes)


def training_memory(shape: ModelShape, training: Training, batch: Pass) -> Memory:
    """The parts at the fullest of three moments: a backward pass, the optimizer's step, saving.

    All weights are trained in fp32 (16 bytes a parameter with gradient and moments), under autocast in 16
    bits where that is asked for; with LoRA the frozen weights are as short as the precision, see
    `trainer/student.py`.
    """
    trained = shape.lora_parameters(training.lora_rank) if training.lora_rank else shape.parameters
    weights = Part("weights", _weights(shape, training, trained), _weights_text(training))
    moments = Part("optimizer", 8 * trained, "AdamW: two fp32 moments of each trained weight")
    moving = _backward(shape, training, batch, trained), _step(trained), _saving(shape, training)
    moment, parts = max(moving, key=lambda pair: sum(part.bytes for part in pair[1]))
    whole = [weights, moments, *parts]
    return Memory(moment, [*whole, _overhead(shape, training, batch, whole)])


def _weights(shape: ModelShape, training: Training, trained: int) -> int:
    if not training.lora_rank:
        return 4 * shape.parameters
    return (4 if training.precision == "fp32" else 2) * shape.parameters + 4 * trained


def _weights_text(training: Training) -> str:
    if training.lora_rank:
        return f"frozen in {training.precision}, and LoRA of rank {training.lora_rank} in fp32"
    return "fp32, all trained"


def _backward(shape: ModelShape, training: Training, batch: Pass, trained: int) -> tuple[str, list[Part]]:
    """The moment after the loss. Its gradients come in as activations go.

    With one pass a step there are no gradients yet but that of the output layer; with several, those of the
    passes before lie there in full.
    """
    gradients = 4 * trained
    if training.accumulation == 1 and training.devices == 1:
        gradients = min(gradients, 4 * shape.embedding) if not training.lora_rank else 0
    parts = [Part("gradients", gradients, _gradients_text(training))]
    if training.devices > 1:
        parts.append(Part("exchange", 4 * trained, "gradients on their way between the GPUs"))
    if training.precision != "fp32" and not training.lora_rank:
        copies = 2 * shape.linear  # Those of the output layer are made tile by tile.
        parts.append(Part("autocast copies", copies, f"the weights in {training.precision} for one pass"))
    kept, what = _activations(shape, training, batch)
    # The output layer's tensors go before the last layer's gradients come.
    logits, working = _logits(shape, training, batch), _working(shape, training, batch)
    parts.append(Part("activations", kept + max(0, working - logits), what))
    parts.append(Part("logits", logits, _logits_text(shape, training, batch)))
    return "a backward pass", parts


def _gradients_text(training: Training) -> str:
    if training.accumulation == 1 and training.devices == 1:
        return "fp32; with one pass a step few are there while activations are"
    return "fp32, one of each trained weight"


def _step(trained: int) -> tuple[str, list[Part]]:
    return "the optimizer's step", [Part("gradients", 4 * trained, "fp32, one of each trained weight")]


def _saving(shape: ModelShape, training: Training) -> tuple[str, list[Part]]:
    """On a CPU the file is made in the memory that the training lies in."""
    if training.device != "cpu":
        return "saving", []
    return "saving", [Part("saving", 4 * shape.parameters, "the weights on their way to the file")]


def layer_bytes(shape: ModelShape, training: Training, batch: Pass) -> int:
    """What one layer keeps of one pass for its backward pass.

    In fp32, in numbers per token: both norms keep their input, the normed and the scaled value (6h);
    attention keeps query, key, value and result (2q + 2kv); the MLP keeps gate, its SiLU, up and their
    product (4i). Under autocast the stream and the norms stay fp32 (16h bytes), each of the five matrices
    that read it casts for itself (10h), and the rest is 16 bits. LoRA's frozen norms keep less; its adapters
    keep a cast of every input. A padded batch on a GPU needs a mask, and with a mask key and value are
    repeated for every head.
    """
    h, q, kv, i = shape.hidden, shape.query_width, shape.kv_width, shape.intermediate
    size = 4 if training.precision == "fp32" else 2
    masked = training.device == "cuda" and batch.rows > 1
    kv = q if masked else kv
    if training.precision == "fp32":
        per_token = 4 * ((4 if training.lora_rank else 6) * h + 2 * q + 2 * kv + 4 * i)
    elif training.lora_rank:
        per_token = 18 * h + 6 * q + 4 * kv + 8 * i
    else:
        per_token = 26 * h + 4 * q + 4 * kv + 8 * i
    per_token += 4 * (shape.heads + 2) + 7 * size * training.lora_rank
    mask = size * batch.rows * batch.length**2 if masked else 0
    return batch.tokens * per_token + mask


def _activations(shape: ModelShape, training: Training, batch: Pass) -> tuple[int, str]:
    of_layer = layer_bytes(shape, training, batch)
    ends = batch.tokens * 4 * 3 * shape.hidden
    form = f"{batch.rows:,} x {batch.length:,} tokens"
    if training.checkpointing:
        inputs = batch.tokens * shape.layers * shape.hidden * (2 if _short_stream(training) else 4)
        return inputs + of_layer + ends, f"{form}: each layer's input, and one layer in full"
    return shape.layers * of_layer + ends, f"{form}, kept by every layer"


def _short_stream(training: Training) -> bool:
    return bool(training.lora_rank) and training.precision != "fp32"


def _working(shape: ModelShape, training: Training, batch: Pass) -> int:
    """Gradients of the values inside one layer while it is gone through backwards."""
    size = 4 if training.precision == "fp32" else 2
    return batch.tokens * size * (3 * shape.intermediate + 2 * shape.hidden)


def direct_logits(shape: ModelShape, training: Training, batch: Pass) -> bool:
    """Whether the trainer makes all logits of the pass at once."""
    return training.device == "cpu" and batch.trained * shape.vocabulary <= MOST_DIRECT_LOGITS


def scored_tokens(shape: ModelShape, training: Training, batch: Pass) -> int:
    """Tokens that get logits: in tiles, on a CPU, those of the prompt and the padding too."""
    everything = training.device == "cpu" and not direct_logits(shape, training, batch)
    return batch.tokens if everything else batch.trained


def _logits(shape: ModelShape, training: Training, batch: Pass) -> int:
    """The output layer's tensors: three of all logits, or the tiles of TRL's fused output layer.

    Made at once: the log-softmax, the gradient of the loss and that of the logits are there together. In
    tiles: the tile, and fp32 sums of the gradients of the weights and of the last hidden values.
    """
    if direct_logits(shape, training, batch):
        return 3 * 4 * batch.trained * shape.vocabulary
    scored = scored_tokens(shape, training, batch)
    tile = min(scored, TILE_TOKENS) * min(shape.vocabulary, TILE_VOCABULARY)
    copies = _TILE_COPIES * 4 if training.device == "cpu" else (4 if training.precision == "fp32" else 2)
    weight = 0 if training.lora_rank else 4 * shape.embedding
    return tile * copies + weight + scored * shape.hidden * 4


def _logits_text(shape: ModelShape, training: Training, batch: Pass) -> str:
    vocabulary = f"a vocabulary of {shape.vocabulary:,}"
    if direct_logits(shape, training, batch):
        return f"{batch.trained:,} answer tokens x {vocabulary}, three times in fp32"
    return f"{vocabulary} in tiles, and the output layer's gradient"


def _overhead(shape: ModelShape, training: Training, batch: Pass, parts: list[Part]) -> Part:
    loose = sum(part.bytes for part in parts if part.name == "activations")
    if training.device == "cuda":
        return Part("overhead", CUDA_CONTEXT + round(_GAPS_CUDA * loose), "CUDA, and the allocator's gaps")
    share = _GAPS_CPU[bool(training.lora_rank), training.accumulation > 1]
    if 4 * batch.tokens * shape.intermediate > _LARGEST_IN_HEAP:
        # The MLP's four values of each layer lie outside the heap.
        loose -= shape.layers * batch.tokens * 16 * shape.intermediate
    gaps = round(share * max(0, loose))
    return Part(
        "overhead", CPU_LIBRARIES + gaps, "what libraries pool, and the allocator's gaps; not the libraries"
    )
