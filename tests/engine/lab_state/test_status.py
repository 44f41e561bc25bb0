"""The state of a lab, and the next step."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.core.lab import Lab, user_settings_file, write_json_atomic
from qdl_engine.core.systems import SYSTEMS
from qdl_engine.core.words import size_text
from qdl_engine.data.report import DATA_KEYS, differences, digest, provenance
from qdl_engine.lab_state.status import lab_status, machine_status, report_text
from qdl_engine.models.checkpoint import RECORD_FILE, sign
from qdl_engine.runs.edit import delete_run
from qdl_engine.runs.store import State, create_run, save_run
from qdl_engine.settings import System1Settings
from qdl_engine.settings.fields import all_fields


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
    assert f"qdl --lab '{tmp_path}/a b' init" in report_text(lab_status(Lab.at(tmp_path / "a b")))


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
    write_json_atomic(lab.labels_record, {"instructions": digest(lab.train_instructions)})
    assert next_command(lab) == ("train", "system1")
    for report, detail in (
        ({"kept": 1234, "left": 0}, "1,234 rows by the teacher"),
        ({"kept": 7, "left": 3}, "by the teacher, 3 B"),
        ({"kept": 0}, "by the teacher, 3 B"),
    ):
        write_json_atomic(lab.label_report, report)
        assert lab_status(lab).systems[0].stage("labels").detail == detail
    write_json_atomic(lab.train_instructions, [{"instruction": "another"}])
    assert lab_status(lab).systems[0].stage("labels").detail == "answers belong to other rows"
    assert next_command(lab) == ("label",)


def test_the_datas_own_answers_are_not_the_teachers(lab: Lab) -> None:
    write_json_atomic(lab.train_instructions, [])
    write_json_atomic(lab.train_labeled, [])
    write_json_atomic(lab.report_file("system1"), {"digest": digest(lab.train_labeled)})
    lab.settings_file.write_text("[system1]\nlabel = true\n", encoding="utf-8")
    assert lab_status(lab).systems[0].stage("labels").detail == "the data's own answers, none by the teacher"


def report_of(settings: System1Settings) -> dict[str, object]:
    return {"kept": 1234, **provenance(settings)}


@pytest.mark.parametrize(("state", "offered"), [("stopped", True), ("lost", True), ("failed", False)])
def test_a_training_that_was_stopped_can_be_resumed(lab: Lab, state: State, offered: bool) -> None:
    prepared(lab, "system2")
    run = create_run(lab, "train", system="system2", argv=["true", "qdl_engine.trainer"])
    save_run(replace(run, state=state))
    steps = [step for step in lab_status(lab).steps if step.command[0] == "resume"]
    wanted = [("Resume System 2 training", ("resume", run.id))] if offered else []
    assert [(step.label, step.command) for step in steps] == wanted
    assert ("train", "system2") in [step.command for step in lab_status(lab).steps]
    newer = create_run(lab, "train", system="system2", argv=["true", "qdl_engine.trainer"])
    save_run(replace(newer, state="done"))
    assert "resume" not in [step.command[0] for step in lab_status(lab).steps]


def test_data_prepared_with_other_settings_say_which(lab: Lab) -> None:
    prepared(lab, "system1")
    write_json_atomic(lab.report_file("system1"), report_of(System1Settings(rows=500)))
    lab.settings_file.write_text("[system1]\nrows = 500\nepochs = 3.0\n", encoding="utf-8")
    assert lab_status(lab).systems[0].stage("data").state == "ready"
    lab.settings_file.write_text("[system1]\nrows = 1500\nlabel = false\nseed = 7\n", encoding="utf-8")
    status = lab_status(lab)
    stage = status.systems[0].stage("data")
    assert (stage.state, stage.detail) == ("stale", "prepared with other settings: rows, seed")
    assert [str(change) for change in stage.changed] == ["rows was 500, is 1,500", "seed was 42, is 7"]
    labels = [(step.label, step.command) for step in status.steps]
    assert labels[0] == (
        "Prepare System 1 data again: rows was 500, is 1,500 and 1 more",
        ("prepare", "system1"),
    )
    assert labels[1] == ("Train System 1 on the existing data", ("train", "system1"))
    assert "System 1: seed was 42, is 7" in report_text(status)
    lab.settings_file.write_text("", encoding="utf-8")
    assert str(lab_status(lab).systems[0].stage("data").changed[0]) == "rows was 500, is the default"


def test_a_mapping_that_is_not_in_use_changes_nothing(lab: Lab) -> None:
    report = report_of(System1Settings())
    assert not differences(report, {"mapping": {"instruction": "q"}})
    assert len(differences(report, {"mapping": {"instruction": "q"}, "fields": "mapping"})) == 2


def test_every_setting_of_the_data_is_compared_or_left_out_on_purpose() -> None:
    kept = {
        info.key.partition(".")[2]
        for system in SYSTEMS
        for info in all_fields(system)
        if info.group in ("Data", "Filter")
    }
    assert kept - {"system_prompt", "label_mode"} == set(DATA_KEYS)


def test_a_copied_lab_is_not_stale_by_the_times_of_its_files(lab: Lab) -> None:
    prepared(lab, "system1")
    trained(lab, "system1")
    data = lab.training_data("system1")
    record = {"run": "0001-train-system1", "written": 1e9, "data": digest(data)}
    write_json_atomic(lab.system1_checkpoint / RECORD_FILE, record)
    write_json_atomic(lab.comparisons / "20300101-000000.json", {})
    later = data.stat().st_mtime + 100
    for path in (data, lab.system1_checkpoint / "config.json"):
        os.utime(path, (later, later))
    status = lab_status(lab).systems[0]
    assert status.stage("checkpoint").detail == "2.0 MB"
    assert status.stage("comparison").state == "ready"
    write_json_atomic(data, [1])
    assert lab_status(lab).systems[0].stage("checkpoint").detail == "2.0 MB, trained on other data"
    write_json_atomic(lab.system1_checkpoint / RECORD_FILE, record | {"written": 2e9})
    assert lab_status(lab).systems[0].stage("comparison").detail == "none since the last training"


def test_the_figures_of_an_older_run_are_not_shown_as_the_students(lab: Lab) -> None:
    prepared(lab, "system1")
    trained(lab, "system1")
    older = create_run(lab, "train", system="system1", argv=["x"], output_dir=lab.system1_checkpoint)
    newer = create_run(lab, "train", system="system1", argv=["x"], output_dir=lab.system1_checkpoint)
    for run in (older, newer):
        save_run(replace(run, state="done", started=1.0, ended=2.0))
    sign(lab.system1_checkpoint, newer.id)
    assert lab_status(lab).systems[0].stage("run").detail == f"done, {newer.id}"
    delete_run(newer)
    assert lab_status(lab).systems[0].stage("run").detail == f"done, {newer.id}, since deleted"
    delete_run(older)
    assert lab_status(lab).systems[0].stage("run").detail == f"done, {newer.id}, since deleted"


def test_the_config_shown_is_that_of_the_newest_training(lab: Lab) -> None:
    for name in ("0001-a", "0002-b"):
        write_json_atomic(lab.config_file("system1", name), {})
    assert lab_status(lab).systems[0].stage("config").detail == lab.config_file("system1", "0002-b").name
    config = lab.config_file("system1", "0001-a")
    create_run(lab, "train", system="system1", argv=["x"], config=config)
    assert lab_status(lab).systems[0].stage("config").detail == config.name


def test_a_failed_run_is_shown_with_its_reason_and_can_be_tried_again(lab: Lab) -> None:
    prepared(lab, "system1")
    run = create_run(lab, "train", system="system1", argv=["false"])
    save_run(replace(run, state="failed", message="Out of memory", hint="Lower batch_size."))
    stage = lab_status(lab).systems[0].stage("run")
    assert (stage.state, stage.detail) == ("failed", "failed: Out of memory")
    assert stage.why == "failed: Out of memory. Lower batch_size."
    assert next_command(lab) == ("train", "system1")


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ("Stopped at step 472; checkpoint saved.", "stopped at step 472, checkpoint saved"),
        ("Stopped on request.", "stopped"),
        ("Stopped before it started.", "stopped before it started"),
    ],
)
def test_a_run_that_was_stopped_on_request_is_no_failure(lab: Lab, message: str, detail: str) -> None:
    prepared(lab, "system1")
    run = create_run(lab, "train", system="system1", argv=["true", "qdl_engine.trainer"])
    save_run(replace(run, state="stopped", message=message))
    status = lab_status(lab)
    stage = status.systems[0].stage("run")
    assert (stage.state, stage.detail, stage.why) == ("stopped", detail, "")
    assert f"run         {detail} " in report_text(status)
    assert next_command(lab) == ("resume", run.id)


def test_a_stopped_labelling_is_the_next_step(lab: Lab) -> None:
    prepared(lab, "system1")
    lab.settings_file.write_text("[system1]\nlabel = true\n", encoding="utf-8")
    write_json_atomic(lab.train_instructions, [])
    lab.train_labeled.unlink()
    save_run(replace(create_run(lab, "label", argv=["true"]), state="stopped", message="Stopped on request."))
    assert lab_status(lab).systems[0].stage("labels").state == "stopped"
    assert next_command(lab) == ("label",)


def test_a_broken_settings_file_is_a_problem_not_a_crash(lab: Lab) -> None:
    lab.settings_file.write_text("rows = [", encoding="utf-8")
    status = lab_status(lab)
    what = "not valid TOML: it ends in the middle of a value. Close what was opened: a quote, ] or }."
    assert status.problems == (f"{what} In {lab.settings_file}",)
    assert str(lab.settings_file) in report_text(status)
    lab.settings_file.write_text("\ufeff[system1]\nlabel = true\n", encoding="utf-8")
    assert not lab_status(lab).problems


def test_a_problem_names_the_setting_the_remedy_and_the_file(lab: Lab) -> None:
    lab.settings_file.write_text("[system1]\nrowz = 3\nepochs = -1\n[system2]\nqqqq = 1\n", encoding="utf-8")
    file = f"In {lab.settings_file}"
    assert sorted(lab_status(lab).problems) == [
        f"system1.epochs: '-1' is not accepted. Accepted: number, above 0, at most 1,000. {file}",
        f"system1.rowz: unknown key. Did you mean system1.rows? {file}",
        f"system2.qqqq: unknown key. qdl config validate lists what is accepted. {file}",
    ]
    assert not lab_status(lab, check=False).problems


def test_the_easydistill_that_was_checked_is_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = user_settings_file()
    file.parent.mkdir(parents=True)
    for text, words in (
        ('[easydistill]\ncheckout = "/opt/ed"\n', "EasyDistill 1.0 at /opt/ed"),
        ("[keymap]\n", ""),
        ("easydistill = 3\n", ""),
        ("[broken\n", ""),
    ):
        file.write_text(text)
        assert machine_status(tmp_path).easydistill == words


def test_the_machine_and_its_sizes(tmp_path: Path) -> None:
    machine = machine_status(tmp_path / "not" / "there")
    assert 0 < machine.disk_free <= machine.disk_total
    assert [size_text(size) for size in (12, 1500, 2_500_000, 3_200_000_000)] == [
        "12 B",
        "1.5 kB",
        "2.5 MB",
        "3.2 GB",
    ]
