"""Where a lab stands, and the one next step."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.lab import Lab, write_json_atomic
from qdl_engine.runs.store import create_run, save_run
from qdl_engine.status import lab_status, machine_status, report_text, size_text


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.at(tmp_path)
    lab.create_directories()
    lab.settings_file.write_text("", encoding="utf-8")
    return lab


def prepared(lab: Lab, system: str) -> None:
    write_json_atomic(lab.training_data(system), [])
    write_json_atomic(lab.report_file(system), {"kept": 1234})


def trained(lab: Lab, system: str) -> None:
    directory = lab.checkpoint(system)
    directory.mkdir()
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(b"0" * 2_000_000)


def next_command(lab: Lab) -> tuple[str, ...]:
    step = lab_status(lab).next_step
    assert step is not None
    return step.command


def test_no_lab_says_how_to_make_one(tmp_path: Path) -> None:
    status = lab_status(Lab.at(tmp_path))
    assert not status.exists
    assert f"qdl --lab {tmp_path} init" in report_text(status)


def test_the_next_step_walks_the_whole_way(lab: Lab) -> None:
    assert next_command(lab) == ("prepare", "system1")
    prepared(lab, "system1")
    assert lab_status(lab).systems[0].stage("data").detail == "1,234 rows"
    assert next_command(lab) == ("train", "system1")
    trained(lab, "system1")
    assert lab_status(lab).systems[0].stage("checkpoint").detail == "2.0 MB"
    assert next_command(lab) == ("prepare", "system2")
    prepared(lab, "system2")
    assert next_command(lab) == ("train", "system2")
    trained(lab, "system2")
    assert next_command(lab) == ("compare",)
    write_json_atomic(lab.comparisons / "one.json", {})
    assert lab_status(lab).systems[0].stage("comparison").state == "ready"


def test_labels_are_a_step_only_where_the_recipe_asks_for_them(lab: Lab) -> None:
    assert lab_status(lab).systems[0].stage("labels").state == "skipped"
    lab.settings_file.write_text("[system1]\nlabel = true\n", encoding="utf-8")
    write_json_atomic(lab.train_instructions, [])
    assert next_command(lab) == ("label",)
    write_json_atomic(lab.train_labeled, [])
    assert next_command(lab) == ("train", "system1")
    now = lab.train_labeled.stat().st_mtime
    os.utime(lab.train_instructions, (now + 5, now + 5))
    assert lab_status(lab).systems[0].stage("labels").detail == "older than the data"
    assert next_command(lab) == ("label",)


def test_a_failed_run_is_shown_with_its_reason_and_can_be_tried_again(lab: Lab) -> None:
    prepared(lab, "system1")
    run = create_run(lab, "train", system="system1", argv=["false"])
    save_run(replace(run, state="failed", message="Out of memory"))
    stage = lab_status(lab).systems[0].stage("run")
    assert (stage.state, stage.detail) == ("failed", "failed: Out of memory")
    assert next_command(lab) == ("train", "system1")


def test_a_broken_settings_file_is_a_problem_not_a_crash(lab: Lab) -> None:
    lab.settings_file.write_text("rows = [", encoding="utf-8")
    status = lab_status(lab)
    assert len(status.problems) == 1
    assert str(lab.settings_file) in report_text(status)


def test_the_machine_and_its_sizes(tmp_path: Path) -> None:
    machine = machine_status(tmp_path / "not" / "there")
    assert 0 < machine.disk_free <= machine.disk_total
    assert [size_text(size) for size in (12, 1500, 2_500_000, 3_200_000_000)] == [
        "12 B",
        "1.5 kB",
        "2.5 MB",
        "3.2 GB",
    ]
