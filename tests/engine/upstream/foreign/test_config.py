"""Foreign configs: read by the keys that EasyDistill's own samples use, refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.config.jobs import KINDS
from qdl_engine.config.model import read_config
from qdl_engine.core.errors import DataError, LabError, ModelError, SettingsError
from qdl_engine.core.lab import Lab
from qdl_engine.core.prompts import format_prompt
from qdl_engine.upstream.foreign.convert import write_training_config
from qdl_engine.upstream.foreign.job import STOCK_SYSTEM_PROMPT, read_foreign
from qdl_engine.upstream.foreign.make import rows_to_label, rows_to_train
from tests.engine.upstream.foreign.samples import sample, write_sample

# What 1.0's sample renders, written here in another way than its own file does.
STOCK = (
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n<|im_start|>user\\n' }}"
    "{{- message['content'] ~ '<|im_end|>\\n' }}{% if add_output %}{{ '\\n' }}{% endif %}"
    "{{- '  <|im_start|>assistant\\n' }}"
    "{%- if add_output %}{{ message['output'] ~ '<|im_end|>-\\n' }}{% endif %}"
)


@pytest.mark.parametrize("job_type", KINDS)
def test_every_job_is_read_by_the_keys_of_its_sample(tmp_path: Path, job_type: str) -> None:
    job = read_foreign(write_sample(tmp_path, sample(job_type)))
    assert job.job_type == job_type and job.rows.parent == tmp_path / "data"
    if job.trains:
        assert job.student == str(tmp_path / "student") and job.output_dir == tmp_path / "result"
    if job.kind != "train":
        assert job.written is not None and job.written.parent == tmp_path / "data"
    if job.config.dataset.template:
        assert job.template is not None and job.template.system_prompt == STOCK_SYSTEM_PROMPT
        assert any("stands in" in note for note in job.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"job_type": "kd_white_box"}, "no white-box distillation until"),
        ({"job_type": "kd_white_box_train_only"}, "no white-box distillation until"),
        ({"job_type": "rl_grpo"}, "not in its repository"),
        ({"job_type": "kd_black_box_train_onyl"}, "Did you mean kd_black_box_train_only?"),
        ({"job_type": None}, "job_type is missing"),
        ({"modles": {}}, "Did you mean models?"),
        ({"training": {"output_dir": "x", "learning_rte": 1}}, "Did you mean learning_rate?"),
        ({"dataset": {"labeled_pth": "x"}}, "Did you mean labeled_path?"),
        ({"dataset": {}}, "dataset.labeled_path is missing"),
        ({"backend": {}, "generation": {}}, "qdl easydistill run"),
        ({"training": []}, "training must be an object"),
        (
            {"training": {"output_dir": "x", "per_device_train_batch_size": 0}},
            "whole number of at least 1, not 0",
        ),
        ({"training": {"output_dir": "x", "learning_rate": -1}}, "must be a number of at least 0"),
        (
            {"training": {"output_dir": "x", "learning_rate": "1e-4"}},
            "of at least 0, not '1e-4'",
        ),
        ({"training": {"output_dir": "x", "save_steps": "often"}}, "must be a number, not 'often'"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(tmp_path: Path, change: Any, words: str) -> None:
    path = write_sample(tmp_path, sample("kd_black_box_train_only"))
    path.write_text(json.dumps(sample("kd_black_box_train_only") | change), encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        read_foreign(path)
    assert words in str(refused.value)


def test_no_message_shows_a_key(tmp_path: Path) -> None:
    config = sample("kd_black_box_api", api_key="sk-secret")
    for change in ({"max_new_tokens": "many"}, {"api_kye": "x"}, {"seed": -1}):
        path = write_sample(tmp_path, config | {"inference": config["inference"] | change})
        with pytest.raises(SettingsError, match=r"inference\.") as refused:
            read_foreign(path)
        assert "sk-secret" not in f"{refused.value} {refused.value.__cause__}"
    job = read_foreign(write_sample(tmp_path, config))
    assert "sk-secret" not in repr(job)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"seed": ' + "1" * 6000 + "}", "{"])
def test_what_is_no_json_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "my.json").write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match="Not valid JSON"):
        read_foreign(tmp_path / "my.json")
    with pytest.raises(LabError, match="Not a file"):
        read_foreign(tmp_path)


def test_outputs_that_would_take_the_place_of_something_are_refused(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    for change in ({"output_dir": "."}, {"output_dir": "data/labeled.json"}, {"output_dir": "student"}):
        config = sample("kd_black_box_train_only")
        config["training"] |= change
        with pytest.raises(SettingsError, match="output_dir"):
            read_foreign(write_sample(tmp_path, config)).check_outputs(lab)
    config = sample("cot_generation_api")
    config["dataset"]["output_path"] = config["dataset"]["input_path"]
    with pytest.raises(SettingsError, match="would be lost"):
        read_foreign(write_sample(tmp_path, config)).check_outputs(lab)


def test_leftover_keys_of_an_older_trainer_are_read(tmp_path: Path) -> None:
    config = sample("kd_black_box_train_only")
    left = {"tp_size": 0, "torchdynamo": None, "fsdp_min_num_params": 0, "use_legacy_prediction_loop": False}
    config["training"] |= left
    assert read_foreign(write_sample(tmp_path, config)).config.training.items() >= left.items()
    config["training"]["tp_sise"] = 0
    with pytest.raises(SettingsError, match=r"training\.tp_sise: unknown key\nDid you mean tp_size"):
        read_foreign(write_sample(tmp_path, config))


def test_yaml_is_a_config_of_2(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="JSON"):
        read_foreign(tmp_path / "cot_distill.yaml")


def test_rows_are_looked_for_beside_the_config_and_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkout"
    write_sample(root, sample("kd_black_box_train_only"))
    configs = root / "configs"
    configs.mkdir()
    path = configs / "c.json"
    path.write_text(json.dumps(sample("kd_black_box_train_only")), encoding="utf-8")
    with pytest.raises(DataError) as missing:
        read_foreign(path)
    assert str(configs) in str(missing.value) and "Looked in" in str(missing.value)
    monkeypatch.chdir(root)
    job = read_foreign("configs/c.json")
    # What is written goes where the rows were found.
    assert (job.rows, job.output_dir) == (root / "data" / "labeled.json", root / "result")
    assert job.student == str(root / "student")


def test_a_student_that_is_a_path_and_not_there_is_named(tmp_path: Path) -> None:
    config = sample("kd_black_box_train_only")
    config["models"]["student"] = "student/Qwen/Qwen2.5-0.5B-Instruct/"
    with pytest.raises(ModelError, match="Model not found at student/Qwen") as missing:
        read_foreign(write_sample(tmp_path, config))
    assert missing.value.hint.endswith("a hub id: Qwen/Qwen2.5-0.5B-Instruct.")
    config["models"]["student"] = "Qwen/Qwen2.5-0.5B-Instruct"
    assert read_foreign(write_sample(tmp_path, config)).student == "Qwen/Qwen2.5-0.5B-Instruct"


def test_a_directory_without_a_model_is_no_student(tmp_path: Path) -> None:
    config = sample("kd_black_box_train_only") | {"models": {"student": "data/"}}
    with pytest.raises(ModelError, match="No model in"):
        read_foreign(write_sample(tmp_path, config))


def test_the_stock_template_is_known_by_what_it_renders(tmp_path: Path) -> None:
    config = sample("kd_black_box_train_only")
    config["dataset"]["template"] = "mine.jinja"
    path = write_sample(tmp_path, config)
    with pytest.raises(SettingsError, match=r"mine\.jinja"):
        read_foreign(path)
    (tmp_path / "mine.jinja").write_text(STOCK, encoding="utf-8")
    assert read_foreign(path).template_file is None
    (tmp_path / "mine.jinja").write_text("Q: {{ message['content'] }}\nA:", encoding="utf-8")
    job = read_foreign(path)
    assert job.template_file == tmp_path / "mine.jinja" and job.template is not None
    assert job.template.prompt("x") == "Q: x\nA:"


def test_the_config_that_is_trained_from(tmp_path: Path) -> None:
    job = read_foreign(write_sample(tmp_path, sample("kd_black_box_api", api_key="sk-secret")))
    lab = Lab.at(tmp_path / "lab")
    lab.create_directories()
    path = write_training_config(job, lab, tmp_path / "data" / "labeled.json", lab.configs / "run_1.json")
    config = read_config(path)
    assert config.training == sample("kd_black_box_api")["training"] | {
        "output_dir": str(tmp_path / "result")
    }
    assert config.template.prompt("Q") == format_prompt("Q", system_prompt=STOCK_SYSTEM_PROMPT)
    assert config.template.same_in_training
    assert "sk-secret" not in path.read_text(encoding="utf-8")


def test_an_input_column_becomes_part_of_the_question(tmp_path: Path) -> None:
    path = write_sample(tmp_path, sample("kd_black_box_train_only"))
    job = read_foreign(path)
    assert rows_to_train(job, tmp_path / "merged.json") == job.rows
    rows = [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hi.", "input": "", "output": None},
        {"input": "no instruction"},
    ]
    for name in ("labeled.json", "questions.json"):
        (tmp_path / "data" / name).write_text(json.dumps(rows), encoding="utf-8")
    merged = rows_to_train(job, tmp_path / "merged.json")
    assert json.loads(merged.read_text(encoding="utf-8")) == [
        {"instruction": "Add.\n\n1 and 2", "output": "3"},
        {"instruction": "Say hi.", "output": None},
    ]
    labelling = read_foreign(write_sample(tmp_path / "b", sample("kd_black_box_local")))
    labelling.rows.write_text(json.dumps(rows), encoding="utf-8")
    assert rows_to_label(labelling, tmp_path / "asked.json") == 2
    labelling.rows.write_text("[]", encoding="utf-8")
    with pytest.raises(LabError, match="No rows with an instruction"):
        rows_to_label(labelling, tmp_path / "asked.json")
