"""Checkpoints: the final one, proved to load before it takes its place, and those to resume from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoTokenizer

from qdl_engine.config.template import PromptTemplate
from qdl_engine.core.errors import RunError
from qdl_engine.core.lab import write_json_atomic
from qdl_engine.models.checkpoint import RECORD_FILE, made_here
from qdl_engine.models.outputs import previous_place
from qdl_engine.trainer.student import UNREADABLE, open_model

SESSION_FILE = "session.json"
"""Beside the checkpoints: what they were trained on."""
_TORCH_WRITER = ("inline_container", "PytorchStreamWriter")
_PROBE = "What is 2 + 3?\n'\"\\ {{ x }} é 漢"
"""An instruction with what a template could stumble over."""


def publish(
    model: Any,
    tokenizer: Any,
    output_dir: Path,
    *,
    template: PromptTemplate,
    dtype: torch.dtype,
    record: dict[str, Any],
) -> None:
    """Write the final checkpoint beside `output_dir`, prove that it loads, and swap it in.

    The checkpoint that was there before is kept as `<name>.previous`.

    Raises:
        RunError: when what was written does not load; `output_dir` is then as it was.
    """
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    fresh = output_dir.with_name(f".{output_dir.name}.new-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with writing_to(output_dir.parent):
            model.to(dtype).save_pretrained(fresh)
            tokenizer.save_pretrained(fresh)
            write_json_atomic(fresh / RECORD_FILE, record | made_here())
            verify(fresh, template)
            _swap(fresh, output_dir)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turn what the libraries raise for a full or read-only disk into what a person can mend.

    Raises:
        RunError: naming `place`.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch.save says so with the name of a file of its own source.
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _TORCH_WRITER):
            raise
        raise RunError(
            f"The checkpoint could not be written: {error}", f"Is there room for it at {place}?"
        ) from error


def verify(directory: Path, template: PromptTemplate) -> None:
    """Load what was written, and ask for a prompt.

    Raises:
        RunError: when model or tokenizer do not load, weights are missing or not finite, or the chat template
            renders other bytes than training did.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        model, missing = open_model(directory, "auto")
    except UNREADABLE as error:
        raise RunError(
            f"The checkpoint does not load: {error}", "The last good one stays where it was."
        ) from error
    if missing:
        raise RunError(f"The checkpoint lacks {missing[0]}")
    spoilt = [name for name, weights in model.named_parameters() if not torch.isfinite(weights).all()]
    if spoilt:
        raise RunError(
            f"The checkpoint has weights that are not finite: {spoilt[0]}", "Lower the learning rate."
        )
    turns = [{"role": "user", "content": _PROBE}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    if rendered != template.prompt(_PROBE):
        raise RunError("The checkpoint's chat template does not render the prompt of its training")


def _swap(fresh: Path, output_dir: Path) -> None:
    if not output_dir.exists():
        os.replace(fresh, output_dir)
        return
    previous = previous_place(output_dir)
    shutil.rmtree(previous, ignore_errors=True)
    os.replace(output_dir, previous)
    try:
        os.replace(fresh, output_dir)
    except OSError:
        os.replace(previous, output_dir)
        raise


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint to resume from, passing over those that a kill cut short.

    `trainer_state.json` is written last, so one that can be read has all the others beside it.
    """
    found = [
        path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()
    ]
    for path in sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True):
        weights = any(path.glob("model*.safetensors")) or any(path.glob("adapter_model*.safetensors"))
        if weights and (path / "optimizer.pt").is_file() and _is_json(path / "trainer_state.json"):
            return path
    return None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def clear_checkpoints(directory: Path) -> None:
    """Remove the checkpoints of an earlier training, which could otherwise be resumed by mistake."""
    for path in directory.glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    (directory / SESSION_FILE).unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
