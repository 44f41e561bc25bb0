import subprocess
import sys
from pathlib import Path

import pytest

from qdl_engine.compare.comparison import read_prompts
from qdl_engine.core.errors import SettingsError
from qdl_engine.core.lab import Lab, read_json
from qdl_engine.data.prepare import prepare_system1_dataset, prepare_system2_dataset
from qdl_engine.demo.lab import create_demo_lab
from qdl_engine.demo.world import RECALL_TASKS, SYSTEM1_TASKS, SYSTEM2_TASKS, exam
from qdl_engine.settings.toml import load_settings


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return create_demo_lab(tmp_path_factory.mktemp("demo") / "lab")


def test_settings_are_the_demos(lab: Lab) -> None:
    settings = load_settings(lab)
    assert settings.system1.label and settings.system1.label_mode == "system2"
    assert settings.system1.system_prompt == "Answer directly."
    assert settings.system2.system_prompt == "Think step by step."
    assert Path(settings.teacher.model).is_dir()


def test_an_existing_lab_is_left_alone(lab: Lab) -> None:
    before = lab.settings_file.read_text(encoding="utf-8")
    with pytest.raises(SettingsError, match="There is a lab at"):
        create_demo_lab(lab.root)
    assert lab.settings_file.read_text(encoding="utf-8") == before


def test_sample_prompts_are_held_out(lab: Lab) -> None:
    lines = lab.sample_prompts.read_text(encoding="utf-8").splitlines()
    asked = {line for line in lines if not line.startswith("#")}
    held_out = {sample.question for sample in exam("test", 400)}
    assert asked and asked <= held_out | {sample.question for sample in exam("test", 2, seed="prompts")}


def test_system1_rows_pass_the_default_mapping(lab: Lab) -> None:
    report = prepare_system1_dataset(lab, load_settings(lab).system1)
    assert report.fields == "distilqwen"
    assert report.kept > 2_000
    dropped = {step.name: step.dropped for step in report.steps}
    assert dropped["duplicate"] > 0
    assert dropped["broken"] == dropped["over max_length"] == 0


def test_system2_filter_keeps_concise_chains_of_real_problems(lab: Lab) -> None:
    report = prepare_system2_dataset(lab, load_settings(lab).system2)
    assert report.fields == "omnithought"
    assert report.kept > 2_000
    dropped = {step.name: step.dropped for step in report.steps}
    assert dropped["no reasoning"] > 0
    assert dropped["outside RV"] > 0
    assert dropped["outside CD"] > 0
    rows = read_json(lab.omnithought_cot)
    assert {row["rv"] for row in rows} <= {1, 2, 3, 4}
    assert min(row["cd"] for row in rows) == 1
    recall = {sample.question for sample in exam("train", 400, RECALL_TASKS)}
    assert not recall & {row["instruction"] for row in rows}
    assert all(row["output"].startswith("<think>\n") for row in rows)


def test_no_held_out_question_is_trained_on(lab: Lab) -> None:
    rows = read_json(lab.train_instructions) + read_json(lab.omnithought_cot)
    trained = {row["instruction"] for row in rows}
    assert not trained & {sample.question for sample in exam("test", 200)}
    assert not trained & {sample.question for sample in exam("dev", 200)}


def test_making_a_lab_loads_no_model_library(tmp_path: Path) -> None:
    code = (
        "import sys; from qdl_engine.demo.lab import create_demo_lab;"
        f"create_demo_lab({str(tmp_path / 'lab')!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_first_sample_prompts_are_of_a_task_that_both_students_are_taught(lab: Lab) -> None:
    prompts = read_prompts(lab.sample_prompts)
    assert len(prompts) == 12 and "letters" in prompts[0] and "letters" in prompts[1]
    assert {"reverse"} <= set(SYSTEM1_TASKS) & set(SYSTEM2_TASKS)
