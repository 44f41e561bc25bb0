"""The training of the shipped models: loss on the answers only, length-sorted batches, Muon and AdamW.

The number of steps is fixed, not the time, so that the same seed gives the same weights on a slower machine.
Muon is momentum whose update is made orthogonal, for the weight matrices. At the demo's size and time it
learns the tasks two to three times as fast as AdamW, which trains embeddings, norms and biases.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

IGNORED: Final = -100
_CHUNK: Final = 2_048


class Lesson(NamedTuple):
    """A prompt and the answer to learn; without an answer, the prompt itself is learnt."""

    prompt: str
    answer: str


class Encoded(NamedTuple):
    """Token ids, and how many at the front carry no loss."""

    ids: list[int]
    masked: int


@dataclass(frozen=True)
class Architecture:
    """The size of a Qwen2 model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the lessons."""

    architecture: Architecture
    steps: int
    seed: int
    muon_lr: float = 0.004
    adamw_lr: float = 0.005
    batch_tokens: int = 900
    warmup: float = 0.04
    decay: float = 0.35


@dataclass(frozen=True)
class Outcome:
    """What a training took."""

    steps: int
    samples: int
    tokens: int
    cpu_seconds: float
    loss: float


def new_model(tokenizer: PreTrainedTokenizerBase, architecture: Architecture, seed: int) -> Qwen2ForCausalLM:
    """A Qwen2 model with random weights for the tokenizer's vocabulary."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        intermediate_size=architecture.mlp,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000.0},
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


def train(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    lessons: Iterator[Lesson],
    recipe: Recipe,
    seconds: float | None = None,
) -> Outcome:
    """Train in place for the recipe's steps.

    Args:
        seconds: For trials: stop after this much CPU time, and fit the schedule to it.
    """
    model.train()
    optimizers = _optimizers(model, recipe)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    padding = cast(int, tokenizer.pad_token_id)
    started, samples, tokens, losses = time.process_time(), 0, 0, list[float]()
    for step, batch in enumerate(_batches(tokenizer, lessons, recipe)):
        done = (time.process_time() - started) / seconds if seconds else step / recipe.steps
        if done >= 1:
            break
        _set_rates(optimizers, rates, schedule(done, recipe.warmup, recipe.decay))
        loss = completion_loss(model, *collate(batch, padding))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        samples += len(batch)
        tokens += sum(len(item.ids) for item in batch)
        losses.append(loss.item())
        if step % 200 == 0:
            _report(step, done, losses, tokens, time.process_time() - started)
    model.eval()
    return Outcome(
        len(losses), samples, tokens, round(time.process_time() - started, 1), round(_recent(losses), 4)
    )


def schedule(done: float, warmup: float, decay: float) -> float:
    """The share of the full learning rate after a share of the training: up, level, down to 2 %."""
    rising = min(1.0, done / warmup) if warmup else 1.0
    falling = 1.0 if done < 1 - decay else 0.02 + 0.98 * (1 - done) / decay
    return rising * falling


def completion_loss(model: Qwen2ForCausalLM, inputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy on the answers; only their positions get logits."""
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    wanted = targets != IGNORED
    return functional.cross_entropy(model.lm_head(hidden[wanted]).float(), targets[wanted])


def collate(batch: Sequence[Encoded], padding: int) -> tuple[Tensor, Tensor]:
    """Right-padded inputs and labels."""
    longest = max(len(item.ids) for item in batch)
    inputs = torch.full((len(batch), longest), padding)
    labels = torch.full((len(batch), longest), IGNORED)
    for row, (ids, masked) in enumerate(batch):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, masked : len(ids)] = inputs[row, masked : len(ids)]
    return inputs, labels


def _batches(
    tokenizer: PreTrainedTokenizerBase, lessons: Iterator[Lesson], recipe: Recipe
) -> Iterator[list[Encoded]]:
    """Endless batches: each chunk of lessons is sorted by length, cut by tokens, and shuffled by batches."""
    rng = Random(f"batches/{recipe.seed}")
    while True:
        encoded = sorted(_encode(tokenizer, list(islice(lessons, _CHUNK))), key=lambda item: len(item.ids))
        chunk: list[list[Encoded]] = [[]]
        for item in encoded:
            if (len(chunk[-1]) + 1) * len(item.ids) > recipe.batch_tokens:
                chunk.append([])
            chunk[-1].append(item)
        rng.shuffle(chunk)
        yield from chunk


def _encode(tokenizer: PreTrainedTokenizerBase, lessons: Sequence[Lesson]) -> list[Encoded]:
    prompts = tokenizer([lesson.prompt for lesson in lessons])["input_ids"]
    answers = tokenizer([lesson.answer for lesson in lessons])["input_ids"]
    return [
        Encoded(prompt + answer, len(prompt) if answer else 1)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _optimizers(model: Qwen2ForCausalLM, recipe: Recipe) -> list[Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, norms and biases."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in inner}
    outer = [p for p in model.parameters() if id(p) not in chosen]
    adamw = AdamW(outer, lr=recipe.adamw_lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    return [Muon(inner, lr=recipe.muon_lr), adamw]


def _set_rates(optimizers: Sequence[Optimizer], rates: Sequence[Sequence[float]], share: float) -> None:
    for optimizer, full in zip(optimizers, rates, strict=True):
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate * share


def _recent(losses: Sequence[float]) -> float:
    tail = losses[-60:]
    return sum(tail) / len(tail)


def _report(step: int, done: float, losses: Sequence[float], tokens: int, seconds: float) -> None:
    loss = _recent(losses)
    print(
        f"{done:5.1%} step {step} loss {loss:.3f} {tokens / 1e6:.2f}M tokens {seconds:.0f} cpu-s", flush=True
    )


# Newton-Schulz runs in fp32: CPUs have no fast half precision.
_NEWTON_SCHULZ: Final = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised per matrix, with decoupled weight decay."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices; those of one shape share one batched Newton-Schulz."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._momentum(parameter, group["momentum"])
                    by_shape.setdefault(parameter.shape, []).append((parameter, update))
            for shape, pairs in by_shape.items():
                updates = orthogonalise(torch.stack([update for _, update in pairs]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-group["lr"] * scale)

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        gradient = cast(Tensor, parameter.grad)
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum)


def orthogonalise(updates: Tensor) -> Tensor:
    """The nearest orthogonal matrices to a stack of matrices, by five Newton-Schulz steps."""
    wide = updates.mT if updates.shape[-2] > updates.shape[-1] else updates
    wide = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for a, b, c in _NEWTON_SCHULZ:
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.mT if updates.shape[-2] > updates.shape[-1] else wide
