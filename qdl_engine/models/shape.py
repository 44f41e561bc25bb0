"""A model's size, from its `config.json` alone; the weights are not needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdl_engine.core.errors import ModelError
from qdl_engine.core.lab import read_json
from qdl_engine.models.checkpoint import Role, find_checkpoint, hub_reachable, invalid_model, load_error

CONFIG = "config.json"

_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
_QWEN25 = {"model_type": "qwen2", "max_position_embeddings": 32768, "torch_dtype": "bfloat16"}
PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": _QWEN25
    | {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN25
    | {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-7B-Instruct": _QWEN25
    | {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Published configs of a fresh lab's models, for use without a network or before the first download."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a decoder of Qwen2's kind: grouped-query attention, SwiGLU, RMSNorm."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """Whether the output layer is the embedding."""
    dtype_bytes: int
    """Bytes of one weight on the disk."""
    positions: int
    attention_bias: bool
    origin: str = ""
    """Where the config was read: `local`, `cache`, `hub` or `published`."""

    @property
    def query_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads together; the value heads have the same."""
        return self.kv_heads * self.head_dim

    @property
    def embedding(self) -> int:
        """Parameters of the embedding; the output layer has as many."""
        return self.vocabulary * self.hidden

    @property
    def linear(self) -> int:
        """Weights in the layers' matrices, which multiply every token."""
        attention = self.hidden * (2 * self.query_width + 2 * self.kv_width)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """Parameters of the whole model; tied embeddings count once."""
        biases = self.query_width + 2 * self.kv_width if self.attention_bias else 0
        norms = self.layers * (2 * self.hidden + biases) + self.hidden
        return self.linear + norms + self.embedding * (1 if self.tied else 2)

    def lora_parameters(self, rank: int) -> int:
        """Parameters of adapters of this rank on every matrix of every layer."""
        ins_and_outs = (
            (self.hidden + self.query_width)
            + 2 * (self.hidden + self.kv_width)
            + (self.query_width + self.hidden)
            + 3 * (self.hidden + self.intermediate)
        )
        return self.layers * rank * ins_and_outs

    def trained_parameters(self, lora_rank: int) -> int:
        """Parameters that a training changes: all of them, or with a rank over 0 the adapters only."""
        return self.lora_parameters(lora_rank) if lora_rank else self.parameters


def shape_of(config: Mapping[str, Any], name: str, origin: str = "local") -> ModelShape:
    """The sizes in a config.

    Raises:
        KeyError: when one is missing.
    """
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return ModelShape(
        name=name,
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        intermediate=int(config["intermediate_size"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        dtype_bytes=_SIZES.get(dtype, 4),
        positions=int(config.get("max_position_embeddings") or 32768),
        attention_bias=bool(config.get("attention_bias", config.get("model_type") == "qwen2")),
        origin=origin,
    )


def read_shape(name: str, role: Role, *, ask_hub: bool = True) -> ModelShape:
    """The sizes of a model, from a local directory, the hub's cache, `PUBLISHED`, or the hub.

    Args:
        name: A directory or a hub id.
        role: What errors call it.
        ask_hub: Whether to ask the hub for a config that is not on this machine.

    Raises:
        ModelError: when there is no such model, or its config says too little.
    """
    place = find_checkpoint(name, role)
    local = cached_file(place, CONFIG)
    try:
        if local is not None:
            origin = "local" if Path(place).is_dir() else "cache"
            return shape_of(read_json(local), name, origin)
        if place in PUBLISHED:
            return shape_of(PUBLISHED[place], name, "published")
        return shape_of(read_json(_from_hub(place, role, ask_hub)), name, "hub")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise invalid_model(name, role, f"its config.json says too little: {error}") from error


def cached_file(place: str, file: str) -> Path | None:
    """A model's file on this machine, in its directory or in the hub's cache; None where it is not."""
    directory = Path(place).expanduser()
    if os.path.isdir(directory):
        return directory / file if (directory / file).is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place, file)
    return Path(found) if isinstance(found, str) else None


def _from_hub(place: str, role: Role, ask_hub: bool) -> Path:
    from huggingface_hub import hf_hub_download

    if not ask_hub or not hub_reachable():
        raise load_error(place, role, ModelError("not in the cache"), reachable=False)
    try:
        return Path(hf_hub_download(place, CONFIG))
    except (OSError, ValueError) as error:
        raise load_error(place, role, error, reachable=True) from error
