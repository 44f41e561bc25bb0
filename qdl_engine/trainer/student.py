"""The student that is trained: in the right precision, with LoRA where wanted, ending answers as trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from qdl_engine.config.model import LoraExtras
from qdl_engine.config.template import PromptTemplate
from qdl_engine.core.errors import ModelError
from qdl_engine.core.prompts import END_OF_TURN
from qdl_engine.models.checkpoint import find_checkpoint, hub_reachable, invalid_model, load_error
from qdl_engine.models.device import Precision, is_out_of_memory, torch_dtype

_PADDING = "<|endoftext|>"

UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)
"""What the libraries raise for a directory or a hub id that is no model."""


def open_model(place: Path | str, dtype: torch.dtype | str, *, local: bool = True) -> tuple[Any, list[str]]:
    """A model as it lies on the disk or the hub: safetensors only, and no code of its own.

    Args:
        place: A directory or a hub id.
        dtype: The number format in memory; "auto" is that of the files.
        local: Whether only local files may be used.

    Returns:
        The model, and the names of weights that its files lack: the library puts random numbers there.
    """
    model, report = AutoModelForCausalLM.from_pretrained(
        place,
        dtype=dtype,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=local,
        output_loading_info=True,
    )
    return model, sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])


@dataclass
class Student:
    """A model to train, its tokenizer, and the number format it came in and is saved in."""

    model: Any
    tokenizer: Any
    dtype: torch.dtype
    name: str


def load_tokenizer(name: str, template: PromptTemplate) -> Any:
    """The student's tokenizer, made to end answers as they are trained and to ask as they were asked.

    Raises:
        ModelError: when `name` is no model, or its tokenizer does not know the end token.
    """
    place, local = _find(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise load_error(name, "student", error, reachable=Path(place).is_dir() or not local) from error
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    if tokenizer.encode(END_OF_TURN, add_special_tokens=False) != [end]:
        raise invalid_model(name, "student", f"its tokenizer has no token {END_OF_TURN}")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == end:
        known = tokenizer.encode(_PADDING, add_special_tokens=False)
        tokenizer.pad_token_id = known[0] if len(known) == 1 else end
    tokenizer.eos_token = END_OF_TURN
    tokenizer.chat_template = template.chat_template()
    return tokenizer


def load_student(name: str, tokenizer: Any, precision: Precision, lora: LoraExtras) -> Student:
    """Load the student for training.

    All weights are trained in fp32 under autocast: at a learning rate of 2e-5 most updates are too small for
    bf16, and fp16 gradients cannot be unscaled. With LoRA the frozen weights may be short, and are.

    Raises:
        ModelError: `Invalid student model: <name>`, with the reason.
    """
    place, local = _find(name)
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=local)
        model, missing = open_model(place, torch_dtype(precision if lora.rank else "fp32"), local=local)
    except UNREADABLE as error:
        if is_out_of_memory(error):
            raise
        raise load_error(name, "student", error, reachable=Path(place).is_dir() or not local) from error
    if missing:
        raise invalid_model(name, "student", f"its weights lack {missing[0]}")
    embeddings = model.get_input_embeddings().num_embeddings
    if max(tokenizer.get_vocab().values()) >= embeddings:
        raise invalid_model(name, "student", f"its tokenizer has tokens beyond the model's {embeddings}")
    end_answers(model, tokenizer)
    return Student(_with_lora(model, lora), tokenizer, dtype_of(config), name)


def _find(name: str) -> tuple[str, bool]:
    """Where the student is, and whether only local files may be used.

    Whatever is wrong with it, the student is what the person chose: the message is always about that.
    """
    try:
        place = find_checkpoint(name, "student")
    except ModelError as error:
        if error.message.startswith("Invalid"):
            raise
        raise invalid_model(name, "student", "the directory does not exist") from error
    return place, Path(place).is_dir() or not hub_reachable()


def end_answers(model: Any, tokenizer: Any) -> None:
    """Generation must stop where training ended the answer; a base model's own end token stays valid."""
    ends = model.generation_config.eos_token_id
    known = ends if isinstance(ends, list) else [] if ends is None else [ends]
    model.generation_config.eos_token_id = list(dict.fromkeys([tokenizer.eos_token_id, *known]))
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _with_lora(model: Any, lora: LoraExtras) -> Any:
    if not lora.rank:
        return model
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def dtype_of(config: Any) -> torch.dtype:
    """The format of the files that were loaded: a student keeps its size."""
    names = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    return names.get(str(config.dtype).removeprefix("torch."), torch.float32)
