"""Every job type of EasyDistill 1.x runs here, or is refused at once with what does it instead."""

from __future__ import annotations

import pytest

from qdl_engine.easydistill.imported.config import RUNNABLE
from qdl_engine.easydistill.jobs import TRAIN_ONLY, check_job_type
from qdl_engine.errors import SettingsError

JOBS = [
    "kd_black_box_train_only",
    "kd_black_box_api",
    "kd_black_box_local",
    "kd_white_box",
    "kd_white_box_train_only",
    "kd_white_box_train_only_multi",
    "mmkd_black_box_api",
    "mmkd_black_box_local",
    "mmkd_white_box",
    "mmkd_rl_grounding",
    "agentkd_data_gen",
    "agentkd_solve_task",
    "agentkd_rubrics_filter",
    "agentkd_distill",
    "speckd_local",
    "rl_ppo",
    "rl_grpo",
    "rl_reward_api",
    "rl_reward_local",
    "rank_dpo_api",
    "rank_dpo_local",
    "instruction_expansion_api",
    "instruction_expansion_batch",
    "instruction_refinement_api",
    "instruction_refinement_batch",
    "instruction_response_extraction_api",
    "instruction_response_extraction_batch",
    "instruct_eval_api",
    "instruct_sample_api",
    "cot_generation_api",
    "cot_generation_batch",
    "cot_long2short_api",
    "cot_long2short_batch",
    "cot_short2long_api",
    "cot_short2long_batch",
    "cot_eval_api",
    "mmcot_eval_api",
]


@pytest.mark.parametrize("job", [job for job in JOBS if job != TRAIN_ONLY])
def test_all_but_one_are_no_training(job: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_job_type(job, "x.json")
    assert f"job_type {job!r} is not something that trains here" in refused.value.message
    assert refused.value.hint
    assert ("qdl run" in refused.value.hint) is (job in RUNNABLE)


def test_the_one_that_trains() -> None:
    check_job_type(TRAIN_ONLY, "x.json")
    assert set(RUNNABLE) <= set(JOBS)
