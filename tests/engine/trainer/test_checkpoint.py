"""A checkpoint takes its place only when it loads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from qdl_engine.config.template import parse_template
from qdl_engine.core.errors import RunError
from qdl_engine.core.prompts import training_template
from qdl_engine.trainer.checkpoint import publish, verify
from qdl_engine.trainer.student import load_tokenizer

TEMPLATE = parse_template(training_template("S"))


def test_a_spoilt_student_leaves_the_old_one_in_place(student: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").touch()
    model = AutoModelForCausalLM.from_pretrained(student)
    with torch.no_grad():
        next(model.parameters())[0, 0] = float("nan")
    with pytest.raises(RunError, match="not finite"):
        publish(
            model,
            load_tokenizer(str(student), TEMPLATE),
            output,
            template=TEMPLATE,
            dtype=torch.float32,
            record={},
        )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (output / "old").exists()


def test_what_does_not_load_is_found_out(student: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        shutil.copytree(student, tmp_path / name)
        load_tokenizer(str(student), TEMPLATE).save_pretrained(tmp_path / name)
        return tmp_path / name

    verify(copy("whole"), TEMPLATE)
    cut = copy("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(RunError, match="does not load"):
        verify(cut.parent, TEMPLATE)
    with pytest.raises(RunError, match="chat template"):
        verify(copy("other"), parse_template(training_template("T")))
