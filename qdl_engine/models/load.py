"""Loading teacher and students, quantised where wanted; `device.py` decides device and precision.

Safetensors only and no remote code: a checkpoint is data, never a program. Importing this module costs
nothing; torch and transformers are imported when a model is loaded.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from qdl_engine.core.errors import ModelError, SettingsError
from qdl_engine.core.prompts import END_OF_TURN
from qdl_engine.models.checkpoint import (
    Role,
    find_checkpoint,
    first_line,
    hub_reachable,
    invalid_model,
    load_error,
    looks_like_path,
    not_found,
)
from qdl_engine.models.device import is_out_of_memory, pick_device, pick_dtype

Quantization = Literal["8bit", "4bit", "bf16", "none"]


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with its tokenizer."""

    model: Any
    tokenizer: Any
    path: str
    """What was asked for: a hub id or a local directory."""
    device: str

    def __iter__(self) -> Iterator[Any]:
        """Unpacks as the usual pair: `model, tokenizer = load_student(path)`."""
        return iter((self.model, self.tokenizer))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Every token that ends an answer: the tokenizer's and the checkpoint's own, and both of ChatML's.

        A base checkpoint names only `<|endoftext|>`, yet a student trained from it learns `<|im_end|>`.
        """
        vocabulary = self.tokenizer.get_vocab()
        named = {vocabulary.get(END_OF_TURN), vocabulary.get("<|endoftext|>"), self.tokenizer.eos_token_id}
        declared = self.model.generation_config.eos_token_id
        named.update(declared if isinstance(declared, list) else [declared])
        return frozenset(token for token in named if token is not None)

    @cached_property
    def context(self) -> int:
        """Longest prompt plus answer the model's positions reach."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @cached_property
    def parameters(self) -> int:
        """The number of parameters, as transformers counts them."""
        return int(self.model.num_parameters())


ModelLike = LoadedModel | tuple[Any, Any]
"""A model in memory: what `load_teacher` and `load_student` return, or a pair of model and tokenizer."""


def as_loaded(given: Any, role: Role) -> LoadedModel:
    """The model in memory that a caller means.

    Raises:
        SettingsError: when it is neither a loaded model nor a pair of model and tokenizer.
    """
    if isinstance(given, LoadedModel):
        return given
    from torch.nn import Module
    from transformers import PreTrainedTokenizerBase

    match given:
        case (Module() as model, PreTrainedTokenizerBase() as tokenizer):
            loaded: Any = model.eval()
            name = loaded.config.name_or_path or f"a {type(model).__name__} in memory"
            return LoadedModel(loaded, tokenizer, str(name), str(loaded.device))
    what = type(given).__name__
    raise SettingsError(
        f"A {what} without its tokenizer" if isinstance(given, Module) else f"A {what} is no loaded {role}",
        f"Give what load_{role} returned, or the pair (model, tokenizer).",
    )


def load_teacher(
    path: str | Path, *, quantization: Quantization = "8bit", device: str = "auto"
) -> LoadedModel:
    """Load the teacher, by default with 8-bit weights.

    Args:
        path: Hub id or local directory.
        quantization: Weights in memory; `8bit` works on CUDA and on a CPU.
        device: `auto` is the first GPU, or the CPU where there is none.

    Raises:
        ModelError: `Model not found at <path>`, `Invalid teacher model: <name>`, or that it does not fit.
    """
    return _load(path, "teacher", quantization, device)


def load_student(path: str | Path, *, device: str = "auto") -> LoadedModel:
    """Load a student: a fresh one, or a distilled checkpoint.

    Raises:
        ModelError: `Model not found at <path>`, `Invalid student model: <name>`, or that it does not fit.
    """
    return _load(path, "student", "none", device)


def free_memory() -> None:
    """Give back what dropped models and caches held, on the GPU too."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _load(path: str | Path, role: Role, quantization: Quantization, device: str) -> LoadedModel:
    name = str(path)
    if isinstance(path, Path) and not path.expanduser().exists():
        # A path is never meant as a hub id.
        raise not_found(name, role)
    place = find_checkpoint(name, role)
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # bitsandbytes warns once per layer and forward pass that inputs are cast: thousands of lines an answer.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # Some releases of transformers warn of the argument that their own models still ask for.
    warnings.filterwarnings("ignore", message=".*past_key_values", category=FutureWarning)
    reachable = Path(place).is_dir() or hub_reachable()
    source = {"trust_remote_code": False, "local_files_only": not reachable}
    try:
        device = pick_device(device)
        options = _quantization_options(quantization, device)
        tokenizer = AutoTokenizer.from_pretrained(place, **source)
        model, loading = AutoModelForCausalLM.from_pretrained(
            place,
            dtype=torch.bfloat16 if quantization == "bf16" else pick_dtype(device),
            device_map={"": device},
            use_safetensors=True,
            output_loading_info=True,
            **source,
            **options,
        )
    except ImportError as missing:
        raise ModelError(
            f"Cannot load the {role} {name}: {first_line(missing)}", "Run: qdl doctor"
        ) from missing
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, SafetensorError,
    ) as broken:  # fmt: skip
        if is_out_of_memory(broken):
            raise _does_not_fit(name, role, device) from broken
        if looks_like_path(name):
            raise not_found(name, role) from broken
        raise load_error(name, role, broken, reachable=reachable) from broken
    if loading["missing_keys"]:
        # transformers would go on with random numbers in their place.
        raise invalid_model(name, role, f"its weights lack {sorted(loading['missing_keys'])[0]}")
    _prepare_tokenizer(name, role, model, tokenizer)
    return LoadedModel(model.eval(), tokenizer, name, device)


def _quantization_options(quantization: Quantization, device: str) -> dict[str, Any]:
    if quantization in ("none", "bf16"):
        return {}
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=pick_dtype(device)
    )
    return {"quantization_config": config}


def _prepare_tokenizer(name: str, role: Role, model: Any, tokenizer: Any) -> None:
    """Left padding for generation, a padding token, and no token the model has no row for."""
    rows = model.get_input_embeddings().num_embeddings
    if max(tokenizer.get_vocab().values(), default=-1) >= rows:
        raise invalid_model(name, role, f"its tokenizer has tokens beyond the model's {rows}")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token


def _does_not_fit(name: str, role: Role, device: str) -> ModelError:
    on_gpu = device.startswith("cuda")
    if role == "teacher":
        cure = 'Set teacher.quantization to "8bit" or "4bit", or choose a smaller teacher.model.'
    elif on_gpu:
        cure = "Free the GPU (nvidia-smi shows who holds it), or choose a smaller student."
    else:
        cure = "Close other programs, or choose a smaller student."
    place = "GPU memory" if on_gpu else "memory"
    return ModelError(f"Out of {place} while loading the {role} {name}", cure)
