"""Runs that really run: detached, watched, stopped, killed, resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qdl_engine.core.errors import LabBusyError, ModelError, RunError
from qdl_engine.core.lab import Lab
from qdl_engine.runs.edit import delete_run
from qdl_engine.runs.launch import resume_run, start_job, start_run, stop_run, wait_for
from qdl_engine.runs.process import belongs, identity_of, is_alive
from qdl_engine.runs.reader import loss_history
from qdl_engine.runs.record import STOP_GRACE_SECONDS
from qdl_engine.runs.store import (
    create_run,
    get_run,
    list_runs,
    load_record,
    refresh_run,
    save_run,
)
from qdl_engine.runs.supervise import stop_deadline
from tests.engine.runs.conftest import MakeRun, program, until

PATIENCE = 30.0


def test_a_run_to_its_end(lab: Lab, make_run: MakeRun) -> None:
    run = start_run(
        make_run(
            """
            print("hällo", os.environ["PYTHONUNBUFFERED"], os.getcwd())
            print("to stderr", file=sys.stderr)
            event("started", total_steps=2); event("metrics", step=1, loss=1.5)
            checkpoint("student"); event("finished", path="student")
            """,
            output="student",
        )
    )
    assert run.state in ("running", "done") and run.pid and run.supervisor_pid
    seen: list[str] = []
    ended = wait_for(run, lambda event: seen.append(event.kind), poll=0.02, timeout=PATIENCE)
    assert ended.state == "done" and ended.exit_code == 0
    assert seen == ["started", "metrics", "finished"]
    log = run.log_file.read_text(encoding="utf-8")
    assert f"hällo 1 {lab.root}" in log and "to stderr" in log


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "no config.json in"),
        ("Path('student').mkdir(); Path('student/config.json').write_text('{}')", "no model*.safetensors in"),
        ("checkpoint('student'); os.truncate('student/model.safetensors', 20)", "is not a safetensors file"),
        (
            "checkpoint('student'); f='student/model.safetensors'; os.truncate(f, os.stat(f).st_size - 1)",
            "truncated",
        ),
        ("checkpoint('student'); os.utime('student/model.safetensors', (1, 1))", "older than the run"),
    ],
)
def test_exit_code_0_without_a_new_checkpoint_is_a_failure(
    make_run: MakeRun, body: str, message: str
) -> None:
    ended = wait_for(start_run(make_run(body, output="student")), poll=0.02, timeout=PATIENCE)
    assert ended.state == "failed" and message in ended.message
    assert str(ended.log_file) in ended.hint


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('tick\\rboom \\x1b[31m'); sys.exit(7)", "Exit code 7: boom ␛[31m"),
        ("event('failed', message='No data', hint='Fetch some'); sys.exit(1)", "No data"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Killed by SIGKILL."),
    ],
)
def test_a_failure_says_why(make_run: MakeRun, body: str, message: str) -> None:
    ended = wait_for(start_run(make_run(body)), poll=0.02, timeout=PATIENCE)
    assert (ended.state, ended.message) == ("failed", message)


def test_a_missing_program(lab: Lab) -> None:
    run = start_run(create_run(lab, "train", argv=["/nowhere/python"]))
    assert run.state == "failed" and "Cannot start /nowhere/python" in run.message


COUNTING = """
count = 0
while not Path("enough").exists():
    count += 1
    event("metrics", step=count, total_steps=1000000, loss=1 / count)
    time.sleep(0.01)
