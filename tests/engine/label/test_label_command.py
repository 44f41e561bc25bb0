"""`qdl label` at a server: what it shows at its end, how it is interrupted, and no key anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qdl_engine.cli import main
from qdl_engine.core.lab import Lab, read_json, write_json_atomic
from qdl_engine.runs.launch import wait_for
from qdl_engine.runs.reader import summarise
from qdl_engine.runs.store import list_runs
from qdl_engine.settings import LabSettings, TeacherSettings
from qdl_engine.settings.toml import save_settings
from tests.at_a_terminal import QDL_AT_A_TERMINAL
from tests.engine.runs.conftest import until
from tests.engine.teachers.fault_server import FaultServer

Capture = pytest.CaptureFixture[str]


def make_lab(root: Path, server: FaultServer, instructions: list[str], **values: Any) -> Lab:
    lab = Lab.at(root)
    lab.create_directories()
    teacher = TeacherSettings(kind="server", model="", url=server.url, **{"retries": 0, **values})
    save_settings(lab, LabSettings(teacher=teacher))
    rows = [{"id": number, "instruction": text, "output": ""} for number, text in enumerate(instructions)]
    write_json_atomic(lab.train_instructions, rows)
    return lab


def test_a_run_says_at_its_end_what_was_kept(server: FaultServer, tmp_path: Path, capsys: Capture) -> None:
    asked = ["hello", "400", "cut", "empty", "I'm sorry, but no.", "hello", "HELLO"]
    lab = make_lab(tmp_path / "lab", server, asked, price_in=1.0, price_out=2.0)
    assert main(["--lab", str(lab.root), "label", "--detach"]) == 0
    (run,) = list_runs(lab)
    run = wait_for(run, poll=0.02)
    told = (
        "Kept 4 of 7 rows: 1 empty, 1 cut at the limit, 1 failed: refused; 1 refused; "
        "1 kept row shares its answer with another"
    )
    assert (run.state, run.message) == ("done", told)
    summary = summarise(run)
    assert (summary.done, summary.failed) == (6, 1)
    assert summary.cost == read_json(lab.label_report)["cost"] and summary.tokens_per_second
    capsys.readouterr()
    assert main(["--lab", str(lab.root), "runs"]) == 0
    assert "Kept 4 of 7 rows: 1 empty, 1 cut at the limit" in capsys.readouterr().out
    assert main(["--lab", str(lab.root), "attach"]) == 0
    assert told in capsys.readouterr().out
    assert main(["--lab", str(lab.root), "label"]) == 0
    table = capsys.readouterr().out
    assert all(
        f"{name:<20}" in table for name in ("empty", "refused", "same answer", "failed: refused", "cost")
    )


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_an_interrupted_labelling_resumes_at_the_row(
    server: FaultServer, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    lab = make_lab(tmp_path / "a lab", server, [f"question {number}" for number in range(30)])
    # Ten are answered, the others wait for a release that comes after the signal.
    server.before_answer = lambda _: (
        (server.closing.wait(), None)[1] if sum(server.answered.values()) >= 10 else None
    )
    command = [*QDL_AT_A_TERMINAL, "--lab", str(lab.root), "label"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: lab.label_cache.exists() and lab.label_cache.read_bytes().count(b"\n") >= 10)
    child.send_signal(sent)
    said, told = child.communicate(timeout=60)
    assert child.returncode == code and not said and "Traceback" not in told
    if sent == signal.SIGINT:
        assert told.endswith(f"Resume: qdl --lab {lab.word} label\nInterrupted.\n")
    assert not lab.train_labeled.exists()
    before = lab.label_cache.read_bytes().count(b"\n")
    server.before_answer = lambda _: None
    done = subprocess.run([*command, "--json"], capture_output=True, check=True)
    report = json.loads(done.stdout)
    assert (report["reused"], report["asked"], report["kept"]) == (before, 30 - before, 30)
    keys = [json.loads(line)["key"] for line in lab.label_cache.read_bytes().splitlines()]
    assert len(keys) == len(set(keys)) == 30
    assert [row["id"] for row in read_json(lab.train_labeled)] == list(range(30))


KEY = "sk-0123456789-never-written"


@pytest.mark.parametrize("place", ["environment", "file"])
def test_no_file_of_the_lab_and_no_output_holds_the_key(
    server: FaultServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], place: str, monkeypatch: Any
) -> None:
    """Right and refused, quoted by the server, in the foreground and in a run, labelling and comparing."""
    if place == "file":
        key_file = tmp_path / "key"
        key_file.touch(mode=0o600)
        key_file.write_text(KEY)
        values = {"api_key_file": str(key_file)}
    else:
        monkeypatch.setenv("TEACHER_KEY", KEY)
        values = {"api_key_env": "TEACHER_KEY"}
    lab = make_lab(tmp_path / "lab", server, ["hello", "rubbish", "500 always", "html"], **values)
    qdl = ["--lab", str(lab.root)]
    server.key = "another"
    # The first two are refused: the server's error quotes the key.
    assert main([*qdl, "label"]) == main([*qdl, "label", "--json"]) == 1
    assert main([*qdl, "label", "--detach"]) == 0
    assert wait_for(list_runs(lab)[0], poll=0.02).state == "failed"
    server.key = KEY
    assert main([*qdl, "label", "--detach"]) == 0
    assert wait_for(list_runs(lab)[0], poll=0.02).state == "done"
    assert main([*qdl, "label", "--json"]) == 0
    assert main([*qdl, "compare", "--only", "teacher", "hello", "400"]) == 0
    for words in (["config", "show"], ["runs", "--json"], ["attach"], ["status"], ["doctor"]):
        main([*qdl, *words])
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err and "***" in shown.err
    files = [path for path in lab.root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert KEY not in str(os.listdir(lab.root))
