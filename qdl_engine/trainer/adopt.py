"""A checkpoint that another runtime trained, made one of the lab's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

from qdl_engine.easydistill.config import TrainConfig
from qdl_engine.errors import RunError
from qdl_engine.trainer.checkpoint import publish
from qdl_engine.trainer.session import quiet_libraries
from qdl_engine.trainer.student import dtype_of, end_answers, load_tokenizer


def adopt_checkpoint(trained: Path, student: Path, config: TrainConfig, record: dict[str, Any]) -> None:
    """Put `trained` where the config's student belongs, as the built-in runtime leaves one.

    It is proved to load, has the number format of the student it began as, ends its answers and renders its
    prompts as they were trained.

    Args:
        trained: What the other runtime wrote.
        student: The directory of the student that it began with.
        config: What was trained.
        record: What the checkpoint says about itself.

    Raises:
        RunError: when it does not load; what was there before stays.
        ModelError: when `student` is no model any more.
    """
    quiet_libraries()
    tokenizer = load_tokenizer(str(student), config.template)
    dtype = dtype_of(AutoConfig.from_pretrained(student, trust_remote_code=False))
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            trained,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise RunError(f"The checkpoint in {trained} does not load: {error}") from error
    if report["missing_keys"]:
        raise RunError(f"The checkpoint in {trained} lacks {sorted(report['missing_keys'])[0]}")
    end_answers(model, tokenizer)
    publish(model, tokenizer, config.output_dir, template=config.template, dtype=dtype, record=record)
