"""Rename, note and delete a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.core.errors import RunError
from qdl_engine.core.lab import Lab, write_json_atomic
from qdl_engine.models.checkpoint import sign, trained_by
from qdl_engine.runs.edit import delete_run, deletion, made_student, note_run, rename_run
from qdl_engine.runs.launch import resume_run, start_run, wait_for
from qdl_engine.runs.store import Run, create_run, fits, get_run, list_runs, load_record, save_run, student_of
from tests.engine.runs.conftest import MakeRun


def trained(lab: Lab, **values: object) -> Run:
    run = create_run(lab, "train", system="system1", argv=["x"], output_dir=lab.system1_checkpoint)
    run = replace(run, state="done", started=10.0, ended=20.0, **values)  # type: ignore[arg-type]
    save_run(run)
    return run


def checkpoint(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(b"0")


def test_a_name_and_a_note_are_kept_beside_the_record_that_has_its_own_writer(lab: Lab) -> None:
    run = trained(lab)
    assert rename_run(run, " small batch ").name == "small batch"
    assert note_run(run, "two\nlines").note == "two\nlines"
    save_run(run)  # the supervisor, which knows nothing of it
    again = load_record(run.directory)
    assert (again.name, again.note) == ("small batch", "two\nlines")
    assert get_run(lab, "small batch").id == run.id
    rename_run(again, "")
    assert load_record(run.directory).name == ""


@pytest.mark.parametrize("name", ["x" * 81, "two\nlines"])
def test_a_name_is_one_short_line(lab: Lab, name: str) -> None:
    with pytest.raises(RunError, match="A name is one line"):
        rename_run(trained(lab), name)


def test_words_find_a_run_by_every_known_text(lab: Lab) -> None:
    config = lab.configs / "kd.json"
    write_json_atomic(config, {"models": {"student": "Qwen/Qwen2.5-0.5B-Instruct"}})
    run = rename_run(trained(lab, config=config), "Small Batch")
    assert student_of(run) == "Qwen/Qwen2.5-0.5B-Instruct"
    for words in ("", "small", "BATCH done", "train system1", "0001", "qwen2.5 small"):
        assert fits(run, words, student_of(run))
    assert not fits(run, "small lost", student_of(run))
    config.write_text("[", encoding="utf-8")
    assert student_of(run) == ""


def test_a_deletion_says_what_it_removes(lab: Lab) -> None:
    run = replace(trained(lab), state="stopped")
    save_run(run)
    saved = run.directory / "checkpoints" / "checkpoint-5"
    saved.mkdir(parents=True)
    (saved / "model.safetensors").write_bytes(b"0" * 2_000_000)
    found = deletion(run)
    assert (found.checkpoints, found.student) == (1, "")
    assert "1 checkpoint to resume from (2.0 MB)" in found.text()


def test_a_students_record_names_the_run_that_made_it(lab: Lab) -> None:
    older, newer = trained(lab), trained(lab)
    checkpoint(lab.system1_checkpoint)
    assert [made_student(run) for run in (older, newer)] == [False, True]
    sign(lab.system1_checkpoint, older.id)
    sign(lab.system1_checkpoint, newer.id)
    assert trained_by(lab.system1_checkpoint) == older.id, "an existing record stays"
    assert [made_student(run) for run in (older, newer)] == [True, False]
    assert deletion(older).student == lab.system1_checkpoint.name


def test_the_number_of_a_deleted_run_is_never_reused(lab: Lab) -> None:
    trained(lab)
    last = trained(lab)
    delete_run(last)
    assert create_run(lab, "label", argv=["x"]).id == "0003-label"


def test_a_run_whose_record_is_broken_can_be_deleted_and_not_resumed(lab: Lab) -> None:
    run = trained(lab)
    run.record_file.write_text("{", encoding="utf-8")
    broken = list_runs(lab)[0]
    assert not broken.resumable
    delete_run(broken)
    assert list_runs(lab) == []


def test_a_resumed_run_counts_all_its_legs(make_run: MakeRun) -> None:
    run = wait_for(start_run(make_run("sys.exit(1)", kind="label")))
    assert run.state == "failed" and run.legs == ()
    save_run(replace(run, started=100.0, ended=130.0))
    again = wait_for(resume_run(run))
    assert again.legs == ((100.0, 130.0),)
    assert load_record(run.directory) == again
    assert again.started is not None and again.ended is not None and again.seconds is not None
    assert again.seconds == pytest.approx(30.0 + again.ended - again.started)
