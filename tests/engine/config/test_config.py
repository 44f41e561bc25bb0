"""Configs that both runtimes take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.config.model import check_config, read_config
from qdl_engine.config.write import build_config, write_system1_config, write_system2_config
from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import format_prompt
from qdl_engine.core.systems import System
from qdl_engine.models.checkpoint import student_reference
from qdl_engine.settings import LabSettings

# SFTConfig of trl 0.17 under transformers 4.51, as far as a config of ours may use it.
KEYS_OF_1_0 = {
    "output_dir", "num_train_epochs", "max_steps", "per_device_train_batch_size",
    "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay",
    "adam_beta2", "max_length", "bf16", "fp16", "gradient_checkpointing", "group_by_length",
    "logging_steps", "logging_first_step", "logging_nan_inf_filter", "save_strategy", "save_steps",
    "save_total_limit", "seed", "report_to",
}  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path / "a lab")
    lab.create_directories()
    lab.train_labeled.write_text('[{"instruction": "a", "output": "b"}]')
    lab.omnithought_cot.write_text('[{"instruction": "a", "output": "b"}]')
    return lab


@pytest.mark.parametrize("system", ["system1", "system2"])
def test_training_holds_only_keys_of_1_0_and_numbers_as_numbers(lab: Lab, system: System) -> None:
    training = build_config(lab, LabSettings(), system)["training"]
    assert set(training) <= KEYS_OF_1_0
    texts = {key for key, value in training.items() if isinstance(value, str)}
    assert texts == {"output_dir", "lr_scheduler_type", "save_strategy", "report_to"}
    assert isinstance(training["learning_rate"], float)


def test_every_path_is_absolute_and_the_template_is_written(lab: Lab) -> None:
    path = write_system1_config(lab, LabSettings(), config_id="7")
    assert path == lab.config_file("system1", "7")
    raw = json.loads(path.read_text())
    for value in (raw["dataset"]["labeled_path"], raw["dataset"]["template"], raw["training"]["output_dir"]):
        assert Path(value).is_absolute()
    config = read_config(path)
    assert config.template.prompt("Why?") == format_prompt("Why?", "system1")
    assert raw["qdl"]["data"]["sha256"] and raw["qdl"]["template_sha256"] == config.template.sha256


def test_building_writes_nothing(tmp_path: Path) -> None:
    build_config(Lab.at(tmp_path / "none"), LabSettings(), "system2")
    assert not (tmp_path / "none").exists()


def test_two_configs_in_the_same_second_have_two_names(lab: Lab) -> None:
    assert write_system2_config(lab, LabSettings()) != write_system2_config(lab, LabSettings())


def test_a_changed_system_prompt_leaves_an_older_config_as_it_was(lab: Lab) -> None:
    old = write_system1_config(lab, LabSettings(), config_id="old")
    changed = LabSettings.model_validate({"system1": {"system_prompt": "It's {{ new }}\n\\n"}})
    new = write_system1_config(lab, changed, config_id="new")
    assert read_config(old).template.prompt("Q") == format_prompt("Q", "system1")
    assert read_config(new).template.prompt("Q") == format_prompt("Q", system_prompt="It's {{ new }}\n\\n")


def test_auto_precision_is_left_to_the_device(lab: Lab) -> None:
    config = build_config(lab, LabSettings(), "system1")
    assert (config["training"]["bf16"], config["qdl"]["precision"]) == (True, "auto")
    fp32 = LabSettings.model_validate({"system1": {"precision": "fp32"}})
    assert build_config(lab, fp32, "system1")["training"]["bf16"] is False


def raw_config(lab: Lab) -> dict[str, Any]:
    return json.loads(write_system1_config(lab, LabSettings(), config_id="x").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("job_type", "words"),
    [
        ("kd_black_box_api", "qdl run CONFIG.json labels and trains here"),
        ("kd_white_box", "wrong teacher rows"),
        ("rank_dpo_api", "not in its repository"),
        ("kd_black_box_train", "Did you mean kd_black_box_train_only?"),
        (None, "job_type is missing"),
    ],
)
def test_other_job_types_are_refused_with_the_reason(lab: Lab, job_type: str | None, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_config(raw_config(lab) | {"job_type": job_type}, Path("x.json"))
    assert words in str(refused.value)


def test_a_bad_config_is_refused_by_its_key(lab: Lab) -> None:
    raw = raw_config(lab)
    cases: list[tuple[dict[str, Any], str]] = [
        (raw | {"trainings": {}}, "Did you mean training?"),
        (raw | {"qdl": {"held_outt": 0.1}}, "Did you mean held_out?"),
        (raw | {"qdl": {"held_out": 0.9}}, "qdl.held_out"),
        (raw | {"qdl": {"lora": {"rnk": 8}}}, "qdl.lora.rnk: unknown key\nDid you mean rank?"),
        (raw | {"qdl": {"precision": "bf61"}}, "qdl.precision must be auto, fp32, fp16 or bf16"),
        (raw | {"qdl": {"longest_first": 1}}, "qdl.longest_first must be true or false, not 1"),
        (raw | {"qdl": {"data": []}}, "qdl.data must be an object"),
        (raw | {"dataset": 7}, "dataset must be an object"),
        (raw | {"dataset": raw["dataset"] | {"template": None}}, "dataset.template is missing"),
        (raw | {"dataset": raw["dataset"] | {"template": 7}}, "dataset.template must be a text, not 7"),
        (raw | {"models": {}}, "models.student is missing"),
        (raw | {"dataset": raw["dataset"] | {"seed": "7"}}, "dataset.seed must be a whole number"),
        (
            raw | {"qdl": raw["qdl"] | {"system_prompt": "another"}},
            "not the one that dataset.template renders",
        ),
        ({"backend": {}, "generation": {}}, "EasyDistill 2"),
    ]
    for broken, words in cases:
        with pytest.raises(SettingsError) as refused:
            check_config(broken, Path("x.json"))
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("training", "qdl", "precision"),
    [
        ({}, {}, "fp32"),
        ({"bf16": True}, {}, "bf16"),
        ({"fp16": True, "bf16": False}, {}, "fp16"),
        ({"torch_dtype": "torch.bfloat16"}, {}, "bf16"),
        ({"bf16": True}, {"precision": "auto"}, "auto"),
    ],
)
def test_precision_is_read_from_any_of_its_keys(
    lab: Lab, training: dict[str, Any], qdl: dict[str, Any], precision: str
) -> None:
    raw = raw_config(lab)
    raw |= {"training": {"output_dir": "x"} | training, "qdl": qdl}
    assert check_config(raw, Path("x.json")).precision == precision


@pytest.mark.parametrize(
    ("training", "longest"),
    [
        ({}, 1024),
        ({"max_length": None}, None),
        ({"max_seq_length": 7}, 7),
        ({"max_length": 9, "max_seq_length": 7}, 9),
    ],
)
def test_the_longest_row_is_read_from_either_of_its_keys(
    lab: Lab, training: dict[str, Any], longest: int | None
) -> None:
    raw = raw_config(lab) | {"training": {"output_dir": "x"} | training}
    config = check_config(raw, Path("x.json"))
    assert config.max_length == longest and config.setting("batch_size") == 8


def test_only_the_labs_own_array_is_read_without_a_guess(lab: Lab) -> None:
    assert raw_config(lab)["qdl"]["data"]["prepared"] is True
    lab.train_labeled.write_text('{"instruction": "a", "output": "b"}\n')
    assert raw_config(lab)["qdl"]["data"]["prepared"] is False
    other = lab.data / "other.json"
    other.write_text('[{"instruction": "a", "output": "b"}]')
    path = write_system1_config(lab, LabSettings(), labeled_path=other)
    assert json.loads(path.read_text())["qdl"]["data"]["prepared"] is False


def test_configs_cost_no_model_library() -> None:
    code = (
        "import sys, qdl_engine.config.write, qdl_engine.training.command\n"
        "import qdl_engine.training.distill\n"
        "print([name for name in ('torch', 'transformers', 'trl', 'datasets') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_home_of_nobody_is_no_defect(tmp_path: Path) -> None:
    assert student_reference(Lab.at(tmp_path), "~nobody-here/x") == "~nobody-here/x"