checkpoint("student"); event("finished", path="student")
"""

STARTER = """
import os, sys, time
from qdl_engine.core.lab import Lab
from qdl_engine.runs.launch import start_run
from qdl_engine.runs.store import get_run
start_run(get_run(Lab(__import__("pathlib").Path(sys.argv[1])), "1"))
print("started", flush=True)
time.sleep(600)
"""


def test_kill_9_of_whoever_started_it_does_not_touch_the_run(lab: Lab, make_run: MakeRun) -> None:
    run = make_run(COUNTING, output="student")
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(lab.root)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert starter.stdout is not None and starter.stdout.readline() == "started\n"
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    seen = len(loss_history(run))
    until(lambda: len(loss_history(run)) > seen + 5)
    assert refresh_run(run).state == "running"
    (lab.root / "enough").touch()
    assert wait_for(run, poll=0.02, timeout=PATIENCE).state == "done"


def test_a_killed_supervisor_leaves_the_run_running_and_its_end_is_judged_by_evidence(
    lab: Lab, make_run: MakeRun
) -> None:
    run = start_run(make_run(COUNTING, output="student"))
    assert run.supervisor_pid is not None
    os.kill(run.supervisor_pid, signal.SIGKILL)
    until(lambda: not is_alive(run.supervisor_pid, run.supervisor_identity))
    assert refresh_run(run).state == "running"
    (lab.root / "enough").touch()
    ended = wait_for(run, poll=0.02, timeout=PATIENCE)
    assert ended.state == "done" and ended.exit_code is None and ended.ended is not None


def test_killed_supervisor_and_killed_program_read_as_lost(make_run: MakeRun) -> None:
    run = start_run(make_run(COUNTING, output="student"))
    assert run.supervisor_pid is not None and run.pid is not None
    os.kill(run.supervisor_pid, signal.SIGKILL)
    os.killpg(run.pid, signal.SIGKILL)
    ended = wait_for(run, poll=0.02, timeout=PATIENCE)
    assert ended.state == "lost" and str(run.log_file) in ended.hint


STOPPABLE = """
def stop(*_):
    event("stopped", step=3, path="checkpoint-3"); sys.exit(3)
