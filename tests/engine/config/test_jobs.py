"""Every job type of EasyDistill 1.x runs here, or is refused at once with what does it instead."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from qdl_engine.config.jobs import KINDS, TRAIN_ONLY, check_trains, job_kind
from qdl_engine.core.errors import SettingsError
from qdl_engine.upstream.version2 import JOBS as JOBS_2

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
        check_trains(job, "x.json")
    assert f"job_type {job!r} is not a training" in refused.value.message
    assert refused.value.hint
    assert ("qdl run" in refused.value.hint) is (job in KINDS)


def test_the_one_that_trains() -> None:
    check_trains(TRAIN_ONLY, "x.json")
    assert job_kind(TRAIN_ONLY, "x.json") == "train"
    assert set(KINDS) <= set(JOBS)


def table() -> list[tuple[list[str], str, str, str]]:
    """The table in docs/easydistill.md: patterns of jobs, and what it says of each here, by 1.0 and 2.x."""
    text = (Path(__file__).parents[3] / "docs" / "easydistill.md").read_text(encoding="utf-8")
    lines = text.split("| EasyDistill job |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    rows = []
    for line in lines:
        jobs, here, by_1, by_2 = (cell.strip() for cell in line.strip("|").split("|"))
        names = re.findall("`([^`]+)`", jobs)
        # A name that begins with "_" is the one before with another end.
        stem = re.sub("_(api|train_only)$", "", names[0])
        rows.append(([f"{stem}{name}" if name.startswith("_") else name for name in names], here, by_1, by_2))
    return rows


@pytest.mark.parametrize("job", JOBS)
def test_the_documents_say_where_each_job_runs(job: str) -> None:
    found = [row for row in table() if any(fnmatch(job, f"{pattern}*") for pattern in row[0])]
    exact = [row for row in found if job in row[0]] or found
    assert len(exact) == 1, "each job has one row"
    _, here, by_1, _ = exact[0]
    assert ("`qdl run`" in here) is (job in KINDS)
    assert here.startswith("no: ") is (job not in KINDS), "and why not"
    # 1.0 trains from labelled rows and does nothing else for the lab.
    assert by_1.startswith(("no: ", "outside")) is not job.startswith("kd_black_box")


def test_the_documents_name_each_job_of_2() -> None:
    named = {name for row in table() for name in re.findall("`([^`]+)`", row[3])}
    assert named == set(JOBS_2)
