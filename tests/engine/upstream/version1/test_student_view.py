"""A student written by today's libraries, as transformers 4.51 reads it."""

from __future__ import annotations

import json
from pathlib import Path

from qdl_engine.demo.lab import BASE_STUDENT
from qdl_engine.upstream.version1.inputs import make_student_view, model_config, tokenizer_config


def test_positions_turn_by_the_same_base() -> None:
    new = json.loads((BASE_STUDENT / "config.json").read_text())
    assert "rope_theta" not in new and new["rope_parameters"]["rope_theta"] == 1000.0
    old = model_config(new)
    assert old["rope_theta"] == 1000.0 and "rope_parameters" not in old and "rope_scaling" not in old
    assert old["torch_dtype"] == new["dtype"] and "dtype" not in old
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}
    old = model_config({"rope_parameters": yarn})
    assert old == {"rope_theta": 1e6, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}


def test_a_config_of_transformers_4_stays_as_it_is() -> None:
    config = {"model_type": "qwen2", "rope_theta": 1e6, "torch_dtype": "bfloat16"}
    assert model_config(config) == config
    tokenizer = {"tokenizer_class": "Qwen2Tokenizer", "additional_special_tokens": ["<|x|>"]}
    assert tokenizer_config(tokenizer) == tokenizer


def test_a_tokenizer_gets_a_class_that_is_there_and_keeps_its_tokens() -> None:
    new = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "extra_special_tokens": ["<|x|>"]}
    assert tokenizer_config(new) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<|x|>"],
    }


def test_weights_are_links_and_code_and_pickles_stay_behind(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text(
        json.dumps({"auto_map": {"AutoModel": "evil.Model"}, "dtype": "float32"})
    )
    for name in ("model.safetensors", "evil.py", "pytorch_model.bin", "training_args.bin", "merges.txt"):
        (source / name).write_text(name)
    (source / "checkpoint-1").mkdir()
    view = make_student_view(source, tmp_path / "view")
    assert {path.name for path in view.iterdir()} == {"config.json", "model.safetensors", "merges.txt"}
    assert (view / "model.safetensors").is_symlink() and not (view / "config.json").is_symlink()
    assert json.loads((view / "config.json").read_text()) == {"torch_dtype": "float32"}
    assert json.loads((source / "config.json").read_text())["dtype"] == "float32"
    assert make_student_view(source, view) == view