signal.signal(signal.SIGTERM, stop)
Path("ready").touch()
time.sleep(600)
"""


def test_stop_lets_the_run_write_its_checkpoint(lab: Lab, make_run: MakeRun) -> None:
    run = start_run(make_run(STOPPABLE, output="student"))
    until((lab.root / "ready").exists)
    assert stop_run(run).state in ("stopping", "stopped")
    ended = wait_for(run, poll=0.02, timeout=PATIENCE)
    assert (ended.state, ended.exit_code) == ("stopped", 3)


def test_stop_kills_the_whole_group_after_its_grace(lab: Lab, make_run: MakeRun) -> None:
    run = start_run(
        make_run(
            """
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if child := os.fork():
                Path("child").write_text(str(child)); Path("ready").touch()
            time.sleep(600)
            """
        )
    )
    until((lab.root / "ready").exists)
    stop_run(run, grace=0.0)
    assert wait_for(run, poll=0.02, timeout=PATIENCE).state == "stopped"
    child = int((lab.root / "child").read_text())
    until(lambda: not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text())


def test_workers_outlive_their_launcher_until_their_checkpoint_is_written(
    lab: Lab, make_run: MakeRun
) -> None:
    run = start_run(
        make_run(
            """
            if os.fork():
                time.sleep(600)  # the launcher: SIGTERM ends it at once
            def stop(*_):
                wait_for_file("enough"); event("stopped", step=3, path="checkpoint-3"); os._exit(3)
            signal.signal(signal.SIGTERM, stop); Path("ready").touch(); time.sleep(600)
            """
        )
    )
    until((lab.root / "ready").exists)
    stop_run(run)
    until(lambda: not is_alive(run.pid, run.identity))
    assert refresh_run(run).state == "stopping"
    (lab.root / "enough").touch()
    ended = wait_for(run, poll=0.02, timeout=PATIENCE)
    assert ended.state == "stopped" and "checkpoint saved" in ended.message


ELASTIC = """
    if not os.fork():
        os.setsid()  # as torch's launcher for several GPUs has it
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path("worker").write_text(str(os.getpid())); Path("ready").touch()
    time.sleep(600)
    """


def test_workers_with_sessions_of_their_own_end_with_the_run(lab: Lab, make_run: MakeRun) -> None:
    run = start_run(make_run(ELASTIC))
    until((lab.root / "ready").exists)
    worker = int((lab.root / "worker").read_text())
    stop_run(run, grace=0.0)
    assert wait_for(run, poll=0.02, timeout=PATIENCE).state == "stopped"
    until(lambda: identity_of(worker) is None)


def test_workers_that_outlived_launcher_and_supervisor_end_before_a_resume(
    lab: Lab,
) -> None:
    run = start_run(create_run(lab, "label", argv=program(ELASTIC)))
    until((lab.root / "ready").exists)
    worker = int((lab.root / "worker").read_text())
    assert run.pid is not None and run.supervisor_pid is not None
    os.kill(run.supervisor_pid, signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)
    until(lambda: refresh_run(run).state == "lost")
    assert identity_of(worker) is not None and belongs(worker, 0, run.directory)
    again = resume_run(run)
    until(lambda: identity_of(worker) is None)
    stop_run(again, force=True)
    assert wait_for(again, poll=0.02, timeout=PATIENCE).state == "stopped"


DAMAGED = ["", "{", "[]", "null", '{"deadline": "soon"}', '{"deadline": NaN}', '{"deadline": true}', "\udcff"]


@pytest.mark.parametrize("text", [*DAMAGED, '{"deadline": 1e400}', f'{{"deadline": {10**400}}}'])
def test_the_grace_of_an_unreadable_request_counts_from_its_file(make_run: MakeRun, text: str) -> None:
    run = make_run("pass")
    assert stop_deadline(run, default=7.0) == 7.0
    run.stop_file.write_text(text, encoding="utf-8", errors="surrogateescape")
    os.utime(run.stop_file, (1000.0, 1000.0))
    assert stop_deadline(run, default=7.0) == 1000.0 + STOP_GRACE_SECONDS
    run.stop_file.write_text('{"asked": 1.0, "deadline": 12.5}', encoding="utf-8")
    assert stop_deadline(run, default=7.0) == 12.5


def test_a_damaged_request_stops_the_run_and_not_its_supervisor(lab: Lab, make_run: MakeRun) -> None:
    run = start_run(
        make_run(
            """
            def stop(*_):
                Path("asked").touch(); wait_for_file("enough")
                event("stopped", step=3, path="checkpoint-3"); os._exit(3)
            signal.signal(signal.SIGTERM, stop); Path("ready").touch(); time.sleep(600)
            """
        )
    )
    until((lab.root / "ready").exists)
    run.stop_file.write_text("{damaged", encoding="utf-8")
    until((lab.root / "asked").exists)
    current = refresh_run(run)
    assert current.state == "stopping" and is_alive(run.supervisor_pid, run.supervisor_identity)
    (lab.root / "enough").touch()
    ended = wait_for(run, poll=0.02, timeout=PATIENCE)
    assert (ended.state, ended.exit_code) == ("stopped", 3)
    assert str(run.stop_file) in run.supervisor_log.read_text(encoding="utf-8")


def test_a_run_is_killed_after_the_grace_of_a_damaged_request(lab: Lab, make_run: MakeRun) -> None:
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); Path('ready').touch(); time.sleep(600)"
    run = start_run(make_run(body))
    until((lab.root / "ready").exists)
    run.stop_file.write_text("{damaged", encoding="utf-8")
    os.utime(run.stop_file, (1000.0, 1000.0))
    ended = wait_for(run, poll=0.02, timeout=PATIENCE)
    assert (ended.state, ended.exit_code) == ("stopped", -signal.SIGKILL)


@pytest.mark.parametrize("kind", ["a directory", "a link to a directory", "a link to itself"])
def test_a_run_stops_and_resumes_whatever_replaced_the_request(lab: Lab, kind: str) -> None:
    code = "import time, pathlib; pathlib.Path('ready').touch(); time.sleep(600)"
    run = start_run(create_run(lab, "label", argv=[sys.executable, "-c", code]))
    for _ in range(2):
        until((run.cwd / "ready").exists)
        (run.cwd / "ready").unlink()
        if kind == "a directory":
            (run.stop_file / "deeper").mkdir(parents=True)
        else:
            run.stop_file.symlink_to(lab.data if "directory" in kind else run.stop_file)
        assert is_alive(run.supervisor_pid, run.supervisor_identity)
        stop_run(run, grace=PATIENCE)
        assert wait_for(run, poll=0.02, timeout=PATIENCE).state == "stopped"
        run.stop_file.unlink()
        run.stop_file.mkdir()
        run = resume_run(refresh_run(run))
    assert run.attempt == 3 and not run.stop_file.exists() and lab.data.is_dir()
    stop_run(run, force=True)
    wait_for(run, poll=0.02, timeout=PATIENCE)


def test_stop_without_a_supervisor(lab: Lab, make_run: MakeRun) -> None:
    run = start_run(make_run("signal.signal(15, signal.SIG_IGN); Path('ready').touch(); time.sleep(600)"))
    until((lab.root / "ready").exists)
    assert run.supervisor_pid is not None
    os.kill(run.supervisor_pid, signal.SIGKILL)
    until(lambda: not is_alive(run.supervisor_pid, run.supervisor_identity))
    assert stop_run(run, grace=0.1).state == "stopped"


def test_a_run_that_is_not_running_cannot_stop(make_run: MakeRun) -> None:
    run = make_run("pass")
    assert stop_run(run).state == "stopped"
    with pytest.raises(RunError, match="not running: it is stopped"):
        stop_run(run)


def test_two_runs_on_one_output_are_refused_naming_the_holder(lab: Lab, make_run: MakeRun) -> None:
    first = start_run(make_run(COUNTING, output="student"))
    second = make_run(COUNTING, output="student")
    with pytest.raises(LabBusyError, match=f"Run {first.id} \\(process {first.pid}\\)"):
        start_run(second)
    assert refresh_run(second).state == "queued"
    with pytest.raises(RunError, match="still running"):
        delete_run(first)
    assert start_run(make_run(COUNTING, output="another")).state == "running"
    lab.settings_file.touch()
    holder = start_run(make_run(COUNTING, output=lab.checkpoint("system1").name))
    with pytest.raises(LabBusyError, match=f"Run {holder.id} "):
        start_job(lab, ["train", "system1"])
    assert make_run("pass").id.startswith("0005-"), "a refusal uses up no number"
    (lab.root / "enough").touch()
    wait_for(first, poll=0.02, timeout=PATIENCE)
    assert wait_for(start_run(second), poll=0.02, timeout=PATIENCE).state == "done"


def test_many_starters_at_once_and_one_gets_the_output(lab: Lab, make_run: MakeRun) -> None:
    runs = [make_run(COUNTING, output="student") for _ in range(3)]
    code = (
        "import sys\nfrom qdl_engine.core.lab import Lab\n"
        "from qdl_engine.runs.launch import start_run\nfrom qdl_engine.runs.store import get_run\n"
        "start_run(get_run(Lab(__import__('pathlib').Path(sys.argv[1])), sys.argv[2]))"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code, str(lab.root), run.id], stderr=subprocess.DEVNULL)
        for run in runs
    ]
    assert sorted(starter.wait() for starter in starters) == [0, 1, 1]
    assert sorted(run.state for run in list_runs(lab)) == ["queued", "queued", "running"]


def test_a_resume_uses_the_same_directory(lab: Lab) -> None:
    module = lab.root / "qdl_engine.py"
    module.write_text("", encoding="utf-8")
    code = (
        "import json, os, sys, time; print(sys.argv[1:]);"
        "event = json.dumps({'event': 'finished', 'time': time.time()});"
        "open(os.environ['QDL_EVENTS'], 'a').write(event + '\\n');"
        "sys.exit(0 if '--resume' in sys.argv else 9)"
    )
    run = create_run(lab, "train", argv=[sys.executable, "-c", code, "qdl_engine.trainer"])
    first = wait_for(start_run(run), poll=0.02, timeout=PATIENCE)
    assert (first.state, first.attempt) == ("failed", 1)
    second = wait_for(resume_run(first), poll=0.02, timeout=PATIENCE)
    assert (second.state, second.attempt, second.id) == ("done", 2, run.id)
    assert "--resume" in run.log_file.read_text(encoding="utf-8")
    with pytest.raises(RunError, match="is done"):
        resume_run(second)


def test_what_cannot_resume_says_so(lab: Lab) -> None:
    run = create_run(lab, "train", argv=[sys.executable, "-c", "raise SystemExit(1)"])
    ended = wait_for(start_run(run), poll=0.02, timeout=PATIENCE)
    with pytest.raises(RunError, match="its program does not support resuming"):
        resume_run(ended)


def test_a_training_by_easydistill_offers_its_weights_instead_of_a_resume(
    lab: Lab, make_run: MakeRun
) -> None:
    run = make_run("sys.exit(3)", system="system1")
    ended = wait_for(start_run(run), poll=0.02, timeout=PATIENCE)
    work = run.directory / "easydistill"
    for step in (9, 10):
        (work / f"output/checkpoint-{step}").mkdir(parents=True)
        (work / f"output/checkpoint-{step}/trainer_state.json").touch()
    (work / "output/checkpoint-11").mkdir()
    (work / "launch.json").touch()
    with pytest.raises(RunError, match=r"EasyDistill 1\.0 does not support resuming") as refused:
        resume_run(ended)
    assert f"system1.student={work / 'output/checkpoint-10'}'" in refused.value.hint
    assert refresh_run(run).state == ended.state and not ended.resumable


def test_a_run_of_a_copied_lab_never_writes_into_the_lab_it_came_from(lab: Lab, tmp_path: Path) -> None:
    lab.settings_file.write_text("", encoding="utf-8")
    run = create_run(
        lab, "train", system="system1", argv=["-m", "qdl_engine.trainer"], output_dir=lab.system1_checkpoint
    )
    save_run(replace(run, state="stopped"))
    copy = Lab.at(shutil.copytree(lab.root, tmp_path / "copy"))
    with pytest.raises(RunError, match="another lab"):
        resume_run(list_runs(copy)[0])


@pytest.mark.parametrize(
    ("system", "student", "reason"),
    [
        ("system1", "/nope", "The directory does not exist."),
        ("system2", "./nope", "The directory does not exist in "),
        ("system1", "{lab}/qdl.toml", "A file, not a checkpoint directory."),
    ],
)
@pytest.mark.parametrize("saved", [True, False])
def test_a_missing_student_directory_is_refused_before_a_run_exists(
    lab: Lab, system: str, student: str, reason: str, saved: bool
) -> None:
    student = student.format(lab=lab.root)
    lab.settings_file.write_text(f'[{system}]\nstudent = "{student}"\n' if saved else "", encoding="utf-8")
    overrides = [] if saved else ["--set", f"{system}.rows=3", "--set", f"{system}.student={student}"]
    with pytest.raises(ModelError) as refused:
        start_job(lab, ["train", system, *overrides])
    assert refused.value.message == f"Invalid student model: {student}"
    assert refused.value.hint.startswith(reason) and "One that works: Qwen/" in refused.value.hint
    assert list_runs(lab) == [] and not list(lab.configs.iterdir())


def test_a_job_that_trains_nothing_starts_with_any_student(lab: Lab) -> None:
    lab.settings_file.write_text('[system1]\nstudent = "/nope"\n', encoding="utf-8")
    run = wait_for(start_job(lab, ["label"]), poll=0.02, timeout=PATIENCE)
    assert run.state == "failed" and "Invalid student" not in run.message


def test_a_run_is_started_once(make_run: MakeRun) -> None:
    run = make_run("pass")
    wait_for(start_run(run), poll=0.02, timeout=PATIENCE)
    with pytest.raises(RunError, match="is done, not queued"):
        start_run(run)


def test_the_end_of_an_earlier_attempt_is_no_evidence(lab: Lab, make_run: MakeRun) -> None:
    run = make_run("pass")
    run.events_file.write_text('{"event": "finished", "time": 100.0}\n', encoding="utf-8")
    save_run(replace(run, state="running", pid=2**22 + 1, identity="1@x", started=200.0))
    assert get_run(lab, run.id).state == "lost"
    assert load_record(run.directory).state == "running"
