"""The record of a run, and how readers judge it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from qdl_engine.core.errors import RunError
from qdl_engine.core.lab import Lab
from qdl_engine.runs.edit import delete_run
from qdl_engine.runs.launch import start_job
from qdl_engine.runs.process import identity_of, is_alive
from qdl_engine.runs.store import (
    create_run,
    get_run,
    list_runs,
    load_record,
    refresh_run,
    save_run,
)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("size", "name"), [(0, ".last_number"), (20, "run.json"), (900, "run.json")])
def test_a_start_on_a_full_disk_names_the_file_and_leaves_no_run(lab: Lab, size: int, name: str) -> None:
    with pytest.raises(OSError) as caught, files_of_at_most(size):
        start_job(lab, ["label"], note="x" * 500)
    assert str(caught.value.filename).endswith(name)
    assert [entry.name for entry in lab.runs.iterdir() if not entry.name.startswith(".")] == []


def test_a_run_survives_the_way_to_disk_and_back(lab: Lab) -> None:
    run = create_run(
        lab,
        "train",
        system="system1",
        argv=["a", "b c"],
        env={"A": "1"},
        output_dir=lab.system1_checkpoint,
        config=lab.configs / "x.json",
        name="my run",
    )
    assert load_record(run.directory) == run
    assert run.state == "queued" and run.id == "0001-train-system1"


def test_ids_count_up_and_a_number_or_a_beginning_finds_them(lab: Lab) -> None:
    runs = [create_run(lab, "prepare", system=f"system{n}", argv=["x"]) for n in (1, 2)]
    assert [run.id for run in list_runs(lab)] == ["0002-prepare-system2", "0001-prepare-system1"]
    for name in ("2", "0002", "0002-pre", "0002-prepare-system2", "last"):
        assert get_run(lab, name).id == runs[1].id
    with pytest.raises(RunError, match="'000' matches several runs"):
        get_run(lab, "000")
    with pytest.raises(RunError, match="No run '9'") as caught:
        get_run(lab, "9")
    assert "0001-prepare-system1" in caught.value.hint


def test_secrets_are_refused_and_never_written(lab: Lab) -> None:
    with pytest.raises(RunError, match="HF_TOKEN"):
        create_run(lab, "train", argv=["x"], env={"HF_TOKEN": "hf_secret", "OMP_NUM_THREADS": "1"})
    assert list_runs(lab) == []
    create_run(lab, "train", argv=["x"], env={"TOKENIZERS_PARALLELISM": "false"})


def test_a_run_whose_processes_are_gone_reads_as_lost(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"], output_dir=lab.system1_checkpoint)
    save_run(
        replace(
            run,
            state="running",
            pid=2**22 + 5,
            identity="1@x",
            supervisor_pid=2**22 + 6,
            supervisor_identity="2@x",
            started=1.0,
        )
    )
    assert refresh_run(run).state == "lost"
    assert load_record(run.directory).state == "running", "a reader writes nothing"


def test_a_reused_pid_is_not_taken_for_the_run(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    mine = os.getpid()
    save_run(replace(run, state="running", pid=mine, identity="1@earlier", started=1.0))
    assert refresh_run(run).state == "lost"
    save_run(replace(run, state="running", pid=mine, identity=identity_of(mine), started=1.0))
    assert refresh_run(run).state == "running"
    save_run(replace(run, state="done"))  # so that nobody stops this very process as a run left over


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = identity_of(child.pid)
    assert is_alive(child.pid, identity)
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not asked for yet
    assert not is_alive(child.pid, identity)
    child.wait()


def test_one_broken_record_does_not_hide_the_others(lab: Lab) -> None:
    good = create_run(lab, "train", argv=["x"])
    bad = create_run(lab, "train", argv=["x"])
    bad.record_file.write_text("{", encoding="utf-8")
    states = {run.id: run.state for run in list_runs(lab)}
    assert states == {good.id: "queued", bad.id: "lost"}


def test_unknown_keys_of_a_later_version_are_ignored(lab: Lab) -> None:
    run = create_run(lab, "train", argv=["x"])
    record = json.loads(run.record_file.read_text(encoding="utf-8"))
    run.record_file.write_text(json.dumps(record | {"later": 1}), encoding="utf-8")
    assert load_record(run.directory) == run


def test_deleting_removes_the_directory_only(lab: Lab) -> None:
    lab.system1_checkpoint.mkdir()
    run = create_run(lab, "train", argv=["x"], output_dir=lab.system1_checkpoint)
    delete_run(run)
    assert list_runs(lab) == [] and lab.system1_checkpoint.is_dir()


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": None},
        {"argv": [1]},
        {"state": "weird"},
        {"state": []},
        {"created": "yesterday"},
        {"created": 1e400},
        {"started": "now"},
        {"output_dir": 5},
        {"pid": "1"},
        {"name": None},
        {"env": []},
        {"legs": [1]},
        {"legs": [[1, "x"]]},
    ],
)
def test_a_record_with_a_wrong_type_breaks_neither_the_list_nor_the_other_runs(
    lab: Lab, wrong: dict[str, object]
) -> None:
    good, bad = create_run(lab, "label", argv=["x"]), create_run(lab, "train", argv=["x"])
    bad.record_file.write_text(json.dumps(bad.to_dict() | wrong), encoding="utf-8")
    found = {run.id: run for run in list_runs(lab)}
    assert found[good.id] == good
    assert found[bad.id].state == "lost" and found[bad.id].message.startswith("Not the record of a run")
    assert not found[bad.id].resumable
