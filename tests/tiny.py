"""Tiny random Qwen2 checkpoints for tests: real files, real classes, a few thousand parameters.

Nothing here knows anything; a test that needs a model that has learnt something uses the demo lab's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

# The system and user turns come out as `qdl_engine.core.prompts.format_prompt` writes them.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def make_tiny_tokenizer(directory: Path, *, vocab_texts: Iterable[str] | None = None) -> Any:
    """A byte-level BPE tokenizer with Qwen's special tokens, saved in `directory`.

    Args:
        directory: Where to write it; made when absent.
        vocab_texts: Texts to learn merges from, up to 800 tokens; None keeps the 256 bytes, so that any
            text can be encoded and one byte is one token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800 if vocab_texts is not None else 256 + len(SPECIAL_TOKENS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(vocab_texts or [], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    return tokenizer


def make_tiny_model(
    directory: Path,
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    vocab_texts: Iterable[str] | None = None,
    sampling_defaults: bool = False,
    lively: bool = False,
) -> Path:
    """A randomly initialised Qwen2 checkpoint with its tokenizer.

    Args:
        directory: Where to write it; made when absent.
        seed: Two checkpoints of the same seed and sizes are equal.
        hidden: Width; heads are 16 wide, two of them sharing each key and value head where possible.
        layers: Depth.
        vocab_texts: See `make_tiny_tokenizer`.
        sampling_defaults: Write Qwen2.5's own `generation_config.json`, which samples and penalises
            repetition unless the caller says otherwise.
        lively: Wide random weights and an output layer of its own, so that greedy text wanders instead of
            repeating the prompt's last token.

    Returns:
        `directory`.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tiny_tokenizer(directory, vocab_texts=vocab_texts)
    heads = max(1, hidden // 16)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        max_position_embeddings=4096,
        tie_word_embeddings=not lively,
        initializer_range=0.6 if lively else 0.02,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config).to(torch.float32)
    model.save_pretrained(directory, safe_serialization=True)
    stops = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    generation = {"eos_token_id": stops, "pad_token_id": tokenizer.pad_token_id}
    if sampling_defaults:
        generation |= {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}
        generation |= {"repetition_penalty": 1.05}
    (directory / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return directory
