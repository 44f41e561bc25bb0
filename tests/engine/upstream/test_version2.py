"""What EasyDistill 2.x is asked: configs that it takes, and a checkout that starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from qdl_engine.core.errors import SettingsError
from qdl_engine.upstream.version2 import JOBS, check_job, config_of, find_version2
from tests.engine.upstream.version2_stand_in import make_stand_in, request


@pytest.mark.parametrize("job", JOBS)
def test_no_text_of_a_config_is_expanded_and_no_metric_is_left_out(tmp_path: Path, job: str) -> None:
    config = config_of(request(job, model="a$b"), tmp_path / "$x")
    text = json.dumps(config)
    assert text.count("$") == text.count("${QDL_DOLLAR}") > 0
    assert "api_key" not in text
    if job == "advanced_cot_distill":
        assert config["eval"]["metrics"] and config["pipeline"][-1]["stage"] == "build_sft"
    if job == "dpo_data_build":
        pairs = next(part for part in config["pipeline"] if part["stage"] == "build_preference_pairs")
        assert pairs["config"]["min_margin"] > 0 and config["preference"]["metrics"]


def test_requests_that_2_would_answer_with_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"teacher\.url"):
        request(url="http://$HOST/v1")
    with pytest.raises(SettingsError, match="two different answers"):
        request("dpo_data_build", temperature=0.0)
    with pytest.raises(SettingsError, match=r"teacher\.kind is hf"):
        request(kind="hf", model="local")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("cot_long2short", "job_type cot_long2short_api"),
        ("instruction_expansion", "job_type instruction_expansion_api"),
        ("cot_eval", "qdl score"),
        ("instruct_eval", "qdl compare"),
        ("advanced_t2v_distill", "easydistill --config FILE"),
        ("mm_cot_distill", "easydistill --config FILE"),
        ("instruct_distil", "Did you mean instruct_distill?"),
        ("balanced_instruct_distill", "easydistill --config FILE"),
        ("kd_white_box", "qdl run CONFIG.json"),
    ],
)
def test_a_job_that_the_lab_does_not_start_is_refused_with_what_to_do(job: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_job(job)
    assert job in refused.value.message and said in refused.value.hint


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_what_is_no_checkout_is_refused_with_the_steps(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(SettingsError) as refused:
        find_version2(str(tmp_path / name) if name else "")
    assert "pip install ./easydistill2" in str(refused.value)


def test_an_interpreter_without_its_modules_is_refused(tmp_path: Path) -> None:
    checkout = make_stand_in(tmp_path / "checkout")
    (checkout / "openai.py").write_text("import no_such_module", encoding="utf-8")
    with pytest.raises(SettingsError, match="no_such_module"):
        find_version2(str(checkout), sys.executable)
