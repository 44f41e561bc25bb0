"""`qdl config import`: a foreign config as a recipe in the lab's qdl.toml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.core.lab import Lab
from qdl_engine.settings.toml import load_settings
from qdl_engine.upstream.foreign.job import STOCK_SYSTEM_PROMPT
from tests.engine.upstream.foreign.samples import sample, write_sample

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def lab(tmp_path: Path, capsys: Capture) -> Lab:
    assert main(["init", str(tmp_path / "lab")]) == 0
    capsys.readouterr()
    return Lab.at(tmp_path / "lab")


def imported(lab: Lab, config: dict[str, Any], *words: str) -> int:
    path = write_sample(lab.root.parent / "theirs", config)
    return main(["--lab", str(lab.root), "config", "import", str(path), *words])


def test_what_maps_is_saved_and_the_rest_is_named(lab: Lab, capsys: Capture) -> None:
    before = lab.settings_file.read_text(encoding="utf-8")
    lab.settings_file.write_text("# mine\n" + before, encoding="utf-8")
    assert imported(lab, sample("kd_black_box_train_only"), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["system"], told["saved"]) == ("system1", True)
    recipe = load_settings(lab).system1
    assert (recipe.learning_rate, recipe.batch_size, recipe.gradient_accumulation) == (2e-5, 1, 8)
    assert (recipe.weight_decay, recipe.warmup_ratio, recipe.max_length) == (0.05, 0.1, 512)
    assert (recipe.rows, recipe.save_steps, recipe.label) == (12, 1000, False)
    assert recipe.system_prompt == STOCK_SYSTEM_PROMPT and recipe.source.endswith("theirs/data/labeled.json")
    assert lab.settings_file.read_text(encoding="utf-8").startswith("# mine\n")
    origins = {item["setting"]: item["origin"] for item in told["mapped"]}
    assert origins["system1.max_steps"] == "1.0's default"
    assert origins["system1.epochs"] == "training.num_train_epochs"
    assert {item["key"] for item in told["dropped"]} == {"training.output_dir"}


def test_a_config_without_them_brings_the_defaults_of_1_0(lab: Lab, capsys: Capture) -> None:
    config = sample("kd_black_box_train_only")
    config["training"] = {"output_dir": "x", "max_seq_length": 777, "optim": "adamw_torch", "bf16": True}
    assert imported(lab, config) == 0
    shown = capsys.readouterr().out
    recipe = load_settings(lab).system1
    assert (recipe.epochs, recipe.batch_size, recipe.lr_scheduler, recipe.warmup_ratio) == (3, 8, "linear", 0)
    assert (recipe.max_length, recipe.precision) == (777, "bf16")
    assert "dropped: training.optim: no setting of a recipe" in shown


def test_our_own_config_brings_back_what_the_recipe_said(lab: Lab) -> None:
    config = sample("kd_black_box_train_only")
    config["training"]["bf16"] = True
    config["qdl"] = {"precision": "auto"}
    assert imported(lab, config) == 0
    assert load_settings(lab).system1.precision == "auto"


def test_what_is_overwritten_is_shown_and_kept_beside(lab: Lab, capsys: Capture) -> None:
    before = lab.settings_file.read_bytes()
    config = sample("kd_black_box_train_only")
    config["training"]["seed"] = 7
    config["dataset"]["seed"] = 9
    assert imported(lab, config) == 0
    shown = capsys.readouterr().out
    assert "system1.seed: 42 -> 7  (training.seed)" in shown and "dropped: dataset.seed" in shown
    assert load_settings(lab).system1.seed == 7
    assert lab.settings_backup.read_bytes() == before and str(lab.settings_backup) in shown
    lab.settings_backup.unlink()
    assert imported(lab, config, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["backup"] is None and not lab.settings_backup.exists(), "the second changes nothing"
    assert {item["setting"]: item["was"] for item in told["mapped"]}["system1.seed"] == 7


def test_a_dry_run_saves_nothing(lab: Lab, capsys: Capture) -> None:
    before = lab.settings_file.read_bytes()
    assert imported(lab, sample("kd_black_box_train_only"), "--dry-run") == 0
    assert lab.settings_file.read_bytes() == before and "Nothing is saved" in capsys.readouterr().out


def test_rows_that_reason_make_system_2(lab: Lab, capsys: Capture) -> None:
    path = write_sample(lab.root.parent / "theirs", sample("kd_black_box_train_only"))
    rows = [{"instruction": "1 and 1?", "output": "<think>\nAdd.\n</think>\n2"}]
    (path.parent / "data" / "labeled.json").write_text(json.dumps(rows), encoding="utf-8")
    assert main(["--lab", str(lab.root), "config", "import", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["system"] == "system2"
    assert load_settings(lab).system2.max_length == 512


def test_a_local_teacher_comes_along(lab: Lab, capsys: Capture) -> None:
    assert imported(lab, sample("kd_black_box_local")) == 0
    settings = load_settings(lab)
    assert settings.system1.label and settings.system1.source.endswith("questions.json")
    assert settings.teacher.model.endswith("theirs/teacher")
    assert (settings.teacher.max_new_tokens, settings.teacher.temperature) == (64, 0.0)
    assert "inference.trust_remote_code: code from a hub is never run" in capsys.readouterr().out


def test_a_server_comes_along_and_its_key_does_not(lab: Lab, capsys: Capture) -> None:
    assert imported(lab, sample("kd_black_box_api", api_key="sk-secret")) == 0
    teacher = load_settings(lab).teacher
    assert (teacher.kind, teacher.url, teacher.model) == ("server", "http://127.0.0.1:9/v1", "")
    shown = capsys.readouterr().out
    assert "dropped: inference.api_key: keys come from the environment" in shown
    assert "sk-secret" not in shown + lab.settings_file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("job_type", "words", "says"),
    [
        ("cot_generation_api", (), "makes data"),
        ("kd_black_box_local", ("--system", "system2"), "trains on existing chains"),
        ("kd_white_box", (), "white-box"),
    ],
)
def test_what_is_no_recipe_is_refused(
    lab: Lab, capsys: Capture, job_type: str, words: tuple[str, ...], says: str
) -> None:
    before = lab.settings_file.read_bytes()
    assert imported(lab, sample(job_type), *words) == 2
    assert says in capsys.readouterr().err and lab.settings_file.read_bytes() == before


def test_a_value_that_a_recipe_cannot_hold_is_refused_by_its_setting(lab: Lab, capsys: Capture) -> None:
    config = sample("kd_black_box_train_only")
    config["training"]["lr_scheduler_type"] = "polynomial"
    assert imported(lab, config) == 2
    assert "system1.lr_scheduler" in capsys.readouterr().err


def test_a_template_that_is_no_chatml_is_refused(lab: Lab, capsys: Capture) -> None:
    config = sample("kd_black_box_train_only")
    config["dataset"]["template"] = "mine.jinja"
    path = write_sample(lab.root.parent / "theirs", config)
    (path.parent / "mine.jinja").write_text("Q: {{ message['content'] }}\nA:", encoding="utf-8")
    assert main(["--lab", str(lab.root), "config", "import", str(path)]) == 2
    assert "no ChatML" in capsys.readouterr().err
