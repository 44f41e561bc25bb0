"""A student as EasyDistill 1.0's transformers 4.51 can read it, without a copy of its weights.

Files written by transformers 5 mean something else there, or nothing: `rope_parameters` is passed over, so
that the model silently turns its positions by another base, and `TokenizersBackend` is no class. And 1.0 runs
any code that it finds beside the weights.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from qdl_engine.lab import read_json, write_json_atomic

_DATA = (".json", ".safetensors", ".jinja", ".txt", ".model")
"""Suffixes of what is data; code and pickles are left behind."""
_GENERIC_TOKENIZER = "PreTrainedTokenizerFast"


def make_student_view(source: Path, view: Path) -> Path:
    """Lay out `source` anew: weights as links, what transformers 4 would misread written in its own words.

    Args:
        source: A checkpoint directory, written by any transformers from 4 on.
        view: Where to; replaced when it exists.

    Returns:
        `view`.
    """
    shutil.rmtree(view, ignore_errors=True)
    view.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and file.suffix in _DATA:
            (view / file.name).symlink_to(file.resolve())
    _rewrite(view / "config.json", model_config)
    _rewrite(view / "tokenizer_config.json", tokenizer_config)
    return view


def _rewrite(file: Path, change: Any) -> None:
    if not file.is_file():
        return
    value = read_json(file)
    file.unlink()
    write_json_atomic(file, change(value))


def model_config(config: dict[str, Any]) -> dict[str, Any]:
    """`config.json` in the words of transformers 4."""
    old = {key: value for key, value in config.items() if key not in ("auto_map", "rope_parameters", "dtype")}
    if "dtype" in config:
        old.setdefault("torch_dtype", config["dtype"])
    rope = dict(config.get("rope_parameters") or {})
    if "rope_theta" in rope:
        old["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        old["rope_scaling"] = rope
    return old


def tokenizer_config(config: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer_config.json` in the words of transformers 4."""
    old = {key: value for key, value in config.items() if key not in ("auto_map", "backend", "is_local")}
    if old.get("tokenizer_class") == "TokenizersBackend":
        old["tokenizer_class"] = _GENERIC_TOKENIZER
    extra = old.get("extra_special_tokens")
    if isinstance(extra, list):
        del old["extra_special_tokens"]
        old["additional_special_tokens"] = [*(old.get("additional_special_tokens") or []), *extra]
    return old
