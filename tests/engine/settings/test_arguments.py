"""The public functions take what a stranger has: a directory, a dict, a pair of model and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qdl_engine
from qdl_engine import Lab, LabSettings, System1Settings, System2Settings
from qdl_engine.core.errors import DataError, ModelError, SettingsError
from qdl_engine.models.load import LoadedModel
from qdl_engine.settings.arguments import as_lab, lab_settings
from tests.tiny import make_tiny_model

ROWS = [{"instruction": f"Say {n}", "output": f"{n}."} for n in range(6)]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("given") / "student", seed=2, lively=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    return path


def test_a_lab_is_a_lab_or_its_directory(tmp_path: Path) -> None:
    lab = Lab.at(tmp_path)
    assert as_lab(lab) is lab
    assert as_lab(str(tmp_path)) == as_lab(tmp_path) == lab
    not_one: Any = LabSettings()
    with pytest.raises(SettingsError, match="A LabSettings is not a lab"):
        as_lab(not_one)


def test_keys_of_the_student_may_stand_beside_tables() -> None:
    settings = lab_settings({"rows": 7, "runtime": {"threads": 1}, "system1": {"seed": 3}}, "system1")
    assert (settings.system1.rows, settings.system1.seed, settings.runtime.threads) == (7, 3, 1)


def test_what_stands_beside_tables_and_is_no_key_is_refused_with_the_tables() -> None:
    with pytest.raises(SettingsError, match="runtme: unknown key") as refused:
        lab_settings({"runtme": {"threads": 1}, "system1": {"rows": 7}}, "system1")
    assert "Did you mean runtime?" in refused.value.hint


def test_the_other_students_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="rv_min: unknown key"):
        lab_settings(System2Settings(rv_min=3), "system1")


def test_paths_are_taken_where_text_is(student: Path, source: Path) -> None:
    paths: dict[str, Any] = {"student": student, "source": source}
    assert System1Settings(**paths).source == str(source)
    assert lab_settings(paths, "system1").system1.student == str(student)


def test_preparing_takes_settings_of_every_form(tmp_path: Path, student: Path, source: Path) -> None:
    table: dict[str, Any] = {"student": str(student), "source": str(source), "rows": 4}
    forms: list[Any] = [
        table,
        {"system1": table},
        System1Settings(**table),
        LabSettings.model_validate({"system1": table}),
    ]
    kept = [
        qdl_engine.prepare_system1_dataset(str(tmp_path / f"lab{number}"), form).kept
        for number, form in enumerate(forms)
    ]
    assert kept == [4, 4, 4, 4]


def test_without_settings_those_of_the_lab_count(tmp_path: Path, student: Path, source: Path) -> None:
    with pytest.raises(SettingsError, match="No lab at"):
        qdl_engine.prepare_system1_dataset(tmp_path)
    (tmp_path / "qdl.toml").write_text(f'[system1]\nstudent = "{student}"\nsource = "{source}"\nrows = 3\n')
    assert qdl_engine.prepare_system1_dataset(tmp_path).kept == 3
    config = json.loads(qdl_engine.write_system1_config(tmp_path).read_text())
    assert config["models"]["student"] == str(student)


def test_configs_are_written_from_a_dict_into_a_directory(tmp_path: Path) -> None:
    path = qdl_engine.write_system2_config(
        tmp_path, {"learning_rate": 1e-4}, output_dir=str(tmp_path / "out")
    )
    training = json.loads(path.read_text())["training"]
    assert path.parent == tmp_path / "configs"
    assert (training["learning_rate"], training["output_dir"]) == (1e-4, str(tmp_path / "out"))


def test_a_distillation_takes_the_directory_of_the_lab(tmp_path: Path, student: Path) -> None:
    (tmp_path / "none.json").write_text("[]")
    recipe = {"student": student, "source": "none.json"}
    with pytest.raises(DataError, match="No data for System 2 distillation"):
        qdl_engine.distill_system2(recipe, lab=str(tmp_path))
    assert (tmp_path / "runs").is_dir()


def test_a_pair_of_model_and_tokenizer_is_a_loaded_model(student: Path, tmp_path: Path) -> None:
    model, tokenizer = loaded = qdl_engine.load_student(student)
    assert (model, tokenizer) == (loaded.model, loaded.tokenizer)
    by_pair = qdl_engine.compare_models(
        ["hi"], teacher_model=(model, tokenizer), sys1_model=loaded, max_new_tokens=6,
        save_to=str(tmp_path / "saved.json"),
    )  # fmt: skip
    teacher, system1 = by_pair.models["teacher"], by_pair.models["system1"]
    assert teacher.answers[0].answer == system1.answers[0].answer
    assert teacher.path == str(student) and (tmp_path / "saved.json").is_file()
    one = qdl_engine.infer_student((model, tokenizer), "hi", max_new_tokens=6)
    assert one == qdl_engine.infer_student(str(student), "hi", max_new_tokens=6)


def test_labelling_takes_a_pair_and_a_dict(tmp_path: Path, student: Path, source: Path) -> None:
    pair = tuple(qdl_engine.load_student(student))
    report = qdl_engine.label_with_teacher(
        tmp_path, {"teacher": {"max_new_tokens": 4, "keep_cut_answers": True}}, teacher=pair,
        instructions=str(source), output=str(tmp_path / "labelled.json"),
    )  # fmt: skip
    assert report.rows == len(ROWS) and report.asked == len(ROWS)
    assert (tmp_path / "labelled_report.json").is_file()


def test_what_is_no_loaded_model_is_refused(student: Path) -> None:
    model, _ = qdl_engine.load_student(student)
    wrong: Any
    for wrong, words in ((model, "without its tokenizer"), (str(student), "A str is no loaded")):
        with pytest.raises(SettingsError, match=words):
            qdl_engine.compare_models(["hi"], sys1_model=wrong)


def test_a_list_is_no_instruction(student: Path) -> None:
    several: Any = ["a", "b"]
    with pytest.raises(SettingsError, match="A list is not an instruction"):
        qdl_engine.infer_student(student, several)


def test_a_path_that_is_not_there_is_never_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, student: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="Model not found at lab/gone"):
        qdl_engine.load_student(Path("lab/gone"))
    (tmp_path / "lab").mkdir()
    with pytest.raises(ModelError, match="Model not found at lab/gone"):
        qdl_engine.load_student("lab/gone")
    loaded: LoadedModel = qdl_engine.load_student(student)
    comparison = qdl_engine.compare_models(
        ["hi"], sys1_model=loaded, system2_path=Path("elsewhere/gone"), max_new_tokens=2
    )
    assert comparison.skipped["system2"].startswith("Model not found at elsewhere/gone")
    assert list(comparison.models) == ["system1"]
